//! `graphgate resource`: what the server lets clients read by address.

use std::io::IsTerminal;

use base64::Engine;
use clap::Subcommand;
use rmcp::model::ResourceContents;
use serde_json::{Value, json};

use super::failure::Failure;
use super::session::{Common, Session};

/// `graphgate resource`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the resources and the templates of resources
    #[command(after_help = "Examples:\n  graphgate resource list")]
    List,
    /// Read a resource
    #[command(
        after_help = "Examples:\n  graphgate resource read planner://plans\n  graphgate resource read planner://plans/PLAN_ID/tasks -o json"
    )]
    Read {
        /// Address, such as `planner://plans`
        uri: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When the resource does not exist or the connection fails.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let session = Session::open(&arguments.common).await?;
    match arguments.verb {
        Verb::List => list(&session).await,
        Verb::Read { uri } => {
            for contents in session.client().read(&uri).await? {
                print(&session, contents)?;
            }
            Ok(())
        }
    }
}

/// Templates are among the resources: their address has names in braces.
async fn list(session: &Session) -> anyhow::Result<()> {
    let (resources, templates) = session.client().resources().await?;
    let mut items = Vec::new();
    for resource in resources {
        items.push(serde_json::to_value(resource)?);
    }
    for template in templates {
        let mut item = json!({ "uri": template.uri_template });
        if let (Value::Object(item), Value::Object(mut rest)) = (&mut item, serde_json::to_value(template)?) {
            rest.remove("uriTemplate");
            item.extend(rest);
        }
        items.push(item);
    }
    session.output.print_list(&json!({ "resources": items }), &["uri", "name", "description"])
}

fn print(session: &Session, contents: ResourceContents) -> anyhow::Result<()> {
    match contents {
        ResourceContents::TextResourceContents { text, .. } => match serde_json::from_str::<Value>(&text) {
            Ok(answer) => session.output.print(&answer),
            Err(_) if session.output.wants_objects() => session.output.print(&Value::String(text)),
            Err(_) => session.output.print_text(&text),
        },
        ResourceContents::BlobResourceContents { blob, .. } => {
            if std::io::stdout().is_terminal() {
                return Err(Failure::invalid("the resource is binary").hint("send it to a file with `>`").into());
            }
            session.output.write_bytes(&base64::engine::general_purpose::STANDARD.decode(blob)?)
        }
        _ => Err(Failure::new("the resource is of a kind this version does not know").into()),
    }
}
