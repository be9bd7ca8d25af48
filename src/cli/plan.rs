//! `graphgate plan`: list, get, create, update.

use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::Failure;
use super::pairs;
use super::session::{Common, Session};

/// `graphgate plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the plans you may use
    #[command(
        after_help = "Examples:\n  graphgate plan list\n  graphgate plan list --group Digital --query 'plans[].title'"
    )]
    List {
        /// Only plans of this group, by id or name
        #[arg(long)]
        group: Option<String>,
        /// Ask Planner first
        #[arg(long)]
        fresh: bool,
    },
    /// Summarise a plan: tasks by status, late ones, open ones by bucket, labels
    #[command(
        after_help = "Examples:\n  graphgate plan get \"Website relaunch\"\n  graphgate plan get \"Website relaunch\" --query by_status"
    )]
    Get {
        /// Plan id or title; the default plan if omitted
        plan: Option<String>,
        /// Ask Planner first
        #[arg(long)]
        fresh: bool,
    },
    /// Rename a plan or name its labels
    #[command(
        after_help = "Examples:\n  graphgate plan update \"Website relaunch\" --title \"Website launch\"\n  graphgate plan update \"Website relaunch\" --label 7=Postponed"
    )]
    Update {
        /// Plan id or title; the default plan if omitted
        plan: Option<String>,
        /// New title
        #[arg(long)]
        title: Option<String>,
        /// Number of a label, 1 to 25, and its name; once for each, without a name to take it away
        #[arg(long = "label", value_name = "NUMBER=NAME")]
        labels: Vec<String>,
    },
    /// Create a plan in a group; one of the same title is answered as it is
    #[command(
        after_help = "Examples:\n  graphgate plan create --title \"Q3 launch\" --group Digital --bucket Backlog --bucket Doing --bucket Done"
    )]
    Create {
        /// Title
        #[arg(long)]
        title: String,
        /// Group that owns the plan, by id or name
        #[arg(long)]
        group: String,
        /// Name of a bucket to create in it; once for each, in board order
        #[arg(long = "bucket", value_name = "NAME")]
        buckets: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// The tool's own error, or a failure of the connection.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let session = Session::open(&arguments.common).await?;
    match arguments.verb {
        Verb::List { group, fresh } => {
            session.show("list_plans", json!({"group": group, "fresh": fresh.then_some(true)})).await
        }
        Verb::Get { plan, fresh } => {
            session.show("get_plan", json!({"plan_id": plan, "fresh": fresh.then_some(true)})).await
        }
        Verb::Update { plan, title, labels } => {
            let labels = labels.iter().map(|label| label_name(label)).collect::<Result<Vec<_>, _>>()?;
            let labels = (!labels.is_empty()).then_some(labels);
            session.show("update_plan", json!({"plan_id": plan, "title": title, "labels": labels})).await
        }
        Verb::Create { title, group, buckets } => {
            let buckets = (!buckets.is_empty()).then_some(buckets);
            session.show("create_plan", json!({"title": title, "group_id": group, "buckets": buckets})).await
        }
    }
}

fn label_name(text: &str) -> Result<Value, Failure> {
    let (number, name) = pairs::split(text)?;
    let number: u8 = number.trim().parse().map_err(|_| Failure::invalid(format!("`{number}` is no label's number")))?;
    Ok(json!({"number": number, "name": name}))
}
