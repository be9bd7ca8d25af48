//! What is asked of the operating system: files that nobody else reads, no core dumps, as many sockets as are allowed.
//!
//! What a deployment keeps holds the tenant's tasks and the keyring that signs download links. So each file is readable
//! and writable by its owner alone (0600) and each folder is its owner's (0700), on systems that know such modes.

use std::io;
use std::path::Path;

/// What a group and everybody else may do with a file.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// Prepares a process that serves: what it creates is private, a crash leaves no dump of its memory, and it may open as
/// many files and sockets as the system allows it. Returns what could not be had, in words.
#[must_use]
pub fn prepare() -> Vec<String> {
    #[cfg(unix)]
    {
        use rustix::fs::Mode;
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

        let mut missing = Vec::new();
        umask(Mode::RWXG | Mode::RWXO);
        if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
            missing.push(format!("core dumps cannot be turned off, so a crash may leave keys in a file: {error}"));
        }
        let files = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: files.maximum, maximum: files.maximum };
        if files.current != files.maximum
            && let Err(error) = setrlimit(Resource::Nofile, raised)
        {
            missing.push(format!("the number of open files and sockets cannot be raised: {error}"));
        }
        missing
    }
    #[cfg(not(unix))]
    Vec::new()
}

/// How many files and sockets the process may have open; `None` where there is no limit or it is unknown.
#[must_use]
pub fn most_files() -> Option<usize> {
    #[cfg(unix)]
    {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        limit.and_then(|limit| usize::try_from(limit).ok())
    }
    #[cfg(not(unix))]
    None
}

/// Options that create a file for its owner alone.
#[must_use]
pub fn private_file() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a folder, and those above it that are missing, for their owner alone.
///
/// # Errors
/// When one cannot be created.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes a file whole, for its owner alone. One that is there keeps its place and loses everybody else.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(file: &Path, content: &[u8]) -> io::Result<()> {
    use io::Write as _;

    let mut handle = private_file().truncate(true).open(file)?;
    make_private(file)?;
    handle.write_all(content)
}

/// Takes from everybody but the owner what is in a folder, and the folder last: one that is private has been done, and is
/// not gone through again. A folder that is missing is none of these.
///
/// # Errors
/// When something in it belongs to another user, or cannot be read.
pub fn make_tree_private(folder: &Path) -> io::Result<()> {
    if !folder.exists() || is_private(folder)? {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            make_tree_private(&entry.path())?;
        } else if kind.is_file() {
            make_private(&entry.path())?;
        }
    }
    make_private(folder)
}

/// Takes a file or folder from everybody but its owner. A folder that all users share by design, such as `/tmp`, stays as
/// it is.
///
/// # Errors
/// When it belongs to another user.
pub fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        const STICKY: u32 = 0o1000;
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & OTHERS != 0 && mode & STICKY == 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7700))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn is_private(path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        Ok(std::fs::metadata(path)?.permissions().mode() & OTHERS == 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        Ok(true)
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("graphgate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn files_and_folders_are_created_with_owner_only_permissions() {
        let folder = folder("created");
        create_private_folder(&folder.join("a/b")).unwrap();
        let file = folder.join("a/b/c");
        write_private(&file, b"one").unwrap();
        assert_eq!([mode(&folder), mode(&folder.join("a")), mode(&file)], [0o700, 0o700, 0o600]);
        set(&file, 0o644);
        write_private(&file, b"2").unwrap();
        assert_eq!((mode(&file), std::fs::read(&file).unwrap()), (0o600, b"2".to_vec()));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn readable_folder_is_made_private_recursively() {
        let folder = folder("tightened");
        std::fs::create_dir_all(folder.join("files/reports")).unwrap();
        let file = folder.join("files/reports/x.json");
        std::fs::write(&file, "x").unwrap();
        let program = folder.join("program");
        std::fs::write(&program, "x").unwrap();
        set(&file, 0o664);
        set(&program, 0o755);
        for path in [folder.clone(), folder.join("files"), folder.join("files/reports")] {
            set(&path, 0o755);
        }
        make_tree_private(&folder).unwrap();
        let found =
            [&folder, &folder.join("files"), &folder.join("files/reports"), &file, &program].map(|path| mode(path));
        assert_eq!(found, [0o700, 0o700, 0o700, 0o600, 0o700]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn shared_sticky_folder_is_left_shared() {
        let folder = folder("shared");
        std::fs::create_dir_all(&folder).unwrap();
        set(&folder, 0o1777);
        make_private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o1777);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
