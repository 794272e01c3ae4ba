//! `report`: how it went, as a page or as Markdown.
//!
//! `collect` reads the tasks from the daemon, one at a time; `night` keeps of each what a report needs; the rest is pure:
//! `likeness` groups failures, `axis` and `slots` lay out times, `chart` draws SVG, `words` says it in sentences, and `html`,
//! `markdown` and `compare` put it together. What a task wrote is text everywhere, never markup.

mod axis;
mod chart;
pub mod collect;
pub mod compare;
mod html;
mod likeness;
mod markdown;
mod night;
mod plain;
mod slots;
mod words;

pub use html::page;
pub use markdown::markdown;
pub use words::tasks;
