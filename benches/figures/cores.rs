//! Which processor cores a process may use, so that the load never takes time from the server it measures.
//!
//! Done by `taskset`; where there is none, or one core only, everything shares what there is and the report says so.

use std::process::{Command, Stdio};

/// The cores of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// All of them.
    All,
    /// The measured server's.
    Server,
    /// Everybody else's.
    Rest,
}

impl Cores {
    fn list(self) -> String {
        let count = count();
        match self {
            Self::All => format!("0-{}", count - 1),
            Self::Server => "0".to_owned(),
            Self::Rest => format!("1-{}", count - 1),
        }
    }
}

fn count() -> usize {
    // Not what this process is confined to at present, but what the machine has.
    let listed = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    listed.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// Whether processes can be kept apart here.
pub fn can_pin() -> bool {
    let probe = || Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    count() > 1 && probe().is_ok_and(|status| status.success())
}

/// A command that will run on these cores.
pub fn command(program: &std::path::Path, cores: Cores) -> Command {
    if !can_pin() {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.arg("-c").arg(cores.list()).arg(program);
    command
}

/// Confines this process; undone on drop.
pub struct Confined;

impl Confined {
    /// Leaves the server's core to the server.
    pub fn to_rest() -> Self {
        confine(Cores::Rest);
        Self
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        confine(Cores::All);
    }
}

fn confine(cores: Cores) {
    if can_pin() {
        let process = std::process::id().to_string();
        let mut command = Command::new("taskset");
        command.args(["-a", "-p", "-c", &cores.list(), &process]).stdout(Stdio::null()).stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("this process cannot be confined to cores {}", cores.list());
        }
    }
}
