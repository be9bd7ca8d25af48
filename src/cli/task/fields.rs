//! The fields of a task as options, and from them the arguments of `create_task` and `update_task`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::failure::Failure;
use super::super::pairs;
use crate::services::planner::input::{ChecklistInput, CreateTask, ReferenceInput, UpdateTask};

pub const CREATE_EXAMPLES: &str = "Examples:
  graphgate task create --plan \"Website relaunch\" --title \"Book the venue\" --due-date 2026-09-01
  graphgate task create --title \"Write the post\" --bucket Design --assignee \"Adele Vance\" --priority important \\
      --checklist Draft --checklist \"[x] Outline\" --reference \"https://contoso.com/brief The brief\"";

pub const UPDATE_EXAMPLES: &str = "Examples:
  graphgate task update TASK_ID --status in_progress --assignee alex@contoso.com
  graphgate task update TASK_ID --add-assignee \"Adele Vance\" --tick Outline
  graphgate task update TASK_ID --due-date 2026-09-15 --clear assignee_ids";

/// Options of fields a new and a known task have alike.
#[derive(Debug, Clone, Default, clap::Args)]
struct Fields {
    /// Bucket id or name
    #[arg(long)]
    bucket: Option<String>,
    /// Plain text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    description: Option<String>,
    /// User id, UPN or display name; once for each
    #[arg(long = "assignee", value_name = "USER")]
    assignees: Vec<String>,
    /// YYYY-MM-DD or RFC 3339 with zone
    #[arg(long, value_name = "DATE")]
    start_date: Option<String>,
    /// YYYY-MM-DD or RFC 3339 with zone
    #[arg(long, value_name = "DATE")]
    due_date: Option<String>,
    /// urgent, important, medium, low or 0-10
    #[arg(long)]
    priority: Option<String>,
    /// Checklist item; once for each, in order; `[x] ` in front ticks it
    #[arg(long, value_name = "ITEM")]
    checklist: Vec<String>,
    /// Link, and after a space its title; once for each
    #[arg(long = "reference", value_name = "URL [TITLE]")]
    references: Vec<String>,
    /// Label name; once for each
    #[arg(long = "category", value_name = "LABEL")]
    categories: Vec<String>,
    /// A configured field; once for each
    #[arg(long = "custom-field", value_name = "NAME=VALUE")]
    custom: Vec<String>,
}

/// Options of `task create`.
#[derive(Debug, Clone, clap::Args)]
pub struct Create {
    /// Title
    #[arg(long, allow_hyphen_values = true)]
    title: String,
    /// Plan id or title; the default plan if omitted
    #[arg(long)]
    plan: Option<String>,
    #[command(flatten)]
    fields: Fields,
    /// `not_started` (default), `in_progress` or `completed`
    #[arg(long)]
    status: Option<String>,
    /// Same key, same task: safe to repeat for 24 h
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Options of `task update`.
#[derive(Debug, Clone, clap::Args)]
pub struct Update {
    /// Task id
    task: String,
    /// New title
    #[arg(long, allow_hyphen_values = true)]
    title: Option<String>,
    #[command(flatten)]
    fields: Fields,
    /// `not_started`, `in_progress` or `completed`
    #[arg(long)]
    status: Option<String>,
    /// 0-100
    #[arg(long, value_name = "PERCENT", conflicts_with = "status")]
    percent_complete: Option<u8>,
    /// Fields to empty, separated by commas, such as `due_date`
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    clear: Vec<String>,
    #[command(flatten)]
    entries: Entries,
}

/// Options that change single entries of a list and leave the others alone; each once for each entry.
#[derive(Debug, Clone, Default, clap::Args)]
struct Entries {
    /// Assign somebody too
    #[arg(long, value_name = "USER")]
    add_assignee: Vec<String>,
    /// Unassign somebody
    #[arg(long, value_name = "USER")]
    remove_assignee: Vec<String>,
    /// Set a label too
    #[arg(long, value_name = "LABEL")]
    add_category: Vec<String>,
    /// Take a label away
    #[arg(long, value_name = "LABEL")]
    remove_category: Vec<String>,
    /// Append a checklist item
    #[arg(long, value_name = "ITEM")]
    add_checklist: Vec<String>,
    /// Tick a checklist item, by title or id
    #[arg(long, value_name = "ITEM")]
    tick: Vec<String>,
    /// Untick a checklist item
    #[arg(long, value_name = "ITEM")]
    untick: Vec<String>,
    /// Remove a checklist item
    #[arg(long, value_name = "ITEM")]
    remove_checklist: Vec<String>,
    /// Add a link, and after a space its title
    #[arg(long, value_name = "URL [TITLE]")]
    add_reference: Vec<String>,
    /// Remove a link, by address or title
    #[arg(long, value_name = "URL")]
    remove_reference: Vec<String>,
}

impl Create {
    /// The arguments of `create_task`.
    ///
    /// # Errors
    /// When a custom field is not of the form name=value.
    pub fn into_arguments(self) -> Result<CreateTask, Failure> {
        let fields = self.fields;
        Ok(CreateTask {
            plan_id: self.plan,
            title: self.title,
            bucket_id: fields.bucket,
            status: self.status,
            description: fields.description,
            assignee_ids: some(fields.assignees),
            start_date: fields.start_date,
            due_date: fields.due_date,
            priority: fields.priority,
            checklist: some(fields.checklist.iter().map(|item| checklist_item(item)).collect()),
            references: some(fields.references.iter().map(|link| reference(link)).collect()),
            categories: some(fields.categories),
            custom_fields: custom_fields(&fields.custom)?,
            idempotency_key: self.idempotency_key,
            percent_complete: None,
        })
    }
}

impl Update {
    /// The arguments of `update_task`.
    ///
    /// # Errors
    /// When a custom field is not of the form name=value, or no field is named.
    pub fn into_arguments(self) -> Result<UpdateTask, Failure> {
        let fields = self.fields;
        let nothing = UpdateTask { task_id: self.task, ..UpdateTask::default() };
        let change = UpdateTask {
            title: self.title,
            bucket_id: fields.bucket,
            description: fields.description,
            assignee_ids: some(fields.assignees),
            start_date: fields.start_date,
            due_date: fields.due_date,
            priority: fields.priority,
            status: self.status,
            percent_complete: self.percent_complete,
            checklist: some(fields.checklist.iter().map(|item| checklist_item(item)).collect()),
            references: some(fields.references.iter().map(|link| reference(link)).collect()),
            categories: some(fields.categories),
            custom_fields: custom_fields(&fields.custom)?,
            clear: some(self.clear),
            add_assignees: some(self.entries.add_assignee),
            remove_assignees: some(self.entries.remove_assignee),
            add_categories: some(self.entries.add_category),
            remove_categories: some(self.entries.remove_category),
            add_checklist: some(self.entries.add_checklist.iter().map(|item| checklist_item(item)).collect()),
            tick_checklist: some(self.entries.tick),
            untick_checklist: some(self.entries.untick),
            remove_checklist: some(self.entries.remove_checklist),
            add_references: some(self.entries.add_reference.iter().map(|link| reference(link)).collect()),
            remove_references: some(self.entries.remove_reference),
            ..nothing.clone()
        };
        if change == nothing {
            return Err(
                Failure::invalid("no field is named that should change").hint("see `graphgate task update --help`")
            );
        }
        Ok(change)
    }
}

fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

/// Reads `[x] title`, `[ ] title` or `title`.
pub fn checklist_item(text: &str) -> ChecklistInput {
    let (title, checked) = match text.split_at_checked(4) {
        Some(("[x] " | "[X] ", title)) => (title, true),
        Some(("[ ] ", title)) => (title, false),
        _ => (text, false),
    };
    ChecklistInput { title: title.to_owned(), checked }
}

/// Reads `url` or `url title`.
pub fn reference(text: &str) -> ReferenceInput {
    match text.trim().split_once(char::is_whitespace) {
        Some((url, title)) => ReferenceInput { url: url.to_owned(), title: Some(title.trim().to_owned()) },
        None => ReferenceInput { url: text.trim().to_owned(), title: None },
    }
}

/// A number or `true` is one; anything that is no JSON is text.
fn custom_fields(given: &[String]) -> Result<Option<BTreeMap<String, Value>>, Failure> {
    let mut fields = BTreeMap::new();
    for pair in given {
        let (name, text) = pairs::split(pair)?;
        fields.insert(name, serde_json::from_str(&text).unwrap_or(Value::String(text)));
    }
    Ok((!fields.is_empty()).then_some(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checklist_items_and_references_parse_from_arguments() {
        assert_eq!(checklist_item("[x] Outline"), ChecklistInput { title: "Outline".into(), checked: true });
        assert_eq!(checklist_item("[X] Outline"), ChecklistInput { title: "Outline".into(), checked: true });
        assert_eq!(checklist_item("[ ] Outline"), ChecklistInput { title: "Outline".into(), checked: false });
        assert_eq!(checklist_item("[y] Outline"), ChecklistInput { title: "[y] Outline".into(), checked: false });
        assert_eq!(checklist_item("Öl kaufen"), ChecklistInput { title: "Öl kaufen".into(), checked: false });
        assert_eq!(
            reference("https://x The brief"),
            ReferenceInput { url: "https://x".into(), title: Some("The brief".into()) }
        );
    }

    #[test]
    fn an_update_without_fields_is_refused() {
        let update = Update {
            task: "t".into(),
            title: None,
            fields: Fields::default(),
            status: None,
            percent_complete: None,
            clear: vec![],
            entries: Entries::default(),
        };
        assert!(update.into_arguments().unwrap_err().to_string().starts_with("no field is named"));
    }
}
