//! The command line against the whole program: what it prints, where, and how it ends.

mod errors;
mod story;
mod sync;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use graphgate::config::Config;

use crate::support::World;

/// A world, and the program's binary to call with it.
struct Shell {
    world: World,
    config: PathBuf,
}

impl Shell {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let config = std::env::temp_dir().join(format!("graphgate-cli-{}", uuid::Uuid::new_v4()));
        Self { world: World::with(change).await, config }
    }

    fn server(&self) -> String {
        self.world.api_url().join("mcp").expect("an address").to_string()
    }

    /// Runs a command line; quoted parts are one argument. Answers exit code, stdout and stderr as one text.
    async fn run(&self, line: &str) -> String {
        self.run_with(line, "").await
    }

    /// As [`Self::run`], with text on standard input.
    async fn run_with(&self, line: &str, input: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_graphgate"));
        command.args(words(line)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
            .env("GRAPHGATE_SERVER", self.server())
            .env("XDG_CONFIG_HOME", &self.config)
            .env_remove("GRAPHGATE_API_KEY");
        let input = input.to_owned();
        let ended = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("the program starts");
            child.stdin.take().expect("a pipe").write_all(input.as_bytes()).ok();
            child.wait_with_output().expect("the program ends")
        });
        let output = ended.await.expect("the program ends");
        let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
        let text = format!("exit {}\n{out}--\n{err}", output.status.code().expect("an exit code"));
        text.replace(&self.server(), "SERVER")
    }

    /// Runs a command that must succeed and answers its stdout without the last line break.
    async fn ok(&self, line: &str) -> String {
        let text = self.run(line).await;
        // A table has lines that end in dashes.
        let parted = |text: &str| text.find("\n--\n").or_else(|| text.find("--\n"));
        let out = text.strip_prefix("exit 0\n").and_then(|text| Some(text[..parted(text)?].trim_end().to_owned()));
        out.unwrap_or_else(|| panic!("`{line}`: {text}"))
    }

    /// Creates a task and answers its id.
    async fn task(&self, title: &str) -> String {
        let line = format!("task create --plan 'Website relaunch' --bucket Ideas --title '{title}' --query id");
        self.ok(&line).await.trim_matches('"').to_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.config).ok();
    }
}

/// Splits at spaces outside of single quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let mut words = vec![String::new()];
    for (place, part) in parts {
        let quoted = place % 2 == 1;
        for (number, piece) in part.split(if quoted { '\u{0}' } else { ' ' }).enumerate() {
            if number > 0 {
                words.push(String::new());
            }
            words.last_mut().expect("at least one").push_str(piece);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
