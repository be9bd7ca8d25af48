//! The real binary as a process of its own, and a folder for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The program.
pub const GRAPHGATE: &str = env!("CARGO_BIN_EXE_graphgate");

/// A folder of a test, gone at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("graphgate-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running `graphgate`; killed when dropped, as by `kill -9`.
pub struct Process {
    child: Child,
    ready: Value,
}

impl Process {
    pub async fn start(command: Command, ready_file: &Path) -> Self {
        Self::try_start(command, ready_file).await.expect("the program lives until it is ready")
    }

    /// As [`Self::start`]; `None` if the program ends before it is ready.
    pub async fn try_start(mut command: Command, ready_file: &Path) -> Option<Self> {
        let _ = std::fs::remove_file(ready_file);
        let mut child = command.arg("--ready-file").arg(ready_file).stdout(Stdio::null()).spawn().unwrap();
        for _ in 0..1000 {
            if let Ok(text) = std::fs::read_to_string(ready_file) {
                return Some(Self { child, ready: serde_json::from_str(&text).unwrap() });
            }
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the program is not ready after ten seconds");
    }

    /// Memory that is resident, in KiB.
    #[cfg(target_os = "linux")]
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {}", self.ready))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the tenant has of every task, by title: the progress of each copy.
pub type Tasks = BTreeMap<String, Vec<u64>>;

/// Every object with a `planId` and a `title` is a task.
pub fn tasks_in(snapshot: &Value) -> Tasks {
    fn collect(value: &Value, found: &mut Tasks) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(object) => {
                if let (Some(Value::String(title)), true) = (object.get("title"), object.contains_key("planId")) {
                    let progress = object.get("percentComplete").and_then(Value::as_u64).unwrap_or(0);
                    found.entry(title.clone()).or_default().push(progress);
                }
                object.values().for_each(|inner| collect(inner, found));
            }
            _ => {}
        }
    }
    let mut found = Tasks::new();
    collect(snapshot, &mut found);
    found
}
