//! `graphgate subscription`: list, add, delete.

use clap::Subcommand;
use serde_json::json;

use super::session::{Common, Session};

/// `graphgate subscription`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what is watched
    #[command(
        after_help = "Examples:\n  graphgate subscription list\n  graphgate subscription list --query 'subscriptions[?state!=`\"active\"`]'"
    )]
    List,
    /// Watch something: group, groups, user, users, mail, events, contacts, todo, channel, chat, drive or list
    #[command(
        after_help = "Examples:\n  graphgate subscription add group \"Digital\"\n  graphgate subscription add users\n  graphgate subscription add mail ada@contoso.com --content"
    )]
    Add {
        /// What to watch
        kind: String,
        /// Group or user (id or name), then the id of list, channel, chat or drive if the kind has one
        names: Vec<String>,
        /// Notifications carry what changed
        #[arg(long)]
        content: bool,
    },
    /// Stop watching something
    #[command(after_help = "Examples:\n  graphgate subscription delete group-0a1b2c3d4e5f6")]
    Delete {
        /// Id from `subscription list`
        id: String,
    },
}

/// Runs the command.
///
/// # Errors
/// The tool's own error, or a failure of the connection.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let session = Session::open(&arguments.common).await?;
    match arguments.verb {
        Verb::List => session.show("list_subscriptions", json!({})).await,
        Verb::Add { kind, names, content } => {
            let content = content.then_some(true);
            let arguments = json!({"kind": kind, "names": names, "include_content": content});
            session.show("create_subscription", arguments).await
        }
        Verb::Delete { id } => session.show("delete_subscription", json!({"id": id})).await,
    }
}
