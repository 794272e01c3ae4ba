//! `config`: the effective settings and where each came from.

use batch_executor::config::{Loaded, Overrides};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::context::{Context, OwnAnswer};
use crate::exit;
use crate::failure::Failure;
use crate::views;

/// `config` has no flags of its own.
#[derive(Debug, Args)]
pub struct ConfigArgs {}

/// The width of the names.
const LABEL: usize = 22;

/// Prints every setting.
///
/// # Errors
/// What [`Failure`] says.
pub fn run(context: &Context, _args: &ConfigArgs) -> Result<u8, Failure> {
    let loaded = Loaded::load(context.config.as_deref(), &Overrides::default())?;
    let origins = loaded.origins();
    let data: Map<String, Value> =
        origins.iter().map(|o| (o.name.clone(), json!({"value": o.value, "origin": o.origin}))).collect();
    let answer = OwnAnswer::new("config", "the effective settings", Value::Object(data));
    context.print_own(&answer, |out| {
        for origin in &origins {
            views::field(out, LABEL, &origin.name, &format!("{}  [{}]", shown(&origin.value), origin.origin))?;
        }
        Ok(())
    })?;
    Ok(exit::DONE)
}

/// A value as it could be written in the environment.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string().trim_end_matches(".0").to_owned(),
    }
}
