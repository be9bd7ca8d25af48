//! Files in memory and in a folder.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::blobs::{Blobs, check_name};
use crate::os;
use crate::rows::StoreError;

/// Files that are gone when the process ends.
#[derive(Default)]
pub struct MemoryBlobs(RwLock<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put(&self, name: &str, content: Vec<u8>, _media_type: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.0.write().insert(name.to_owned(), content);
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(name)?;
        Ok(self.0.read().get(name).cloned())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.0.write().remove(name);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let files = self.0.read();
        Ok(files
            .range(prefix.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, _)| name.clone())
            .collect())
    }
}

/// Files in a folder of this machine. A file appears whole or not at all: it is written beside its place and moved there.
pub struct FolderBlobs {
    folder: PathBuf,
}

impl FolderBlobs {
    /// Keeps files below `folder`, which is made when the first one is written. What is there already is taken from
    /// everybody but its owner.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        if let Err(error) = os::make_tree_private(&folder) {
            tracing::warn!(path = %folder.display(), %error, "other users of this machine may read reports");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        Ok(self.folder.join(name))
    }
}

fn failed(error: &std::io::Error) -> StoreError {
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull => {
            StoreError::ReadOnly { reason }
        }
        _ => StoreError::Unavailable { reason },
    }
}

#[async_trait]
impl Blobs for FolderBlobs {
    async fn put(&self, name: &str, content: Vec<u8>, _media_type: &str) -> Result<(), StoreError> {
        let path = self.path(name)?;
        // No name begins with a dot, so nobody reads the half of it.
        let beside = path.with_file_name(format!(".{}.part", path.file_name().unwrap_or_default().display()));
        let write = move || {
            path.parent().map_or(Ok(()), os::create_private_folder)?;
            os::write_private(&beside, &content)?;
            std::fs::rename(&beside, &path)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(written) => written.map_err(|error| failed(&error)),
            Err(error) => Err(StoreError::Unavailable { reason: error.to_string() }),
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match tokio::fs::read(self.path(name)?).await {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match tokio::fs::remove_file(self.path(name)?).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut names = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let mut entries = match tokio::fs::read_dir(&folder).await {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&error)),
            };
            while let Some(entry) = entries.next_entry().await.map_err(|error| failed(&error))? {
                let path = entry.path();
                if entry.file_type().await.map_err(|error| failed(&error))?.is_dir() {
                    folders.push(path);
                } else {
                    names.extend(name_of(&self.folder, &path).filter(|name| name.starts_with(prefix)));
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

/// The name of a file; `None` for one that is not ours.
fn name_of(folder: &Path, path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path.strip_prefix(folder).ok()?.iter().map(std::ffi::OsStr::to_str).collect();
    parts.map(|parts| parts.join("/")).filter(|name| check_name(name).is_ok())
}
