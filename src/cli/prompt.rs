//! `graphgate prompt`: the server's prompts, filled in.

use clap::Subcommand;
use serde_json::json;

use super::pairs;
use super::session::{Common, Session};

/// `graphgate prompt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the prompts of the server
    #[command(after_help = "Examples:\n  graphgate prompt list")]
    List,
    /// Print a prompt, ready to be given to a model
    #[command(after_help = "Examples:\n  graphgate prompt get weekly_status plan_id=\"Website relaunch\" -o md")]
    Get {
        /// Name of the prompt
        name: String,
        /// Its arguments
        #[arg(value_name = "KEY=VALUE")]
        pairs: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// When the prompt does not exist, an argument is wrong, or the connection fails.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let session = Session::open(&arguments.common).await?;
    match arguments.verb {
        Verb::List => {
            let prompts = session.client().prompts().await?;
            session.output.print_list(&json!({ "prompts": prompts }), &["name", "description"])
        }
        Verb::Get { name, pairs } => {
            let prompt = session.client().prompt(&name, pairs::texts(&pairs)?).await?;
            if session.output.wants_objects() {
                return session.output.print(&serde_json::to_value(&prompt)?);
            }
            let text = |message: &rmcp::model::PromptMessage| message.content.as_text().map(|text| text.text.clone());
            let texts: Vec<String> = prompt.messages.iter().filter_map(text).collect();
            session.output.print_text(&texts.join("\n\n"))
        }
    }
}
