//! JSON: a list of tasks, or an object with `tasks` and what else `add_batch` takes.

use std::io::{self, BufRead, BufReader, Seek, SeekFrom};

use serde_json::{Map, Value};

use super::scanner::Scanner;
use super::{Item, Items, MAX_TASK_BYTES, Place, parse_task, until_end};

/// Where the list is, and the fields beside it.
#[derive(Debug)]
pub struct Layout {
    /// Of the list's `[`, in bytes.
    list_at: u64,
    pub fields: Map<String, Value>,
}

/// Reads through the file once to find the list, which may come before or after the other fields.
/// Err(Ok(text)): what is wrong with the file as a whole.
pub fn layout(source: impl BufRead) -> Result<Layout, Result<String, io::Error>> {
    let mut scanner = Scanner::new(source, 0);
    match scanner.peek_token().map_err(Err)? {
        Some(b'[') => Ok(Layout { list_at: scanner.position, fields: Map::new() }),
        Some(b'{') => {
            scanner.skip();
            object(&mut scanner)
        }
        Some(_) => Err(Ok("neither a list of tasks nor an object with `tasks`".to_owned())),
        None => Err(Ok("the file is empty".to_owned())),
    }
}

fn object(scanner: &mut Scanner<impl BufRead>) -> Result<Layout, Result<String, io::Error>> {
    let broken = || Err(Ok("the object around `tasks` is not valid JSON".to_owned()));
    let mut fields = Map::new();
    let mut list_at = None;
    loop {
        match scanner.peek_token().map_err(Err)? {
            Some(b'}') => break,
            Some(b',') => scanner.skip(),
            Some(b'"') => {
                let mut key = Vec::new();
                scanner.value(Some(&mut key)).map_err(Err)?;
                let Ok(key) = serde_json::from_slice::<String>(&key) else { return broken() };
                if scanner.peek_token().map_err(Err)? != Some(b':') {
                    return broken();
                }
                scanner.skip();
                let first = scanner.peek_token().map_err(Err)?;
                if key == "tasks" {
                    if first != Some(b'[') {
                        return Err(Ok("`tasks` must be a list".to_owned()));
                    }
                    list_at = Some(scanner.position);
                    // Where the list is cut off, its items say so.
                    scanner.value(None).map_err(Err)?;
                } else {
                    let mut text = Vec::new();
                    scanner.value(Some(&mut text)).map_err(Err)?;
                    let Ok(value) = serde_json::from_slice(&text) else { return broken() };
                    fields.insert(key, value);
                }
            }
            None if list_at.is_some() => break,
            _ => return broken(),
        }
    }
    match list_at {
        Some(list_at) => Ok(Layout { list_at, fields }),
        None => Err(Ok("the object has no `tasks`".to_owned())),
    }
}

/// The items of the list, one at a time.
///
/// # Errors
/// When the file cannot be read.
pub fn items<'a, S: io::Read + Seek + 'a>(mut source: S, layout: &Layout) -> io::Result<Items<'a>> {
    source.seek(SeekFrom::Start(layout.list_at))?;
    let mut scanner = Scanner::new(BufReader::new(source), layout.list_at);
    scanner.peek()?;
    scanner.skip();
    let mut list = List { scanner, index: 0, done: false };
    Ok(until_end(move || list.next_item()))
}

struct List<R> {
    scanner: Scanner<R>,
    index: usize,
    done: bool,
}

impl<R: BufRead> List<R> {
    fn next_item(&mut self) -> io::Result<Option<Item>> {
        if self.done {
            return Ok(None);
        }
        let token = self.scanner.peek_token()?;
        if token == Some(b']') && self.index == 0 {
            return Ok(None);
        }
        if matches!(token, None | Some(b',' | b']' | b'}' | b':')) {
            return Ok(Some(self.broken(if token.is_none() { "the list is cut off" } else { "a task is missing" })));
        }
        let mut text = Vec::new();
        let whole = self.scanner.value(Some(&mut text))?;
        if !whole {
            let long = text.len() >= MAX_TASK_BYTES;
            let said = if long { "the task is longer than 64 MiB" } else { "the list is cut off in this task" };
            return Ok(Some(self.broken(said)));
        }
        let place = self.place();
        self.index += 1;
        match self.scanner.peek_token()? {
            Some(b',') => {
                self.scanner.skip();
            }
            Some(b']') => self.done = true,
            // The task itself is whole; what follows it is the next item's trouble.
            _ => {}
        }
        Ok(Some(Item { place, bytes: text.len(), task: parse_task(&text) }))
    }

    /// The last item: from here on nobody knows where the next one begins.
    fn broken(&mut self, said: &str) -> Item {
        self.done = true;
        Item { place: self.place(), task: Err(said.to_owned()), bytes: 0 }
    }

    fn place(&self) -> Place {
        Place { index: self.index, line: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Cursor;

    fn read(text: &str) -> (Map<String, Value>, Vec<Result<Value, String>>) {
        let layout = layout(text.as_bytes()).expect("a readable layout");
        let items = items(Cursor::new(text.as_bytes()), &layout).expect("a readable list");
        let tasks = items.map(|item| item.expect("memory can be read").task.map(Value::Object)).collect();
        (layout.fields, tasks)
    }

    #[test]
    fn a_list_and_an_object_around_it() {
        let tasks = vec![Ok(json!({"name": "a]\"}"})), Ok(json!({"p": [1, {"x": 2}]}))];
        let list = r#" [ {"name": "a]\"}"} , {"p": [1, {"x": 2}]} ] "#;
        assert_eq!(read(list), (Map::new(), tasks.clone()));
        let object = format!(r#"{{"name": "b", "tasks": {list}, "defaults": {{"priority": "high"}}}}"#);
        let (fields, found) = read(&object);
        assert_eq!(found, tasks);
        assert_eq!(Value::Object(fields), json!({"name": "b", "defaults": {"priority": "high"}}));
    }

    #[test]
    fn a_bad_item_does_not_spoil_the_next() {
        let (_, found) = read(r#"[{"a": 1}, {"b": nope}, 7, {"c": 3}]"#);
        assert_eq!(found.len(), 4);
        assert!(found[0].is_ok() && found[1].is_err() && found[2].is_err() && found[3].is_ok());
    }

    #[test]
    fn a_cut_off_list_gives_what_is_whole() {
        let (_, found) = read(r#"[{"a": 1}, {"b": 2"#);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1], Err("the list is cut off in this task".to_owned()));
        assert_eq!(read(r#"[{"a": 1},"#).1[1], Err("the list is cut off".to_owned()));
        assert_eq!(read(r#"[{"a": 1},]"#).1[1], Err("a task is missing".to_owned()));
        assert!(read("[]").1.is_empty());
    }

    #[test]
    fn no_list_of_tasks_is_said() {
        for text in ["", "7", "{}", r#"{"tasks": 5}"#, r#"{"tasks""#] {
            assert!(matches!(layout(text.as_bytes()), Err(Ok(_))), "{text}");
        }
    }
}
