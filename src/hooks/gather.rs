//! What happened meanwhile is gathered: what each hook is to tell of it. Pure.

use std::collections::BTreeMap;

use super::Hook;
use super::message::{FIRST, kept};
use super::source::Happened;
use crate::queue::ops::hooks::Tell;

/// What each hook is to tell of what has happened.
pub(super) fn to_tell(hooks: &[Hook], begins: &BTreeMap<String, i64>, happened: &[Happened]) -> Vec<Tell> {
    let mut tell: Vec<Tell> = Vec::new();
    for hook in hooks {
        let begins = begins.get(&hook.name).copied().unwrap_or(i64::MAX);
        for what in happened.iter().filter(|what| what.seq >= begins && hook.on.contains(&what.event)) {
            let gathers_ms = hook.gathers_ms(what.event);
            let same = |tell: &&mut Tell| gathers_ms > 0 && tell.hook == hook.name && tell.event == what.event.as_str();
            match tell.iter_mut().rfind(same) {
                Some(gathered) => {
                    gathered.count += 1;
                    if gathered.first.len() < FIRST {
                        gathered.first.push(kept(what.fields.clone()));
                    }
                }
                None => tell.push(Tell {
                    hook: hook.name.clone(),
                    event: what.event.as_str(),
                    first: vec![kept(what.fields.clone())],
                    count: 1,
                    gathers_ms,
                }),
            }
        }
    }
    tell
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::{Body, DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT, On, Target};
    use serde_json::Map;

    #[test]
    fn what_gathers_is_told_in_one_and_what_was_before_a_hook_is_not() {
        let hook = |name: &str, on: &[On]| Hook {
            name: name.to_owned(),
            on: on.to_vec(),
            to: Target::Command(vec!["x".to_owned()]),
            body: Body::Whole,
            timeout: DEFAULT_TIMEOUT,
            attempts: DEFAULT_ATTEMPTS,
            at_most_every: None,
        };
        let hooks = [hook("a", &[On::TaskFailed, On::BatchEnded]), hook("b", &[On::TaskFailed])];
        let happened = |seq: i64| Happened {
            seq,
            event: if seq % 2 == 0 { On::BatchEnded } else { On::TaskFailed },
            fields: Map::new(),
        };
        let begins = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 5)]);
        let tell = to_tell(&hooks, &begins, &(0..16).map(happened).collect::<Vec<_>>());
        let said: Vec<_> =
            tell.iter().map(|tell| (tell.hook.as_str(), tell.event, tell.count, tell.first.len())).collect();
        let batches: Vec<_> = said.iter().filter(|(_, event, ..)| *event == "batch_ended").collect();
        assert_eq!((batches.len(), said.len()), (8, 10));
        assert!(said.contains(&("a", "task_failed", 8, 5)) && said.contains(&("b", "task_failed", 6, 5)), "{said:?}");
    }
}
