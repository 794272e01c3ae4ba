//! Cuts a file's tasks into requests of bounded size.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::{Items, Place};

/// The most of a request's tasks, in bytes, unless one task alone is larger. The daemon takes some twenty times of
/// it in memory while it reads them.
const PART_BYTES: usize = 256 * 1024;

/// The tasks of one request, and where each is in the file.
#[derive(Debug, Default)]
pub struct Part {
    pub tasks: Vec<Value>,
    pub places: Vec<Place>,
}

/// The parts of a file.
pub struct Parts<'a> {
    items: Items<'a>,
    /// Read already, but too large for the part before.
    held: Option<(Place, Value, usize)>,
    /// Whether a task without a name gets one from its place; else the defaults have one.
    names: bool,
    /// By the program that is missing: the first task that was left out, and how many were.
    left_out: BTreeMap<String, (String, u64)>,
}

/// The task is left out where this program is not in PATH. The client's own: the daemon never sees it.
const ONLY_IF_PROGRAM: &str = "only_if_program";

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl<'a> Parts<'a> {
    /// Cuts `items`.
    pub fn new(items: Items<'a>, names: bool) -> Self {
        Self { items, held: None, names, left_out: BTreeMap::new() }
    }

    /// Says what was left out.
    pub fn tell_left_out(&self, tell: impl Fn(&str)) {
        for (program, (name, count)) in &self.left_out {
            let others = if *count > 1 { format!(" and {} more are", count - 1) } else { " is".to_owned() };
            tell(&format!("`{name}`{others} left out: there is no `{program}` here"));
        }
    }

    /// The next part; `bad` hears of every item that is no task. None at the end.
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub fn next_part(&mut self, bad: &mut dyn FnMut(Place, String)) -> io::Result<Option<Part>> {
        let mut part = Part::default();
        let mut bytes = 0;
        loop {
            let (place, task, size) = match self.held.take() {
                Some(held) => held,
                None => match self.items.next().transpose()? {
                    None => return Ok((!part.tasks.is_empty()).then_some(part)),
                    Some(item) => match item.task {
                        Err(said) => {
                            bad(item.place, said);
                            continue;
                        }
                        Ok(mut task) => {
                            if self.names {
                                task.entry("name").or_insert_with(|| json!(format!("Task {}", item.place.index + 1)));
                            }
                            if let Some(Value::String(program)) = task.remove(ONLY_IF_PROGRAM)
                                && !in_path(&program)
                            {
                                let name = task.get("name").and_then(Value::as_str).unwrap_or_default();
                                self.left_out.entry(program).or_insert_with(|| (name.to_owned(), 0)).1 += 1;
                                continue;
                            }
                            (item.place, Value::Object(task), item.bytes)
                        }
                    },
                },
            };
            if bytes + size > PART_BYTES && !part.tasks.is_empty() {
                self.held = Some((place, task, size));
                return Ok(Some(part));
            }
            bytes += size;
            part.tasks.push(task);
            part.places.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::*;
    use serde_json::Map;

    #[test]
    fn parts_are_bounded_and_nothing_is_lost() {
        let sizes = [PART_BYTES * 2 / 3, PART_BYTES / 3, PART_BYTES / 10, PART_BYTES * 2, 1];
        let items = sizes
            .into_iter()
            .enumerate()
            .map(|(index, bytes)| Ok(Item { place: Place { index, line: None }, task: Ok(Map::new()), bytes }));
        let mut parts = Parts::new(Box::new(items), true);
        let mut found = Vec::new();
        while let Some(part) = parts.next_part(&mut |_, _| {}).expect("memory can be read") {
            found.push(part.places.iter().map(|place| place.index).collect::<Vec<_>>());
        }
        assert_eq!(found, [vec![0, 1], vec![2], vec![3], vec![4]]);
    }

    #[test]
    fn a_task_without_a_name_is_named_by_its_place() {
        let items = [Err("bad".to_owned()), Ok(Map::new())].into_iter().enumerate();
        let items = items.map(|(index, task)| Ok(Item { place: Place { index, line: None }, task, bytes: 0 }));
        let mut bad = Vec::new();
        let part = Parts::new(Box::new(items), true).next_part(&mut |place, said| bad.push((place.index, said)));
        assert_eq!(part.expect("memory can be read").map(|part| part.tasks), Some(vec![json!({"name": "Task 2"})]));
        assert_eq!(bad, [(0, "bad".to_owned())]);
    }
}
