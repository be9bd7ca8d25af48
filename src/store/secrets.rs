//! Secrets by name: in Azure Key Vault, or as files of a folder, the way containers get them.
//!
//! [`Cached`] is in front of either: one lookup at a time for each name, an answer used for some minutes, and, while
//! the vault does not answer, the last one for a day.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use url::Url;

use crate::azure::{Secret, Vault, VaultError};
use crate::clock::Clock;
use crate::os;

/// How long an answer is believed.
const LIFE: TimeDelta = TimeDelta::minutes(5);
/// How long it holds while the vault does not answer.
const LAST_RESORT: TimeDelta = TimeDelta::hours(24);
/// How long a failure answers later callers.
const FAILURE_LIFE: TimeDelta = TimeDelta::seconds(5);

/// Where secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// In an Azure Key Vault.
    Vault(Url),
    /// In a folder: a file for each.
    Folder(PathBuf),
}

/// Why a secret cannot be had or kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SecretError {
    /// The vault did not do what it was asked.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A file did not.
    #[error("the secret `{name}` in the folder of secrets: {reason}")]
    File {
        /// The secret's name.
        name: String,
        /// The system's own words.
        reason: String,
    },
    /// The name is none a secret can have.
    #[error("`{0}` cannot be the name of a secret: letters, digits and `-` only")]
    Name(String),
}

/// A place that keeps secrets.
#[async_trait]
pub trait Secrets: Send + Sync + 'static {
    /// Reads a secret; `None` when there is none of that name.
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError>;

    /// Keeps a secret, over a former one.
    async fn set(&self, name: &str, value: &Secret) -> Result<(), SecretError>;
}

#[async_trait]
impl Secrets for Vault {
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        check_name(name)?;
        Ok(Self::get(self, name).await?)
    }

    async fn set(&self, name: &str, value: &Secret) -> Result<(), SecretError> {
        check_name(name)?;
        Ok(Self::set(self, name, value).await?)
    }
}

/// Secrets as files of a folder.
pub struct FolderSecrets(pub PathBuf);

#[async_trait]
impl Secrets for FolderSecrets {
    async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        check_name(name)?;
        match tokio::fs::read_to_string(self.0.join(name)).await {
            // Editors and `echo` end files with a line break nobody meant.
            Ok(text) => Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n'])))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SecretError::File { name: name.to_owned(), reason: error.to_string() }),
        }
    }

    async fn set(&self, name: &str, value: &Secret) -> Result<(), SecretError> {
        check_name(name)?;
        let (folder, name, value) = (self.0.clone(), name.to_owned(), value.clone());
        let write = move || {
            use std::io::Write as _;
            os::create_private_folder(&folder)?;
            let draft = folder.join(format!(".{name}.part"));
            let mut file = os::private_file().truncate(true).open(&draft)?;
            file.write_all(value.expose().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&draft, folder.join(&name)).map_err(|error| (name, error).1)
        };
        let failed = |reason: String| SecretError::File { name: "…".to_owned(), reason };
        match tokio::task::spawn_blocking(write).await {
            Ok(done) => done.map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Key Vault's own rule, which also keeps a name from leading out of a folder.
fn check_name(name: &str) -> Result<(), SecretError> {
    let fits = (1..=127).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits { Ok(()) } else { Err(SecretError::Name(name.chars().take(64).collect())) }
}

/// What is known of one secret.
#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    answer: Option<(Option<Secret>, DateTime<Utc>)>,
    failure: Option<(SecretError, DateTime<Utc>)>,
}

/// Secrets, remembered.
pub struct Cached {
    place: Arc<dyn Secrets>,
    clock: Clock,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

impl Cached {
    /// Remembers what a place answers.
    #[must_use]
    pub fn new(place: Arc<dyn Secrets>, clock: Clock) -> Self {
        Self { place, clock, slots: Mutex::default() }
    }

    /// Reads a secret, from memory while the answer is young.
    ///
    /// # Errors
    /// When the place does not answer and has not answered for a day.
    pub async fn get(&self, name: &str) -> Result<Option<Secret>, SecretError> {
        let slot = self.slots.lock().entry(name.to_owned()).or_default().clone();
        let lock = || slot.known.lock();
        let now = self.clock.steady();
        let within = |life| lock().answer.as_ref().filter(|(_, at)| now - *at < life).map(|(secret, _)| secret.clone());
        if let Some(secret) = within(LIFE) {
            return Ok(secret);
        }
        let _one_at_a_time = slot.asking.lock().await;
        if let Some(secret) = within(LIFE) {
            return Ok(secret);
        }
        let failed_lately = lock().failure.clone().filter(|(_, at)| now - *at < FAILURE_LIFE);
        let outcome = match failed_lately {
            Some((error, _)) => Err(error),
            None => self.place.get(name).await,
        };
        match outcome {
            Ok(secret) => {
                *lock() = Known { answer: Some((secret.clone(), self.clock.steady())), failure: None };
                Ok(secret)
            }
            Err(error) => {
                lock().failure.get_or_insert_with(|| (error.clone(), self.clock.steady()));
                within(LAST_RESORT).ok_or(error)
            }
        }
    }
}
