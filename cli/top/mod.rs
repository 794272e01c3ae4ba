//! `top`: the full-screen live view.
//!
//! `source` hears of changes (`watch`) and asks how things stand, `hand` carries out what the user wants, `follower` reads a log,
//! `wires` hands on keys and signals: a thread each, that sleeps until there is something, and tells the main thread (`app`).
//! `model` is what is known and what the user looks at; `keys` and `act` say what a key means; `draw` makes cells of it. These
//! are pure. `terminal` takes the terminal and gives it back.

mod act;
mod app;
mod draw;
mod follower;
mod hand;
mod keys;
mod look;
mod machine;
mod model;
mod source;
mod terminal;
mod wires;

pub use app::{Options, run};
