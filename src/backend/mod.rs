//! Where attempts run: the local backend, through the keeper.
//!
//! A backend launches waves of attempts, finds them again after a crash, ends one when told and
//! gives an ordered stream of starts and ends that may come late and twice; the queue accepts each
//! once, by claim. Nothing here knows SQL.

pub use crate::attempt::{Ended, Event, Output, Verdict};
