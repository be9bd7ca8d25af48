//! What goes to stdout: the answer in the format asked for, after the query, and nothing else.
//!
//! JSON is the tool's answer, with its text shown as a person would see it. The other formats need rows and columns, which `shape` finds in the answer;
//! what does not fit in a table (there is more, a note of the server) goes to stderr. A closed pipe ends the output
//! quietly, because `graphgate … | head` is no failure.

mod cell;
mod csv;
mod markdown;
mod shape;
mod table;
mod width;

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use serde_json::Value;

/// Text in one line, harmless on a terminal: no title can move the cursor or forge the lines around it.
pub use crate::text::line as plain;

use super::failure::Failure;
use crate::text::{self, shown};
use shape::Shape;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// The answer as the server gave it
    Json,
    /// Rows for a spreadsheet
    Csv,
    /// A Markdown table
    Md,
    /// Nothing
    None,
}

/// Options that decide what is printed.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Format of the answer; `table` on a terminal, `json` otherwise
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    #[arg(help = "JMESPath applied to the JSON before printing, such as tasks[].title")]
    #[arg(long, global = true, value_name = "JMESPATH")]
    query: Option<String>,
}

/// Whether anybody still reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It did.
    Yes,
    /// The other end of the pipe is closed.
    NobodyReads,
}

/// Prints answers.
pub struct Output {
    format: Format,
    query: Option<jmespath::Expression<'static>>,
    /// Characters a line may have; unlimited unless stdout is a terminal.
    width: Option<usize>,
}

impl Output {
    /// Reads the options and compiles the query.
    ///
    /// # Errors
    /// When the query is no `JMESPath`.
    pub fn new(options: &OutputOptions) -> Result<Self, Failure> {
        let terminal = std::io::stdout().is_terminal();
        let format = options.output.unwrap_or(if terminal { Format::Table } else { Format::Json });
        let compile = |text: &str| {
            let wrong = |error: jmespath::JmespathError| {
                Failure::invalid(format!("`--query` is no JMESPath: {}", error.reason))
            };
            jmespath::compile(text).map_err(|error| wrong(error).hint("see https://jmespath.org/tutorial.html"))
        };
        let query = options.query.as_deref().map(compile).transpose()?;
        let width = (terminal && format == Format::Table).then(width::of_terminal).flatten();
        Ok(Self { format, query, width })
    }

    /// Whether the tool should answer with objects: for JSON, and for a query, which names their members.
    #[must_use]
    pub fn wants_objects(&self) -> bool {
        self.query.is_some() || matches!(self.format, Format::Json | Format::None)
    }

    /// Prints an answer.
    ///
    /// # Errors
    /// When the query does not fit the answer, or stdout cannot be written.
    pub fn print(&self, answer: &Value) -> anyhow::Result<()> {
        self.print_list(answer, &[])
    }

    /// Prints an answer; as a table, only these members of each item. A member is a path such as `annotations.title`.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn print_list(&self, answer: &Value, members: &[&str]) -> anyhow::Result<()> {
        let Some(query) = &self.query else {
            let mut answer = answer.clone();
            text::disarm(&mut answer);
            return self.write(&answer, members);
        };
        let found = query
            .search(answer)
            .map_err(|error| Failure::invalid(format!("`--query` does not fit the answer: {}", error.reason)))?;
        let mut found = serde_json::to_value(&*found)?;
        text::disarm(&mut found);
        self.write(&found, &[])
    }

    fn write(&self, answer: &Value, members: &[&str]) -> anyhow::Result<()> {
        write(&self.render(answer, members)?)?;
        if !matches!(self.format, Format::Json | Format::None) {
            for remark in shape::remarks(answer) {
                note(&remark);
            }
        }
        Ok(())
    }

    /// Prints text that is an answer by itself, unless nothing is to be printed.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn print_text(&self, text: &str) -> anyhow::Result<()> {
        match self.format {
            Format::None => Ok(()),
            _ => Ok(write(format!("{}\n", shown(text).trim_end()).as_bytes()).map(drop)?),
        }
    }

    /// Prints one line of a stream: `words` for people, JSON otherwise, after the query.
    ///
    /// # Errors
    /// When the query does not fit, or stdout cannot be written.
    pub fn print_line(&self, item: &Value, words: &str) -> Result<Written, Failure> {
        let line = match (&self.query, self.format) {
            (_, Format::None) => return Ok(Written::Yes),
            (None, Format::Table | Format::Md) => plain(words),
            (None, _) => {
                let mut item = item.clone();
                text::disarm(&mut item);
                item.to_string()
            }
            (Some(query), _) => {
                let wrong = |error| Failure::invalid(format!("`--query` does not fit an event: {error}"));
                let found = query.search(item).map_err(|error| wrong(error.reason.to_string()))?;
                let mut found = serde_json::to_value(&*found).map_err(|error| wrong(error.to_string()))?;
                text::disarm(&mut found);
                found.to_string()
            }
        };
        write(format!("{line}\n").as_bytes())
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn write_bytes(&self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.format != Format::None {
            write(bytes)?;
        }
        Ok(())
    }

    fn render(&self, answer: &Value, members: &[&str]) -> anyhow::Result<Vec<u8>> {
        let shape = || Shape::of(answer, members);
        let text = match self.format {
            Format::None => String::new(),
            Format::Json => serde_json::to_string_pretty(answer)? + "\n",
            Format::Csv => csv::render(&shape())?,
            Format::Md => markdown::render(&shape()),
            Format::Table => table::render(&shape(), self.width),
        };
        Ok(text.into_bytes())
    }
}

/// Tells the user something beside the answer.
pub fn note(text: &str) {
    // Nobody is left to tell when stderr itself is gone.
    let _ = writeln!(std::io::stderr().lock(), "note: {}", plain(text));
}

fn write(bytes: &[u8]) -> Result<Written, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write the answer: {error}")))
        }
        Err(_) => Ok(Written::NobodyReads),
        Ok(()) => Ok(Written::Yes),
    }
}
