//! Prompts: the three pieces of work people ask for most, spelled out over the tools.

use rmcp::ErrorData;
use rmcp::model::{GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage, Role};

use crate::services::planner::days::parse_day;

struct Spec {
    name: &'static str,
    description: &'static str,
    /// Name, description, required.
    arguments: &'static [(&'static str, &'static str, bool)],
    text: &'static str,
}

/// `{name}` in a text stands for an argument.
const PROMPTS: &[Spec] = &[
    Spec {
        name: "weekly_status",
        description: "Report what a plan's team did, what is late and what is next",
        arguments: &[("plan_id", "Plan id or title", true)],
        text: "Write the weekly status of the plan {plan_id}.\n\
               1. Call get_plan for the counts.\n\
               2. Call query_tasks with completed_since seven days ago: what was done.\n\
               3. Call query_tasks with status=late: what is late, and whose it is.\n\
               4. Call query_tasks with status=open and due_before seven days from today: what is next.\n\
               Then write at most one page: done, late with owners, next, risks. Name tasks by title. Invent nothing; say from when the data is (as_of).",
    },
    Spec {
        name: "triage_backlog",
        description: "Propose priority, owner, bucket and due date for what nobody has looked at",
        arguments: &[("plan_id", "Plan id or title", true)],
        text: "Triage the backlog of the plan {plan_id}.\n\
               1. Call list_buckets, then query_tasks with status=not_started and assignee=none.\n\
               2. For each task propose priority, owner, bucket and due date, with one line of reason; find likely duplicates.\n\
               3. Show the proposal as a table and ask for consent.\n\
               4. After consent apply it with one bulk_update_tasks call and report what was synced and what is pending.",
    },
    Spec {
        name: "plan_sprint",
        description: "Choose the work of the next sprint and share it out",
        arguments: &[
            ("plan_id", "Plan id or title", true),
            ("start_date", "First day, YYYY-MM-DD", false),
            ("days", "Length in days (14)", false),
        ],
        text: "Plan the next sprint of the plan {plan_id}, starting {start_date}, lasting {days} days.\n\
               1. Call query_tasks with status=open and sort=priority.\n\
               2. Choose work by priority and due date; spread it so that nobody carries more than a fair share.\n\
               3. Show the choice per person with the reasons, and ask for consent.\n\
               4. After consent set start_date, due_date and assignees with one bulk_update_tasks call.",
    },
];

/// The prompts as the protocol lists them.
pub fn list() -> Vec<Prompt> {
    let argument = |(name, description, required): &(&str, &str, bool)| {
        PromptArgument::new(*name).with_description(*description).with_required(*required)
    };
    let prompt = |spec: &Spec| {
        Prompt::new(spec.name, Some(spec.description), Some(spec.arguments.iter().map(argument).collect::<Vec<_>>()))
    };
    PROMPTS.iter().map(prompt).collect()
}

/// A prompt filled in.
///
/// # Errors
/// When there is no such prompt or a required argument is missing.
pub fn get(name: &str, arguments: &JsonObject) -> Result<GetPromptResult, ErrorData> {
    let Some(spec) = PROMPTS.iter().find(|spec| spec.name == name) else {
        let known: Vec<&str> = PROMPTS.iter().map(|spec| spec.name).collect();
        return Err(ErrorData::invalid_params(
            format!("unknown prompt `{name}`; there are {}", known.join(", ")),
            None,
        ));
    };
    let mut text = spec.text.to_owned();
    for (argument, _, required) in spec.arguments {
        let given =
            arguments.get(*argument).and_then(|value| value.as_str()).map(str::trim).filter(|value| !value.is_empty());
        let value = match (given, *required) {
            (Some(value), _) => {
                check(argument, value)?;
                format!("`{}`", value.replace('`', "'"))
            }
            (None, false) if *argument == "days" => "14".to_owned(),
            (None, false) => "next Monday".to_owned(),
            (None, true) => return Err(ErrorData::invalid_params(format!("`{argument}` is missing"), None)),
        };
        text = text.replace(&format!("{{{argument}}}"), &value);
    }
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).with_description(spec.description))
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
