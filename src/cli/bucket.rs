//! `graphgate bucket`: list, create, update, delete.

use clap::Subcommand;
use serde_json::json;

use super::session::{Common, Confirmation, Session, confirm};

/// `graphgate bucket`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List a plan's buckets in board order
    #[command(after_help = "Examples:\n  graphgate bucket list --plan \"Website relaunch\"")]
    List {
        /// Plan id or title; the default plan if omitted
        #[arg(long)]
        plan: Option<String>,
        /// Ask Planner first
        #[arg(long)]
        fresh: bool,
    },
    /// Add a bucket to a plan; one of the same name is returned instead
    #[command(after_help = "Examples:\n  graphgate bucket create Review --plan \"Website relaunch\"")]
    Create {
        /// Name
        name: String,
        /// Plan id or title; the default plan if omitted
        #[arg(long)]
        plan: Option<String>,
    },
    /// Rename or move a bucket
    #[command(
        after_help = "Examples:\n  graphgate bucket update Review --name \"In review\" --plan \"Website relaunch\"\n  graphgate bucket update Review --after Development"
    )]
    Update {
        /// Bucket id or name
        bucket: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// Bucket it is to stand behind, or `first` or `last`
        #[arg(long, value_name = "BUCKET")]
        after: Option<String>,
        /// Plan id or title; the default plan if omitted
        #[arg(long)]
        plan: Option<String>,
    },
    /// Delete a bucket
    #[command(
        after_help = "Examples:\n  graphgate bucket delete Review --plan \"Website relaunch\"\n  graphgate bucket delete Old --plan Archive --with-tasks --force"
    )]
    Delete {
        /// Bucket id or name
        bucket: String,
        /// Plan id or title; the default plan if omitted
        #[arg(long)]
        plan: Option<String>,
        /// Delete its tasks too; otherwise a bucket that has some is kept
        #[arg(long)]
        with_tasks: bool,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// Runs the command.
///
/// # Errors
/// The tool's own error, a failure of the connection, or an unconfirmed deletion.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let Args { common, verb } = arguments;
    if let Verb::Delete { bucket, with_tasks, confirmation, .. } = &verb {
        let tasks = if *with_tasks { " and all its tasks" } else { "" };
        confirm(*confirmation, &format!("delete bucket `{bucket}`{tasks}"))?;
    }
    let session = Session::open(&common).await?;
    match verb {
        Verb::List { plan, fresh } => {
            session.show("list_buckets", json!({"plan_id": plan, "fresh": fresh.then_some(true)})).await
        }
        Verb::Create { name, plan } => session.show("create_bucket", json!({"plan_id": plan, "name": name})).await,
        Verb::Update { bucket, name, after, plan } => {
            let change = json!({"plan_id": plan, "bucket_id": bucket, "name": name, "after": after});
            session.show("update_bucket", change).await
        }
        Verb::Delete { bucket, plan, with_tasks, confirmation: _ } => {
            session
                .change(
                    "delete_bucket",
                    json!({"plan_id": plan, "bucket_id": bucket, "delete_tasks": with_tasks.then_some(true)}),
                )
                .await
        }
    }
}
