//! Prompts of the toolsets, as the protocol has them.

use rmcp::ErrorData;
use rmcp::model::{GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage, Role};

use crate::services::planner::days::parse_day;
use crate::toolsets;

/// A prompt as the protocol lists it.
pub fn listed(prompt: &toolsets::Prompt) -> Prompt {
    let argument = |(name, description, default): &(&str, &str, Option<&str>)| {
        PromptArgument::new(*name).with_description(*description).with_required(default.is_none())
    };
    Prompt::new(prompt.name, Some(prompt.description), Some(prompt.arguments.iter().map(argument).collect::<Vec<_>>()))
}

/// A prompt filled in, of those a caller sees.
///
/// # Errors
/// When there is no such prompt or a required argument is missing.
pub fn get<'a>(
    prompts: impl Iterator<Item = &'a toolsets::Prompt> + Clone,
    name: &str,
    arguments: &JsonObject,
) -> Result<GetPromptResult, ErrorData> {
    let Some(prompt) = prompts.clone().find(|prompt| prompt.name == name) else {
        let known: Vec<&str> = prompts.map(|prompt| prompt.name).collect();
        return Err(ErrorData::invalid_params(
            format!("unknown prompt `{name}`; there are {}", known.join(", ")),
            None,
        ));
    };
    let mut text = prompt.text.to_owned();
    for (argument, _, default) in prompt.arguments {
        let given =
            arguments.get(*argument).and_then(|value| value.as_str()).map(str::trim).filter(|value| !value.is_empty());
        let value = match (given, default) {
            (Some(value), _) => {
                check(argument, value)?;
                format!("`{}`", value.replace('`', "'"))
            }
            (None, Some(default)) => (*default).to_owned(),
            (None, None) => return Err(ErrorData::invalid_params(format!("`{argument}` is missing"), None)),
        };
        text = text.replace(&format!("{{{argument}}}"), &value);
    }
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).with_description(prompt.description))
}

/// Refuses what would make the text nonsense.
fn check(argument: &str, value: &str) -> Result<(), ErrorData> {
    let wrong = match argument {
        "start_date" if parse_day(argument, value).is_err() => "a date, as in `2026-11-30`",
        "days" if !value.parse::<u16>().is_ok_and(|days| (1..=366).contains(&days)) => "a number of days, 1 to 366",
        _ => return Ok(()),
    };
    Err(ErrorData::invalid_params(format!("`{argument}` is `{value}`: {wrong} is expected"), None))
}
