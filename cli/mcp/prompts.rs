//! What a person may pick in a client so that an agent works as it should.

use rmcp::ErrorData;
use rmcp::model::{GetPromptRequestParams, GetPromptResult, Prompt, PromptArgument, PromptMessage, Role};

const NAME: &str = "run_as_batch";
const TEXT: &str = "Run these as a batch, and come back";
/// The prompt's arguments.
const COMMANDS: &str = "commands";
const AT_ONCE: &str = "at_once";

/// All of them.
pub fn all() -> Vec<Prompt> {
    let arguments = vec![
        PromptArgument::new(COMMANDS)
            .with_description("Shell lines, one each line, or what is to be done in words")
            .with_required(true),
        PromptArgument::new(AT_ONCE).with_description("How many may run at once; 4 when nothing is said"),
    ];
    vec![Prompt::new(NAME, Some(TEXT), Some(arguments)).with_title(TEXT)]
}

/// The text of one.
///
/// # Errors
/// For another name, or without what it needs.
pub fn get(request: &GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    if request.name != NAME {
        return Err(ErrorData::invalid_params(format!("no prompt `{}`; there is `{NAME}`", request.name), None));
    }
    let given = |name| request.arguments.as_ref().and_then(|given| given.get(name)).and_then(|value| value.as_str());
    let Some(commands) = given(COMMANDS) else {
        return Err(ErrorData::invalid_params(format!("`{COMMANDS}` is missing: shell lines, one each line"), None));
    };
    let at_once = given(AT_ONCE).unwrap_or("4");
    let text = format!(
        "Run the following as one batch of the batch-executor, at most {at_once} at once:\n\n{commands}\n\n\
         1. `add_batch` with a task for each, a `timeout` that surely suffices, and a `request_key` of your own. A line for the shell is \
         {{\"function\": \"code_execution\", \"params\": {{\"runtime\": \"terminal\", \"code\": LINE}}}}. Tell me the batch_id.\n\
         2. `start` with max_concurrent {at_once}. It returns at once.\n\
         3. Do not sit and wait: go on with something else, and look with `status` of the batch_id, or `wait`, when you come back.\n\
         4. When all have ended: `results` with filter_status failed. Say how many completed and failed, and for each that failed why, \
         from its error and the end of its `logs`. Propose what to try again; `retry` only what I agree to."
    );
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).with_description(TEXT))
}
