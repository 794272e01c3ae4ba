//! A file of tasks that can be read more than once: the user's, or a copy of standard input.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::context::working_directory;
use crate::exit;
use crate::failure::Failure;
use crate::request_key::Fingerprint;
use batch_executor::tasks_file::json_list::{self, Layout};
use batch_executor::tasks_file::{Items, csv_rows, json_lines};

/// How much is looked at to tell the format.
const SNIFF_BYTES: u64 = 64 * 1024;

/// How tasks are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A list, or an object with `tasks`
    Json,
    /// A JSON object a line
    #[value(alias = "ndjson")]
    Jsonl,
    /// A header, then a task a row
    Csv,
}

/// What a file says beside its tasks: `name`, `defaults` and the other fields of `add_batch`.
pub type Header = Map<String, Value>;

/// A file of tasks.
#[derive(Debug)]
pub struct Input {
    file: File,
    /// As the user wrote it.
    name: String,
    /// What tells it from other files: the absolute path.
    identity: PathBuf,
    format: Format,
    layout: Option<Layout>,
}

impl Input {
    /// Opens `path`; `-` is standard input, which is copied to a temporary file first.
    ///
    /// # Errors
    /// When it cannot be read, or is no list of tasks.
    pub fn open(path: &str, format: Option<Format>) -> Result<Self, Failure> {
        let unreadable = |error: &io::Error| Failure::file("read", path, error);
        let (file, identity) = if path == "-" {
            let copy = spooled(&mut io::stdin().lock()).map_err(|error| unreadable(&error))?;
            (copy, Path::new(&working_directory()?).join("-"))
        } else {
            let mut file = File::open(path).map_err(|error| unreadable(&error))?;
            let meta = file.metadata().map_err(|error| unreadable(&error))?;
            if meta.is_dir() {
                return Err(unreadable(&io::ErrorKind::IsADirectory.into()));
            }
            if !meta.is_file() {
                file = spooled(&mut file).map_err(|error| unreadable(&error))?;
            }
            (file, std::path::absolute(path).map_err(|error| unreadable(&error))?)
        };
        let format = match format.or_else(|| by_extension(path)) {
            Some(format) => format,
            None => by_content(&file).map_err(|error| unreadable(&error))?,
        };
        let mut input = Self { file, name: path.to_owned(), identity, format, layout: None };
        if format == Format::Json {
            let source = input.rewound().map_err(|error| unreadable(&error))?;
            input.layout = Some(json_list::layout(BufReader::new(source)).map_err(|said| input.unusable(said))?);
        }
        Ok(input)
    }

    /// What is written beside the tasks.
    pub fn header(&self) -> Header {
        self.layout.as_ref().map(|layout| layout.fields.clone()).unwrap_or_default()
    }

    /// The tasks, from the first.
    ///
    /// # Errors
    /// When the file cannot be read, or its header cannot be used.
    pub fn items(&self) -> Result<Items<'_>, Failure> {
        let source = self.rewound().map_err(|error| self.unreadable(&error))?;
        match (self.format, &self.layout) {
            (Format::Json, Some(layout)) => json_list::items(source, layout).map_err(|error| self.unreadable(&error)),
            (Format::Csv, _) => csv_rows::items(BufReader::new(source)).map_err(|said| self.unusable(said)),
            (Format::Json | Format::Jsonl, _) => Ok(json_lines::items(BufReader::new(source))),
        }
    }

    /// The same for the same path with the same content.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn fingerprint(&self) -> Result<String, Failure> {
        let mut fingerprint = Fingerprint::default();
        fingerprint.update(self.identity.as_os_str().as_encoded_bytes());
        fingerprint.update(&[0]);
        let mut chunk = vec![0; 64 * 1024];
        let mut source = self.rewound().map_err(|error| self.unreadable(&error))?;
        loop {
            match source.read(&mut chunk) {
                Ok(0) => return Ok(fingerprint.hex()),
                Ok(count) => fingerprint.update(chunk.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(&error)),
            }
        }
    }

    /// As the user wrote it, in a shell.
    pub fn quoted_name(&self) -> String {
        crate::quoting::command_line(std::slice::from_ref(&self.name))
    }

    /// A failure to read it.
    pub fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::file("read", &self.name, error)
    }

    /// A failure of the file as a whole.
    pub fn unusable_text(&self, said: &str) -> Failure {
        let read_as = match self.format {
            Format::Json => "JSON",
            Format::Jsonl => "JSON Lines",
            Format::Csv => "CSV with a header",
        };
        Failure::new(exit::REFUSED, format!("`{}` cannot be used: {said}", self.name)).hint(format!(
            "it was read as {read_as} (--format json, jsonl or csv); a task is {{\"name\": …, \"function\": …, \"params\": {{…}}}}"
        ))
    }

    fn unusable(&self, said: Result<String, io::Error>) -> Failure {
        match said {
            Ok(said) => self.unusable_text(&said),
            Err(error) => self.unreadable(&error),
        }
    }

    fn rewound(&self) -> io::Result<&File> {
        let mut file = &self.file;
        file.rewind()?;
        Ok(file)
    }
}

fn spooled(source: &mut impl Read) -> io::Result<File> {
    let mut copy = tempfile::tempfile()?;
    io::copy(source, &mut copy)?;
    copy.flush()?;
    Ok(copy)
}

fn by_extension(path: &str) -> Option<Format> {
    match Path::new(path).extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some(Format::Json),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        _ => None,
    }
}

fn by_content(mut file: &File) -> io::Result<Format> {
    file.rewind()?;
    let mut start = Vec::new();
    file.take(SNIFF_BYTES).read_to_end(&mut start)?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    Ok(match text.first() {
        Some(b'[') => Format::Json,
        // A line that is an object of its own is one of many, unless it holds them all.
        Some(b'{') => match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) if !object.contains_key("tasks") => Format::Jsonl,
            _ => Format::Json,
        },
        _ => Format::Csv,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a writable folder");
        (folder, path.to_str().expect("an UTF-8 path").to_owned())
    }

    #[test]
    fn the_format_is_the_extension_s_else_the_content_s() {
        let cases = [
            ("a.json", "[]", Format::Json),
            ("a.ndjson", "", Format::Jsonl),
            ("a.CSV", "name\n", Format::Csv),
            ("a", " [{}]", Format::Json),
            ("a", "{\"name\": 1}\n{\"name\": 2}\n", Format::Jsonl),
            ("a", "{\"tasks\": []}", Format::Json),
            ("a", "{\n  \"tasks\": []\n}", Format::Json),
            ("a.txt", "name,function\n", Format::Csv),
        ];
        for (name, text, expected) in cases {
            let (_folder, path) = written(name, text);
            assert_eq!(Input::open(&path, None).expect("readable").format, expected, "{name} {text}");
        }
    }

    #[test]
    fn a_file_is_read_again_from_its_beginning() {
        let (_folder, path) = written("a.json", r#"{"tasks": [{"name": "x"}], "name": "b"}"#);
        let input = Input::open(&path, None).expect("readable");
        assert_eq!(input.fingerprint().expect("readable"), input.fingerprint().expect("readable"));
        for _ in 0..2 {
            assert_eq!(input.items().expect("readable").count(), 1);
        }
        assert_eq!(input.header().get("name"), Some(&Value::from("b")));
    }

    #[test]
    fn another_content_is_another_fingerprint() {
        let (_folder, path) = written("a.json", "[]");
        let first = Input::open(&path, None).expect("readable").fingerprint().expect("readable");
        std::fs::write(&path, "[ ]").expect("our file");
        assert_ne!(Input::open(&path, None).expect("readable").fingerprint().expect("readable"), first);
    }
}
