//! What every command that talks to a server needs: the options they share, the connection, the printer.

use std::io::{BufRead, IsTerminal, Write};

use rmcp::model::JsonObject;
use serde::Serialize;
use serde_json::Value;

use super::client::Client;
use super::connection::Connection;
use super::failure::Failure;
use super::output::{Format, Output, OutputOptions, note, plain};
use super::progress::Progress;
use super::rest::Rest;

/// Options of every command that talks to a server.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    logs: Logs,
}

#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "Output")]
struct Logs {
    /// Say on stderr what is done
    #[arg(long, global = true)]
    verbose: bool,
    /// Log everything to stderr
    #[arg(long, global = true)]
    debug: bool,
}

/// Whether a command that destroys something may ask.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Confirmation {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Common {
    /// The format asked for, if one was.
    pub fn format(&self) -> Option<Format> {
        self.output.output
    }

    /// The REST interface of the server, and a printer.
    ///
    /// # Errors
    /// When an option is wrong.
    pub fn rest(&self) -> anyhow::Result<(Rest, Output)> {
        start_logs(self.logs);
        let output = Output::new(&self.output)?;
        Ok((Rest::new(self.connection.address()?)?, output))
    }
}

/// An open connection and a printer.
pub struct Session {
    client: Client,
    /// The printer.
    pub output: Output,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// When an option is wrong or no GraphGate answers.
    pub async fn open(common: &Common) -> anyhow::Result<Self> {
        Self::open_with(common, Progress::hidden()).await
    }

    /// Connects; progress the server reports moves `progress`.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub async fn open_with(common: &Common, progress: Progress) -> anyhow::Result<Self> {
        start_logs(common.logs);
        let output = Output::new(&common.output)?;
        let client = Client::connect(common.connection.address()?, progress).await?;
        Ok(Self { client, output })
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Calls a tool with arguments; those that are `None` are left out.
    ///
    /// # Errors
    /// The tool's own error, or a failure of the connection.
    pub async fn call<A: Serialize>(&self, tool: &str, arguments: A) -> anyhow::Result<Value> {
        Ok(self.client.call(tool, present(arguments)?).await?)
    }

    /// Calls a tool and prints its answer.
    ///
    /// # Errors
    /// As [`Session::call`], or when the answer cannot be printed.
    pub async fn show<A: Serialize>(&self, tool: &str, arguments: A) -> anyhow::Result<()> {
        let answer = self.call(tool, arguments).await?;
        self.output.print(&answer)
    }

    /// Calls a tool that writes, prints its receipt, and fails if the write did.
    ///
    /// # Errors
    /// As [`Session::show`], or when Planner refused the change.
    pub async fn change<A: Serialize>(&self, tool: &str, arguments: A) -> anyhow::Result<()> {
        let receipt = self.call(tool, arguments).await?;
        self.output.print(&receipt)?;
        match text(&receipt, "sync") {
            Some("failed") => {
                let said = text(&receipt, "note").unwrap_or("Planner refused the change; nothing of it remains");
                return Err(Failure::new(said).into());
            }
            Some("pending") => note("the change is journalled and will reach Planner"),
            _ => {}
        }
        Ok(())
    }
}

fn text<'a>(receipt: &'a Value, member: &str) -> Option<&'a str> {
    receipt.get(member).and_then(Value::as_str)
}

fn present<A: Serialize>(arguments: A) -> anyhow::Result<JsonObject> {
    let Value::Object(mut arguments) = serde_json::to_value(arguments)? else {
        anyhow::bail!("arguments are not an object")
    };
    arguments.retain(|_, value| !value.is_null());
    Ok(arguments)
}

/// Makes sure a person wants to do `what`, such as "delete task `x`". Without a terminal nobody can be asked, and
/// `--force` has to say so.
///
/// # Errors
/// When nobody can be asked, or the answer is no.
pub fn confirm(confirmation: Confirmation, what: &str) -> Result<(), Failure> {
    if confirmation.force {
        return Ok(());
    }
    if !is_interactive() {
        let refused = Failure::invalid(format!("to {what} needs a confirmation, and there is no terminal to ask on"));
        return Err(refused.hint("add `--force` to do it without being asked"));
    }
    let mut answer = String::new();
    let asked = write!(std::io::stderr().lock(), "{}? [y/N] ", plain(what))
        .and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
        _ => Err(Failure::new("stopped; nothing was changed")),
    }
}

/// Whether there is a person at the terminal to ask.
pub fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

impl Confirmation {
    /// Whether a question will be put to a person.
    pub fn will_ask(self) -> bool {
        !self.force && is_interactive()
    }
}

fn start_logs(logs: Logs) {
    let level = match logs {
        Logs { debug: true, .. } => "debug",
        Logs { verbose: true, .. } => "graphgate=info",
        Logs { .. } => return,
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    // A second subscriber is refused; the first one keeps logging.
    let colours = std::io::stderr().is_terminal() && crate::config::environment("NO_COLOR").is_none();
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn omitted_options_are_not_sent() {
        let arguments = serde_json::json!({"plan_id": null, "fresh": true, "title": "x"});
        assert_eq!(serde_json::to_string(&present(arguments).unwrap()).unwrap(), r#"{"fresh":true,"title":"x"}"#);
    }

    #[test]
    fn force_skips_the_confirmation() {
        assert_eq!(confirm(Confirmation { force: true }, "delete everything"), Ok(()));
    }
}
