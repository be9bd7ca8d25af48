//! Child processes: started with an environment of their own, ready when their ready file is there, killed on drop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cores::{self, Cores};

/// The program that is measured.
pub const GRAPHGATE: &str = env!("CARGO_BIN_EXE_graphgate");
const START_LIMIT: Duration = Duration::from_secs(30);

/// A folder that is removed on drop.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes an empty folder.
    pub fn new() -> anyhow::Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("graphgate-figures-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("`{}` cannot be made", path.display()))?;
        Ok(Self(path))
    }

    /// A path in the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running child; its log, data and ready file are in a folder of its own.
pub struct Process {
    child: Child,
    folder: Folder,
    /// What the ready file says.
    pub ready: Value,
}

impl Process {
    /// Starts a program without waiting for anything. `{folder}` in arguments and variables is its own folder.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
        cores: Cores,
    ) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let own = |text: &str| text.replace("{folder}", &folder.0.display().to_string());
        let log = File::create(folder.join("log"))?;
        let mut command = cores::command(program, cores);
        // `taskset` is found by the search path; nothing else of our environment shall change what is measured.
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
        command.args(arguments.iter().map(|argument| own(argument)));
        command.envs(variables.iter().map(|(name, value)| (*name, own(value))));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("`{}` cannot be started", program.display()))?;
        Ok(Self { child, folder, ready: Value::Null })
    }

    /// Starts a program and waits for its ready file, which `--ready-file` has it write.
    pub fn ready(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
        cores: Cores,
    ) -> anyhow::Result<Self> {
        let arguments = [arguments, &["--ready-file", "{folder}/ready.json"]].concat();
        let mut process = Self::start(program, &arguments, variables, cores)?;
        let started = Instant::now();
        loop {
            if let Ok(text) = std::fs::read(process.folder.join("ready.json")) {
                process.ready = serde_json::from_slice(&text)?;
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                bail!("`{}` ended with {status}:\n{}", arguments.join(" "), process.log());
            }
            if started.elapsed() > START_LIMIT {
                bail!("`{}` is not ready after {START_LIMIT:?}:\n{}", arguments.join(" "), process.log());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A path in the process's own folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What the process said last.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// A text of the ready file.
    pub fn said(&self, name: &str) -> anyhow::Result<String> {
        let text = self.ready.get(name).and_then(Value::as_str).map(str::to_owned);
        text.with_context(|| format!("the ready file has no `{name}`: {}", self.ready))
    }

    /// Resident memory in MB (of 1,000,000 bytes).
    pub fn resident(&self) -> anyhow::Result<f64> {
        self.memory("VmRSS:")
    }

    /// The most memory resident since [`Process::forget_peak`], in MB.
    pub fn peak(&self) -> anyhow::Result<f64> {
        self.memory("VmHWM:")
    }

    /// Starts the measurement of the peak again.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").context("the peak cannot be reset")
    }

    /// Time its threads have had a core, in microseconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = text.rsplit_once(')').context("no process name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |place: usize| -> anyhow::Result<f64> { Ok(fields.get(place).context("a short line")?.parse()?) };
        // In hundredths of a second on every Linux (proc_pid_stat(5), fields 14 and 15).
        Ok((ticks(11)? + ticks(12)?) * 10_000.0)
    }

    /// Bytes it has had written to disk.
    pub fn written(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("writes are not told")?;
        Ok(line.parse()?)
    }

    fn memory(&self, name: &str) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("memory is not told")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1_024.0 / 1_000_000.0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
