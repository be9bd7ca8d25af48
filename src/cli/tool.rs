//! `graphgate tool`: every tool of the server by its own name, also those that have no command here.

use clap::Subcommand;
use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

use super::failure::Failure;
use super::session::{Common, Confirmation, Session, confirm};
use super::{pairs, source};

/// `graphgate tool`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the tools of the server
    #[command(
        after_help = "Examples:\n  graphgate tool list\n  graphgate tool list --query \"tools[?name=='create_task'].inputSchema.properties\""
    )]
    List,
    /// Call a tool
    #[command(
        after_help = "Examples:\n  graphgate tool call get_plan plan_id=\"Website relaunch\"\n  graphgate tool call query_tasks --args '{\"status\": \"late\", \"limit\": 5}'\n  graphgate tool call bulk_update_tasks --args - < updates.json"
    )]
    Call {
        /// Name of the tool
        name: String,
        /// Arguments one by one; a value is JSON unless the tool wants text
        #[arg(value_name = "KEY=VALUE")]
        pairs: Vec<String>,
        /// Arguments as a JSON object; `-` reads it from standard input
        #[arg(long, value_name = "JSON")]
        args: Option<String>,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

/// Runs the command.
///
/// # Errors
/// The tool's own error, a failure of the connection, wrong arguments, or an unconfirmed destruction.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let session = Session::open(&arguments.common).await?;
    let tools = session.client().tools().await?;
    match arguments.verb {
        Verb::List => session.output.print_list(
            &json!({ "tools": tools }),
            &["name", "annotations.readOnlyHint", "annotations.destructiveHint", "description"],
        ),
        Verb::Call { name, pairs, args, confirmation } => {
            let tool = named(&tools, &name)?;
            let mut arguments = from_json(args.as_deref())?;
            arguments.extend(pairs::typed(&pairs, &tool.input_schema)?);
            if destroys(tool) {
                confirm(confirmation, &format!("call `{name}` with {}", Value::Object(arguments.clone())))?;
            }
            session.show(&name, arguments).await
        }
    }
}

fn named<'a>(tools: &'a [Tool], name: &str) -> Result<&'a Tool, Failure> {
    tools.iter().find(|tool| tool.name == name).ok_or_else(|| {
        let known: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        Failure::invalid(format!("the server has no tool `{name}`")).hint(format!("tools: {}", known.join(", ")))
    })
}

fn destroys(tool: &Tool) -> bool {
    tool.annotations
        .as_ref()
        .is_some_and(|hints| hints.destructive_hint == Some(true) && hints.read_only_hint != Some(true))
}

fn from_json(text: Option<&str>) -> Result<JsonObject, Failure> {
    let text = match text {
        None => return Ok(JsonObject::new()),
        Some("-") => source::read("-")?,
        Some(text) => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| Failure::invalid(format!("`--args` is no JSON object: {error}")))
}
