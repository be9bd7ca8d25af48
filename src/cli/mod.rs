//! The command line.
//!
//! `serve`, `dev`, `sim` and `stdio` start servers. Everything else is a client that talks MCP to any GraphGate, with
//! the tools' own words and the conventions of CLI for Microsoft 365: ids or names everywhere, data on stdout and all
//! else on stderr, `-o` and `--query`, and exit codes from the error table.

mod accounts;
mod audit;
mod bucket;
mod client;
mod clients;
mod connection;
#[cfg(feature = "sim")]
pub mod dev;
mod doctor;
mod failure;
mod keys;
mod output;
mod own;
mod pairs;
mod permissions;
mod plan;
mod profile;
mod progress;
mod prompt;
mod queue;
pub mod ready;
mod report;
mod report_schedule;
mod resource;
mod rest;
pub mod serve;
mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod source;
pub mod stdio;
mod store;
mod subscription;
mod sync;
mod task;
mod tool;
#[cfg(feature = "pdf")]
mod typeset;
mod unreachable;
mod webhook;
mod wording;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use failure::Failure;
use output::Format;

const AFTER_HELP: &str = "Exit codes:
  0 done           4 not authenticated   8 Microsoft Graph failed
  1 failed         5 not permitted       9 the store failed
  2 wrong usage    6 conflict           10 out of time, or no server answers
  3 not found      7 throttled          11 wrong setting, 12 internal fault

`serve` under the Functions host ends with 200 where it would end with 0.

`graphgate COMMAND --help` and `graphgate COMMAND VERB --help` show options and examples.";

/// The gate through which AI agents, CI pipelines and schedulers work with Microsoft 365.
#[derive(Debug, Parser)]
#[command(name = "graphgate", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server on a simulated tenant, ready to be tried
    #[cfg(feature = "sim")]
    Dev(dev::Args),
    /// Start a server
    Serve(serve::Args),
    /// Serve one client over standard input and output
    Stdio(stdio::Args),
    /// Start the simulated tenant alone
    #[cfg(feature = "sim")]
    Sim(sim::Args),
    /// Check configuration, credentials, permissions, store, queue, clock and webhook
    Doctor(doctor::Args),
    /// List the Graph permissions the application needs
    Permissions(permissions::Args),
    /// Who did what: list
    Audit(audit::Args),
    /// The store as one file: export, import
    Store(store::Args),
    /// Keys for callers: create, list, revoke
    Keys(keys::Args),
    /// Clients that people sign in to, or that act as themselves: create, list, rotate, pause, resume, remove
    Clients(clients::Args),
    /// People who are connected: list, disconnect
    Accounts(accounts::Args),
    /// What waits and what was given up on: list, poison, redrive
    Queue(queue::Args),
    /// Whether change notifications get through: test, health
    Webhook(webhook::Args),
    /// Plans: list, get, create
    Plan(plan::Args),
    /// Tasks: list, get, create, update, move, complete, delete, bulk-create, bulk-update
    Task(task::Args),
    /// Buckets: list, create, update, delete
    Bucket(bucket::Args),
    /// Make a report on plans: PDF, HTML, XLSX, CSV, Markdown, JSON
    Report(report::Args),
    /// Reports on a schedule: add, list, remove, run
    ReportSchedule(report_schedule::Args),
    /// What is watched in Microsoft 365: list, add, delete
    Subscription(subscription::Args),
    /// The replica's sync state: status, log, conflicts, restore, confirm, replay, watch
    Sync(sync::Args),
    /// Any tool of the server: list, call
    Tool(tool::Args),
    /// Resources of the server: list, read
    Resource(resource::Args),
    /// Prompts of the server: list, get
    Prompt(prompt::Args),
    /// Saved servers: set, list, use, remove
    Profile(profile::Args),
    /// Set one report as PDF, for the server
    #[cfg(feature = "pdf")]
    #[command(name = crate::services::reports::render::pdf::COMMAND, hide = true)]
    TypesetReport(typeset::Args),
}

/// The commands as the help shows them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start a server", &["dev", "serve", "stdio", "sim"]),
    (
        "Work on Planner, through a server",
        &["plan", "task", "bucket", "report", "report-schedule", "subscription", "sync"],
    ),
    ("Everything the server offers", &["tool", "resource", "prompt"]),
    (
        "Run a deployment",
        &["doctor", "permissions", "keys", "clients", "accounts", "store", "audit", "queue", "webhook"],
    ),
    ("Settings", &["profile"]),
];

/// Runs the program and returns what the process ends with.
#[must_use]
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let (format, speaks_of_tools) = (cli.command.format(), cli.command.speaks_of_tools());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("cannot start: {error}")).report(format),
    };
    let ended = runtime.block_on(cli.command.run());
    // A thread that still waits for standard input must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) if speaks_of_tools => Failure::from(error).report(format),
        Err(error) => Failure::from(error).in_flags().report(format),
    }
}

impl Command {
    /// Whether it names tools and their arguments itself.
    const fn speaks_of_tools(&self) -> bool {
        matches!(self, Self::Tool(_) | Self::Resource(_) | Self::Prompt(_))
    }

    /// The format asked for, in which a failure is printed as well.
    fn format(&self) -> Option<Format> {
        match self {
            #[cfg(feature = "sim")]
            Self::Dev(_) | Self::Sim(_) => None,
            Self::Serve(_) | Self::Stdio(_) => None,
            #[cfg(feature = "pdf")]
            Self::TypesetReport(_) => None,
            Self::Plan(arguments) => arguments.common.format(),
            Self::Task(arguments) => arguments.common.format(),
            Self::Bucket(arguments) => arguments.common.format(),
            Self::Subscription(arguments) => arguments.common.format(),
            Self::Sync(arguments) => arguments.common.format(),
            Self::Report(arguments) => arguments.common.format(),
            Self::ReportSchedule(arguments) => arguments.common.format(),
            Self::Tool(arguments) => arguments.common.format(),
            Self::Resource(arguments) => arguments.common.format(),
            Self::Prompt(arguments) => arguments.common.format(),
            Self::Doctor(arguments) => arguments.format(),
            Self::Permissions(arguments) => arguments.format(),
            Self::Audit(arguments) => arguments.format(),
            Self::Keys(arguments) => arguments.format(),
            Self::Clients(arguments) => arguments.format(),
            Self::Accounts(arguments) => arguments.format(),
            Self::Store(arguments) => arguments.format(),
            Self::Queue(arguments) => arguments.format(),
            Self::Webhook(arguments) => arguments.common.format(),
            Self::Profile(arguments) => arguments.format(),
        }
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        let done = match self {
            #[cfg(feature = "sim")]
            Self::Dev(arguments) => Box::pin(dev::run(arguments)).await,
            Self::Serve(arguments) => return Box::pin(serve::run(arguments)).await,
            Self::Stdio(arguments) => Box::pin(stdio::run(arguments)).await,
            #[cfg(feature = "sim")]
            Self::Sim(arguments) => Box::pin(sim::run(arguments)).await,
            Self::Plan(arguments) => Box::pin(plan::run(arguments)).await,
            Self::Task(arguments) => Box::pin(task::run(arguments)).await,
            Self::Bucket(arguments) => Box::pin(bucket::run(arguments)).await,
            Self::Subscription(arguments) => Box::pin(subscription::run(arguments)).await,
            Self::Sync(arguments) => Box::pin(sync::run(arguments)).await,
            Self::Report(arguments) => Box::pin(report::run(arguments)).await,
            Self::ReportSchedule(arguments) => Box::pin(report_schedule::run(arguments)).await,
            Self::Tool(arguments) => Box::pin(tool::run(arguments)).await,
            Self::Resource(arguments) => Box::pin(resource::run(arguments)).await,
            Self::Prompt(arguments) => Box::pin(prompt::run(arguments)).await,
            Self::Doctor(arguments) => Box::pin(doctor::run(arguments)).await,
            Self::Permissions(arguments) => permissions::run(arguments),
            Self::Audit(arguments) => Box::pin(audit::run(arguments)).await,
            Self::Keys(arguments) => Box::pin(keys::run(arguments)).await,
            Self::Clients(arguments) => Box::pin(clients::run(arguments)).await,
            Self::Accounts(arguments) => Box::pin(accounts::run(arguments)).await,
            Self::Store(arguments) => Box::pin(store::run(arguments)).await,
            Self::Queue(arguments) => Box::pin(queue::run(arguments)).await,
            Self::Webhook(arguments) => Box::pin(webhook::run(arguments)).await,
            Self::Profile(arguments) => profile::run(arguments),
            #[cfg(feature = "pdf")]
            Self::TypesetReport(arguments) => typeset::run(&arguments),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// The parser, its commands listed by group. clap lists all commands under one heading, so the list is written here.
fn command() -> clap::Command {
    let command = Cli::command();
    let mut list = String::new();
    for (heading, names) in GROUPS {
        list = format!("{list}\n{heading}:\n");
        for known in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = known.get_about().map(ToString::to_string).unwrap_or_default();
            list = format!("{list}  {:<17}{about}\n", known.get_name());
        }
    }
    command
        .help_template(format!("{{about}}\n\n{{usage-heading}} {{usage}}\n{list}\nOptions:\n{{options}}{{after-help}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_command_definition_is_valid() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_a_help_group() {
        for known in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(
                GROUPS.iter().any(|(_, names)| names.contains(&known.get_name())),
                "`{}` is in no group",
                known.get_name()
            );
        }
    }

    #[test]
    fn every_verb_has_an_example() {
        let nouns = [
            "audit",
            "keys",
            "clients",
            "accounts",
            "store",
            "plan",
            "task",
            "bucket",
            "report-schedule",
            "queue",
            "webhook",
            "subscription",
            "sync",
            "tool",
            "resource",
            "prompt",
        ];
        for noun in Cli::command().get_subcommands().filter(|command| nouns.contains(&command.get_name())) {
            for verb in noun.get_subcommands() {
                let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.starts_with("Examples:\n  "), "`{} {}` has no example", noun.get_name(), verb.get_name());
            }
        }
    }

    /// Help of a command and of all below it.
    fn helps(command: &clap::Command, found: &mut Vec<String>) {
        found.extend(command.get_after_help().map(ToString::to_string));
        command.get_subcommands().for_each(|below| helps(below, found));
    }

    #[test]
    fn every_query_in_examples_parses() {
        let mut found = Vec::new();
        helps(&Cli::command(), &mut found);
        let queries: Vec<&str> = found
            .iter()
            .flat_map(|help| help.split("--query '").skip(1))
            .filter_map(|rest| rest.split('\'').next())
            .collect();
        assert!(queries.len() > 1, "{queries:?}");
        for query in queries {
            assert!(jmespath::compile(query).is_ok(), "`--query '{query}'` in the help is no JMESPath");
        }
    }

    #[test]
    fn global_options_are_accepted_anywhere() {
        let parsed = |line: &str| Cli::try_parse_from(line.split_whitespace());
        assert!(parsed("graphgate task list --plan X -o csv --query tasks --server http://x/mcp").is_ok());
        assert!(parsed("graphgate task --server http://x/mcp list").is_ok());
        assert!(parsed("graphgate plan list --server http://x/mcp --profile p").is_err());
        assert!(parsed("graphgate task move t").is_err());
        assert!(parsed("graphgate task complete").is_err());
    }

    /// The words of a line as a shell reads them, as far as the examples use quotes; a comment ends it.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for letter in line.chars() {
            match (letter, quote) {
                (letter, Some(open)) if letter == open => quote = None,
                ('"' | '\'', None) => {
                    quote = Some(letter);
                    word.get_or_insert_default();
                }
                ('#', None) if word.is_none() => break,
                (letter, None) if letter.is_whitespace() => words.extend(word.take()),
                (letter, _) => word.get_or_insert_default().push(letter),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_line_in_the_documents_parses() {
        let mut found = 0;
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        for path in docs.chain([root.join("README.md"), root.join("CONTRIBUTING.md")]) {
            let name = path.display();
            let text = std::fs::read_to_string(&path).unwrap().replace("\\\n", " ");
            for line in text.lines().filter_map(|line| line.trim_start().strip_prefix("$ graphgate ")) {
                let line = format!("graphgate {line}");
                for words in words(&line).split(|word| word == "&&").filter(|words| words[0] == "graphgate") {
                    if let Err(error) = Cli::try_parse_from(words) {
                        panic!("{name}: `{}` is not understood: {error}", words.join(" "));
                    }
                    found += 1;
                }
            }
        }
        assert!(found > 30, "only {found} examples were found");
    }
}
