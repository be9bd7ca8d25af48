//! The shape of what is too large for a row: named files, written and read whole.
//!
//! As with [`crate::rows`], those who write files and the backends that keep them meet here. A name is lower-case
//! letters, digits, `-`, `_`, `.` and `/`; what is in it is known only to its writer.

use async_trait::async_trait;

use crate::rows::StoreError;

/// Longest name, in characters (Learn: naming and referencing containers, blobs and metadata).
pub const MAX_NAME: usize = 512;

/// A backend that keeps files.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Writes a file whole, over a file of the same name.
    async fn put(&self, name: &str, content: Vec<u8>, media_type: &str) -> Result<(), StoreError>;

    /// Reads a file whole; `None` when there is none of that name.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Deletes a file; one that is gone already counts as deleted.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// The names that begin with `prefix`, in order.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
}

/// Refuses a name that some backend would not take, or would take for a way out of its folder.
///
/// # Errors
/// [`StoreError::InvalidKey`] when it is one.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_./".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    if name.len() <= MAX_NAME && name.bytes().all(plain) && name.split('/').all(part) {
        return Ok(());
    }
    Err(StoreError::InvalidKey { key: name.chars().take(64).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_names_cannot_leave_their_folder() {
        for name in ["", "/etc", "a/../b", "..", "a//b", "a/", ".hidden", "a\\b", "A", "a b", "a?b", "ä"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("reports/8f2c6a10/01hq3v-x.json").is_ok());
    }
}
