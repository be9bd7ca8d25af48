//! `graphgate task`: everything about tasks. Arguments are those of the tools, by the tools' own types.

mod bulk;
mod fields;
mod file;
mod list;

use clap::Subcommand;
use serde_json::{Value, json};

use super::session::{Common, Confirmation, Session, confirm};
use crate::services::planner::input::UpdateTask;

/// `graphgate task`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Find tasks by any filters
    #[command(after_help = list::EXAMPLES)]
    List(Box<list::Filters>),
    /// Show a task with description, checklist and references
    #[command(after_help = "Examples:\n  graphgate task get TASK_ID\n  graphgate task get TASK_ID --query checklist")]
    Get {
        /// Task id
        task: String,
        /// Ask Planner first
        #[arg(long)]
        fresh: bool,
    },
    /// Create a task
    #[command(after_help = fields::CREATE_EXAMPLES)]
    Create(Box<fields::Create>),
    /// Change the fields you name, nothing else
    #[command(after_help = fields::UPDATE_EXAMPLES)]
    Update(Box<fields::Update>),
    /// Move a task to another bucket or plan, or to a place in its bucket
    #[command(
        after_help = "Examples:\n  graphgate task move TASK_ID --bucket Done\n  graphgate task move TASK_ID --after first\n  graphgate task move TASK_ID --plan \"Q4 launch\" --bucket Backlog"
    )]
    Move {
        /// Task id
        task: String,
        /// Bucket id or name
        #[arg(long, required_unless_present_any = ["plan", "after"])]
        bucket: Option<String>,
        /// Plan id or title, to move to another plan
        #[arg(long)]
        plan: Option<String>,
        /// Task it is to stand behind (id or title), `first` or `last`
        #[arg(long)]
        after: Option<String>,
    },
    /// Mark tasks as completed
    #[command(
        after_help = "Examples:\n  graphgate task complete TASK_ID\n  graphgate task list --status late --query 'tasks[].id' -o csv | tail -n +2 | xargs graphgate task complete"
    )]
    Complete {
        /// Task ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Delete a task
    #[command(after_help = "Examples:\n  graphgate task delete TASK_ID\n  graphgate task delete TASK_ID --force")]
    Delete {
        /// Task id
        task: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
    /// Create tasks from a JSON or CSV file
    #[command(after_help = bulk::CREATE_EXAMPLES)]
    BulkCreate(bulk::Create),
    /// Change tasks as a JSON or CSV file says
    #[command(after_help = bulk::UPDATE_EXAMPLES)]
    BulkUpdate(bulk::Update),
}

/// Runs the command.
///
/// # Errors
/// The tool's own error, a failure of the connection, wrong input, or an unconfirmed deletion.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let Args { common, verb } = arguments;
    match verb {
        Verb::List(filters) => list::run(&Session::open(&common).await?, *filters).await,
        Verb::Get { task, fresh } => {
            let arguments = json!({"task_id": task, "fresh": fresh.then_some(true)});
            Session::open(&common).await?.show("get_task", arguments).await
        }
        Verb::Create(create) => {
            let task = create.into_arguments()?;
            Session::open(&common).await?.change("create_task", task).await
        }
        Verb::Update(update) => {
            let change = update.into_arguments()?;
            Session::open(&common).await?.change("update_task", change).await
        }
        Verb::Move { task, bucket, plan, after } => {
            let arguments = json!({"task_id": task, "bucket_id": bucket, "plan_id": plan, "after": after});
            Session::open(&common).await?.change("move_task", arguments).await
        }
        Verb::Complete { tasks } => complete(&common, tasks).await,
        Verb::Delete { task, confirmation } => delete(&common, task, confirmation).await,
        Verb::BulkCreate(create) => bulk::create(&common, create).await,
        Verb::BulkUpdate(update) => bulk::update(&common, update).await,
    }
}

async fn complete(common: &Common, tasks: Vec<String>) -> anyhow::Result<()> {
    let completed = |task_id| UpdateTask { task_id, status: Some("completed".to_owned()), ..UpdateTask::default() };
    let mut updates: Vec<UpdateTask> = tasks.into_iter().map(completed).collect();
    match (updates.pop(), updates.is_empty()) {
        (Some(only), true) => Session::open(common).await?.change("update_task", only).await,
        (last, _) => {
            updates.extend(last);
            bulk::send_updates(common, &updates).await
        }
    }
}

/// A person is asked by title, which says more than an id; without one `--force` is demanded before anything is sent.
async fn delete(common: &Common, task: String, confirmation: Confirmation) -> anyhow::Result<()> {
    if !confirmation.will_ask() {
        confirm(confirmation, &format!("delete task `{task}`"))?;
    }
    let session = Session::open(common).await?;
    if confirmation.will_ask() {
        let known = session.call("get_task", json!({"task_id": task})).await?;
        let title = known.get("title").and_then(Value::as_str).unwrap_or(&task);
        confirm(confirmation, &format!("delete task `{title}`"))?;
    }
    session.change("delete_task", json!({"task_id": task})).await
}
