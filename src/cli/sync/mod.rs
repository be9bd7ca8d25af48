//! `graphgate sync`: the replica's sync state, what has happened, and what a person may do about it.

mod stream;
mod watch;

use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Output, note};
use super::rest::{Rest, segment};
use super::session::{Common, Confirmation, confirm};
use super::wording::in_flags;

/// `graphgate sync`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the sync state of the plans, and what to do where one is stopped
    #[command(
        after_help = "Examples:\n  graphgate sync status\n  graphgate sync status --plan \"Website relaunch\" --query 'plans[0].pending'"
    )]
    Status {
        /// Plan id or title; all plans in use if omitted
        #[arg(long)]
        plan: Option<String>,
    },
    /// List what has happened, the newest first
    #[command(
        after_help = "Examples:\n  graphgate sync log --plan \"Website relaunch\"\n  graphgate sync log --event refused --limit 20 -o csv"
    )]
    Log {
        /// Plan id or title; all plans if omitted
        #[arg(long)]
        plan: Option<String>,
        /// Only this task, by id
        #[arg(long)]
        task: Option<String>,
        /// Only this kind, such as updated, conflict or refused
        #[arg(long)]
        event: Option<String>,
        #[command(flatten)]
        page: Page,
    },
    /// List what was decided between two values, or refused by Planner, the newest first
    #[command(
        after_help = "Examples:\n  graphgate sync conflicts --open\n  graphgate sync conflicts --plan \"Website relaunch\" --query 'conflicts[].[id, field, agent, planner]' -o csv"
    )]
    Conflicts {
        /// Plan id or title; all plans if omitted
        #[arg(long)]
        plan: Option<String>,
        /// Only this task, by id
        #[arg(long)]
        task: Option<String>,
        /// Only those whose losing value was not put back
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        page: Page,
    },
    /// Put the losing value of a conflict back, in Planner too
    #[command(after_help = "Examples:\n  graphgate sync restore 1795511400000-c4tz8k2m9x0q1w-0a1b2c3d4e5f")]
    Restore {
        /// Id from `sync conflicts`
        conflict: String,
    },
    /// Follow a mass deletion or change that was held back
    #[command(after_help = "Examples:\n  graphgate sync confirm \"Website relaunch\" --force")]
    Confirm {
        /// Plan id or title
        plan: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Try again now what has yet to reach Planner
    #[command(
        after_help = "Examples:\n  graphgate sync replay\n  graphgate sync replay --plan \"Website relaunch\" --refused"
    )]
    Replay {
        /// Plan id or title; all plans in use if omitted
        #[arg(long)]
        plan: Option<String>,
        /// Write again too what Planner had refused for good
        #[arg(long)]
        refused: bool,
    },
    /// Follow what happens, as it happens: a line for each event
    #[command(
        after_help = "Examples:\n  graphgate sync watch\n  graphgate sync watch --plan \"Website relaunch\" -o json | jq .title\n  graphgate sync watch --since c4tz118 --seconds 60"
    )]
    Watch(watch::Options),
}

#[derive(Debug, clap::Args)]
struct Page {
    /// Most entries, 1-500
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Where a former page ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

const STATUS: &[&str] =
    &["plan", "status", "tasks", "pending", "oldest_pending", "as_of", "stopped", "last_error", "what_to_do"];
const LOG: &[&str] = &["at", "event", "plan", "title", "fields", "side", "by", "reason"];
const CONFLICTS: &[&str] = &["id", "title", "field", "kind", "winner", "agent", "planner", "restored"];

/// Runs the command.
///
/// # Errors
/// What the server says, or a failure of the connection.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let (rest, output) = arguments.common.rest()?;
    match arguments.verb {
        Verb::Status { plan } => {
            let mut health = rest.get("api/sync/health", &[("plan_id", plan.as_deref())]).await?;
            for plan in health.get_mut("plans").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(Value::String(way_out)) = plan.get_mut("what_to_do") {
                    *way_out = in_flags(way_out);
                }
            }
            list(&output, &health, "plans", STATUS)
        }
        Verb::Log { plan, task, event, page } => {
            let limit = page.limit.map(|limit| limit.to_string());
            let query = [
                ("plan_id", plan.as_deref()),
                ("task_id", task.as_deref()),
                ("event", event.as_deref()),
                ("limit", limit.as_deref()),
                ("cursor", page.cursor.as_deref()),
            ];
            list(&output, &rest.get("api/sync/log", &query).await?, "events", LOG)
        }
        Verb::Conflicts { plan, task, open, page } => {
            let limit = page.limit.map(|limit| limit.to_string());
            let query = [
                ("plan_id", plan.as_deref()),
                ("task_id", task.as_deref()),
                ("open", open.then_some("true")),
                ("limit", limit.as_deref()),
                ("cursor", page.cursor.as_deref()),
            ];
            list(&output, &rest.get("api/sync/conflicts", &query).await?, "conflicts", CONFLICTS)
        }
        Verb::Restore { conflict } => restore(&rest, &output, &conflict).await,
        Verb::Confirm { plan, confirmation } => {
            confirm(confirmation, &format!("follow the mass change in plan `{plan}`"))?;
            let refreshed = rest.post(&format!("api/sync/plans/{}/confirm", segment(&plan)), None).await?;
            output.print(&refreshed)
        }
        Verb::Replay { plan, refused } => {
            let body = match plan {
                Some(plan) => json!({"plan_id": plan, "refused": refused}),
                None => json!({"refused": refused}),
            };
            let replayed = rest.post("api/sync/replay", Some(&body)).await?;
            list(&output, &replayed, "plans", &[])?;
            still_pending(&replayed)
        }
        Verb::Watch(options) => watch::run(&rest, &output, options).await,
    }
}

async fn restore(rest: &Rest, output: &Output, conflict: &str) -> anyhow::Result<()> {
    let receipt = rest.post(&format!("api/sync/conflicts/{}/restore", segment(conflict)), None).await?;
    output.print(&receipt)?;
    if receipt.get("sync").and_then(Value::as_str) == Some("pending") {
        note("the change is journalled and will reach Planner");
    }
    Ok(())
}

/// Prints an answer whose heart is one list: for people that list, for programs everything.
fn list(output: &Output, answer: &Value, name: &str, members: &[&str]) -> anyhow::Result<()> {
    let items = answer.get(name).filter(|_| !output.wants_objects());
    let Some(items) = items else { return output.print(answer) };
    if items.as_array().is_some_and(Vec::is_empty) {
        note("there is nothing to show");
        return Ok(());
    }
    let members = present(items, members);
    output.print_list(items, &members)?;
    if answer.get("complete") == Some(&Value::Bool(false)) {
        let cursor = answer.get("cursor").and_then(Value::as_str).unwrap_or_default();
        note(&format!("there is more: `--cursor {cursor}`"));
    }
    Ok(())
}

/// Those members that any item has: a table of a healthy deployment has no empty columns.
fn present<'a>(items: &Value, members: &[&'a str]) -> Vec<&'a str> {
    let has =
        |member: &&&str| items.as_array().is_some_and(|items| items.iter().any(|item| item.get(**member).is_some()));
    members.iter().filter(has).copied().collect()
}

/// Fails when something is still on its way, so that a script can tell.
fn still_pending(replayed: &Value) -> anyhow::Result<()> {
    let plans = replayed.get("plans").and_then(Value::as_array).into_iter().flatten();
    let pending: u64 = plans.filter_map(|plan| plan.get("pending")?.as_u64()).sum();
    if pending == 0 {
        return Ok(());
    }
    Err(Failure::new(format!("{pending} tasks have yet to reach Planner; they are tried on"))
        .hint("`graphgate sync status` says since when")
        .into())
}
