//! What the real binary writes is readable by its owner alone, and so is what was there before.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::Deployment;
use crate::support::PLAN;
use crate::support::process::GRAPHGATE;

/// Every file and folder below a folder, with its mode.
fn modes(folder: &Path) -> Vec<(PathBuf, bool, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::metadata(&path).unwrap();
        found.push((path.clone(), data.is_dir(), data.permissions().mode() & 0o777));
        if data.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}

fn open_to_all(path: &Path) {
    let folder = path.is_dir();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(if folder { 0o755 } else { 0o644 })).unwrap();
}

/// The server, with a mask that leaves everything readable, and a log file.
fn careless(deployment: &Deployment) -> Command {
    let mut command = Command::new("bash");
    let log = deployment.folder.0.join("log/log-file");
    command.args(["-c", "umask 022; exec \"$0\" \"$@\"", GRAPHGATE]).env("LOG_FILE", log);
    command
}

#[tokio::test]
async fn stored_files_are_readable_by_their_owner_only() {
    let mut deployment = Deployment::tenant_alone("process").await;
    deployment.serve(careless(&deployment)).await;
    deployment.call("create_task", json!({"plan_id": PLAN, "title": "x"})).await.unwrap();
    deployment.call("generate_report", json!({"plans": [PLAN]})).await.unwrap();
    let check = |deployment: &Deployment| {
        let folder = &deployment.folder.0;
        let mut checked = 0;
        for name in ["data", "log"] {
            assert_eq!(std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, 0o700, "{name}");
            for (path, is_folder, mode) in modes(&folder.join(name)) {
                assert_eq!(mode, if is_folder { 0o700 } else { 0o600 }, "{}", path.display());
                checked += usize::from(!is_folder);
            }
        }
        for name in ["server-0.json", "tenant.json"] {
            assert_eq!(std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert!(checked >= 6, "database, log, shared memory, lock, report and log file, not {checked}");
    };
    check(&deployment);
    // As a former version left them.
    let folder = deployment.folder.0.clone();
    for name in ["data", "log"] {
        for (path, ..) in modes(&folder.join(name)) {
            open_to_all(&path);
        }
    }
    open_to_all(&folder.join("data"));
    deployment.serve(careless(&deployment)).await;
    deployment.call("generate_report", json!({"plans": [PLAN]})).await.unwrap();
    check(&deployment);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn crash_of_the_server_writes_no_core_file() {
    let mut deployment = Deployment::tenant_alone("process").await;
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -c unlimited 2>/dev/null; ulimit -Sn 256; exec \"$0\" \"$@\"", GRAPHGATE]);
    deployment.serve(command).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", deployment.server(0).id())).unwrap();
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{limits}"));
        let mut values = line[name.len()..].split_whitespace();
        (values.next().unwrap().to_owned(), values.next().unwrap().to_owned())
    };
    assert_eq!(limit("Max core file size"), ("0".into(), "0".into()));
    let (soft, hard) = limit("Max open files");
    assert_eq!(soft, hard, "as many sockets as the system allows");
}
