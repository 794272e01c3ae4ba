//! CSV with a header: a task a row, `params.x` columns for parameters, an empty cell is not set.

use std::io::{self, BufRead, Read};

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::{Item, Items, Place, cause, exit_codes, json_or_text, until_end};

/// The tasks, row by row. `Err(Ok(text))`: what is wrong with the header.
///
/// # Errors
/// A header that cannot be used, or a file that cannot be read.
pub fn items<'a>(mut source: impl BufRead + 'a) -> Result<Items<'a>, Result<String, io::Error>> {
    let delimiter = delimiter(source.fill_buf().map_err(Err)?);
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(source);
    let header = reader.byte_headers().map_err(failed)?;
    let mut columns: Vec<String> = Vec::new();
    for cell in header {
        let name = String::from_utf8_lossy(cell).trim().trim_start_matches('\u{feff}').to_owned();
        if name.is_empty() || columns.contains(&name) {
            let said =
                if name.is_empty() { "a column has no name".to_owned() } else { format!("two columns `{name}`") };
            return Err(Ok(format!("{said} in the header")));
        }
        columns.push(name);
    }
    if columns.is_empty() {
        return Err(Ok("the file is empty; its first line must name the columns".to_owned()));
    }
    let mut rows = Rows { reader, columns, record: ByteRecord::new(), index: 0 };
    Ok(until_end(move || rows.next_item()))
}

/// A comma, unless the header has none but semicolons or tabs, as some spreadsheets write.
fn delimiter(start: &[u8]) -> u8 {
    let header = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|candidate| header.contains(candidate)).unwrap_or(b',')
}

/// The I/O error, or what else is wrong.
fn failed(error: csv::Error) -> Result<String, io::Error> {
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Err(error),
        _ => Ok(text),
    }
}

struct Rows<R> {
    reader: Reader<R>,
    columns: Vec<String>,
    record: ByteRecord,
    index: usize,
}

impl<R: Read> Rows<R> {
    fn next_item(&mut self) -> io::Result<Option<Item>> {
        loop {
            let line = self.reader.position().line();
            let place = Place { index: self.index, line: Some(line) };
            match self.reader.read_byte_record(&mut self.record) {
                Ok(false) => return Ok(None),
                Ok(true) if self.record.iter().all(<[u8]>::is_empty) => {}
                Ok(true) => {
                    self.index += 1;
                    let line = self.record.position().map_or(line, csv::Position::line);
                    let place = Place { line: Some(line), ..place };
                    return Ok(Some(Item { place, bytes: self.bytes(), task: self.task() }));
                }
                Err(error) => {
                    let said = failed(error)?;
                    self.index += 1;
                    return Ok(Some(Item { place, bytes: 0, task: Err(said) }));
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.record.as_slice().len() + self.columns.iter().map(|name| name.len() + 8).sum::<usize>()
    }

    fn task(&self) -> Result<Map<String, Value>, String> {
        if self.record.len() > self.columns.len() {
            let (cells, columns) = (self.record.len(), self.columns.len());
            return Err(format!("{cells} cells, but the header has {columns} columns"));
        }
        let (mut task, mut params) = (Map::new(), Map::new());
        for (column, cell) in self.columns.iter().zip(&self.record) {
            let cell = std::str::from_utf8(cell).map_err(|_| format!("`{column}` is not UTF-8"))?;
            if cell.is_empty() {
                continue;
            }
            match column.as_str() {
                "params" => match serde_json::from_str(cell) {
                    // A column of its own is nearer to the person than the object.
                    Ok(Value::Object(object)) => {
                        for (name, value) in object {
                            params.entry(name).or_insert(value);
                        }
                    }
                    Ok(_) => return Err("`params` must be a JSON object".to_owned()),
                    Err(error) => return Err(format!("`params` is not valid JSON: {}", cause(&error))),
                },
                "name" | "function" | "priority" => {
                    task.insert(column.clone(), Value::String(cell.to_owned()));
                }
                "permanent_exit_codes" => {
                    task.insert(column.clone(), exit_codes(cell));
                }
                other => {
                    let (target, name) = match other.strip_prefix("params.") {
                        Some(name) => (&mut params, name),
                        None => (&mut task, other),
                    };
                    target.insert(name.to_owned(), json_or_text(cell));
                }
            }
        }
        if !params.is_empty() {
            task.insert("params".to_owned(), Value::Object(params));
        }
        Ok(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &[u8]) -> Vec<(Option<u64>, Result<Value, String>)> {
        let rows = items(text).expect("a usable header");
        rows.map(|item| item.expect("memory can be read"))
            .map(|item| (item.place.line, item.task.map(Value::Object)))
            .collect()
    }

    #[test]
    fn columns_cells_and_lines() {
        let text = "\u{feff}name,function,max_retries,params.x,params,permanent_exit_codes\n\
            a,simulate,2,[1],\"{\"\"y\"\": 2}\",\"2,3\"\n\"two\nlines\",command,,text,,\n,,,,,\nc,f\n";
        let found = read(text.as_bytes());
        let first = json!({
            "name": "a", "function": "simulate", "max_retries": 2, "params": {"x": [1], "y": 2},
            "permanent_exit_codes": [2, 3],
        });
        assert_eq!(found[0], (Some(2), Ok(first)));
        let second = json!({"name": "two\nlines", "function": "command", "params": {"x": "text"}});
        assert_eq!(found[1], (Some(3), Ok(second)));
        assert_eq!(found[2], (Some(6), Ok(json!({"name": "c", "function": "f"}))));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_bad_row_is_named_and_the_rest_goes_on() {
        let found = read(b"name,params\na,{oops\nb,,too,many\n\xff,\nd,\n");
        let lines: Vec<_> = found.iter().map(|(line, task)| (*line, task.is_ok())).collect();
        assert_eq!(lines, [(Some(2), false), (Some(3), false), (Some(4), false), (Some(5), true)]);
    }

    #[test]
    fn a_header_that_cannot_be_used_is_said() {
        for text in ["", "a,,b\n", "a,a\n"] {
            assert!(matches!(items(text.as_bytes()).err(), Some(Ok(_))), "{text:?}");
        }
        assert_eq!(read(b"name;function\nx;y\n")[0].1, Ok(json!({"name": "x", "function": "y"})));
    }
}
