//! `graphgate task bulk-create` and `bulk-update`: any number of tasks, sent in calls of what the tool takes at once.
//!
//! A call that fails stops the work; the error says how many tasks earlier calls dealt with. With an idempotency key
//! the whole command can be repeated: every call derives its own key from it and its place.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::failure::Failure;
use super::super::progress::Progress;
use super::super::session::{Common, Session};
use super::super::source;
use super::file;
use crate::services::planner::input::{CreateTask, UpdateTask};

pub const CREATE_EXAMPLES: &str = "Examples:
  graphgate task bulk-create tasks.csv --plan \"Website relaunch\"
  graphgate task bulk-create tasks.json --idempotency-key import-2026-09
  echo '[{\"title\": \"One\"}, {\"title\": \"Two\"}]' | graphgate task bulk-create - --plan \"Website relaunch\"

CSV columns are the fields of the tool create_task; lists are separated by `;`:
  title,bucket_id,assignee_ids,due_date,checklist
  Book the venue,Design,Adele Vance;alex@contoso.com,2026-09-01,Call; [x] Compare";

pub const UPDATE_EXAMPLES: &str = "Examples:
  graphgate task bulk-update changes.json
  graphgate task list --status late --fields id,title,due_date -o csv > late.csv   # edit it, then:
  graphgate task bulk-update late.csv

CSV columns are the fields of the tool update_task; an empty cell leaves its field alone:
  task_id,status,due_date,clear
  TASK_ID,in_progress,2026-09-15,assignee_ids";

/// Most tasks the tools take in one call.
const CALL_SIZE: usize = 500;

/// Options of `task bulk-create`.
#[derive(Debug, Clone, clap::Args)]
pub struct Create {
    /// JSON or CSV file; `-` for standard input
    file: String,
    /// Plan id or title; the default plan if omitted
    #[arg(long)]
    plan: Option<String>,
    /// Same key, same tasks: safe to repeat for 24 h
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Options of `task bulk-update`.
#[derive(Debug, Clone, clap::Args)]
pub struct Update {
    /// JSON or CSV file; `-` for standard input
    file: String,
}

/// Creates the tasks of a file.
///
/// # Errors
/// When the file does not fit, a call fails, or Planner refuses a task.
pub async fn create(common: &Common, options: Create) -> anyhow::Result<()> {
    let tasks: Vec<CreateTask> = file::items(&source::read(&options.file)?, "tasks")?;
    let arguments = |tasks: &[CreateTask], call: usize| {
        let key = options.idempotency_key.as_ref().map(|key| key_of_call(key, call));
        json!({"plan_id": options.plan, "tasks": tasks, "idempotency_key": key})
    };
    send(common, "bulk_create_tasks", "creating", &tasks, arguments).await
}

/// Changes the tasks as a file says.
///
/// # Errors
/// When the file does not fit, a call fails, or Planner refuses a change.
pub async fn update(common: &Common, options: Update) -> anyhow::Result<()> {
    let updates: Vec<UpdateTask> = file::items(&source::read(&options.file)?, "updates")?;
    send_updates(common, &updates).await
}

/// Changes the tasks.
///
/// # Errors
/// When a call fails, or Planner refuses a change.
pub async fn send_updates(common: &Common, updates: &[UpdateTask]) -> anyhow::Result<()> {
    send(common, "bulk_update_tasks", "updating", updates, |updates, _| json!({ "updates": updates })).await
}

/// The first call has the key as given, so that a short file and the tool mean the same by it.
fn key_of_call(key: &str, call: usize) -> String {
    if call == 0 { key.to_owned() } else { format!("{key}-{}", call + 1) }
}

async fn send<T: Serialize>(
    common: &Common,
    tool: &str,
    doing: &'static str,
    items: &[T],
    arguments: impl Fn(&[T], usize) -> Value,
) -> anyhow::Result<()> {
    let progress = Progress::of(items.len(), doing);
    let session = Session::open_with(common, progress.clone()).await?;
    let receipt = send_all(&session, &progress, tool, items, arguments).await;
    progress.clear();
    let receipt = receipt?;
    let failed = count(&receipt, "failed");
    session.output.print(&Value::Object(receipt))?;
    if failed > 0 {
        return Err(Failure::new(format!("{failed} of {} tasks failed", items.len()))
            .hint(match tool {
                "bulk_create_tasks" => {
                    "see `attention` in the answer; sent again with the same `--idempotency-key`, only what is missing is made"
                }
                _ => "see `attention` in the answer",
            })
            .with("failed", failed)
            .into());
    }
    Ok(())
}

async fn send_all<T: Serialize>(
    session: &Session,
    progress: &Progress,
    tool: &str,
    items: &[T],
    arguments: impl Fn(&[T], usize) -> Value,
) -> anyhow::Result<Map<String, Value>> {
    let mut receipt = Map::new();
    for (call, part) in items.chunks(CALL_SIZE).enumerate() {
        let sent = call * CALL_SIZE;
        let answer =
            session.call(tool, arguments(part, call)).await.map_err(|error| interrupted(error, sent, items.len()))?;
        add(&mut receipt, answer, sent);
        progress.call_ended(sent + part.len());
    }
    Ok(receipt)
}

fn interrupted(error: anyhow::Error, sent: usize, total: usize) -> anyhow::Error {
    let failure = Failure::from(error);
    if sent == 0 {
        return failure.into();
    }
    failure.while_doing(&format!("after {sent} of {total} tasks")).with("sent", sent).into()
}

/// Adds a receipt: counts are summed, lists joined, and places counted from the start of the file.
fn add(receipt: &mut Map<String, Value>, answer: Value, sent: usize) {
    let Value::Object(answer) = answer else { return };
    for (member, value) in answer {
        match (receipt.get_mut(&member), value) {
            (Some(known @ Value::Number(_)), Value::Number(more)) => {
                *known = json!(known.as_u64().unwrap_or(0) + more.as_u64().unwrap_or(0));
            }
            (Some(Value::Array(known)), Value::Array(more)) => {
                known.extend(more.into_iter().map(|item| placed(item, sent)));
            }
            (_, Value::Array(items)) => {
                receipt.insert(member, items.into_iter().map(|item| placed(item, sent)).collect());
            }
            (_, value) => {
                receipt.insert(member, value);
            }
        }
    }
}

/// Counts an item from the start of the file: `index` from 0 as the tool does, `task` from 1 as messages do.
fn placed(mut item: Value, sent: usize) -> Value {
    if let Some(object) = item.as_object_mut()
        && let Some(index) = object.get("index").and_then(Value::as_u64)
    {
        let index = index + sent as u64;
        object.insert("index".to_owned(), json!(index));
        object.insert("task".to_owned(), json!(index + 1));
    }
    item
}

fn count(receipt: &Map<String, Value>, member: &str) -> u64 {
    receipt.get(member).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_receipts_are_summed_with_global_positions() {
        let mut receipt = Map::new();
        add(&mut receipt, json!({"synced": 500, "failed": 0, "ids": ["a"]}), 0);
        add(
            &mut receipt,
            json!({"synced": 99, "failed": 1, "ids": ["b"], "attention": [{"index": 7, "sync": "failed"}]}),
            500,
        );
        let expected = json!({"synced": 599, "failed": 1, "ids": ["a", "b"], "attention": [{"index": 507, "sync": "failed", "task": 508}]});
        assert_eq!(Value::Object(receipt), expected);
    }

    #[test]
    fn bulk_calls_have_distinct_idempotency_keys() {
        assert_eq!((key_of_call("k", 0), key_of_call("k", 1)), ("k".into(), "k-2".into()));
    }

    #[test]
    fn interrupted_import_reports_its_progress() {
        let failure = Failure::from(interrupted(Failure::new("no").into(), 500, 700));
        assert_eq!(failure.to_string(), "after 500 of 700 tasks: no");
    }
}
