//! Files in Azure Blob Storage.

use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::azure::blobs::{Client, Config};
use crate::azure::storage::{Code, Connector, Error};
use crate::blobs::{Blobs, check_name};
use crate::rows::StoreError;

/// A container of a storage account, created when it is first needed: not every deployment makes files.
#[derive(Debug)]
pub struct AzureBlobs {
    client: Client,
    ready: OnceCell<()>,
}

impl AzureBlobs {
    /// Keeps files in the configured container; nothing is sent yet.
    #[must_use]
    pub fn new(config: Config, connector: Connector) -> Self {
        Self { client: Client::new(config, connector), ready: OnceCell::new() }
    }

    async fn client(&self) -> Result<&Client, StoreError> {
        self.ready.get_or_try_init(|| self.client.ensure()).await.map_err(|error| failure(&error))?;
        Ok(&self.client)
    }
}

fn failure(error: &Error) -> StoreError {
    let reason = match (error, error.code()) {
        (_, Code::Unauthorized | Code::Forbidden) => format!(
            "{error} (the identity needs the role `Storage Blob Data Contributor`, a SAS the rights `rwdlac` on blobs)"
        ),
        (Error::TooLarge { bytes }, _) => return StoreError::TooLarge { rows: 1, bytes: *bytes },
        _ => error.to_string(),
    };
    StoreError::Unavailable { reason: format!("Azure Blob Storage: {reason}") }
}

#[async_trait]
impl Blobs for AzureBlobs {
    async fn put(&self, name: &str, content: Vec<u8>, media_type: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.client().await?.put(name, content, media_type).await.map_err(|error| failure(&error))
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check_name(name)?;
        let found = self.client().await?.get(name).await.map_err(|error| failure(&error))?;
        Ok(found.map(|content| content.to_vec()))
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.client().await?.delete(name).await.map_err(|error| failure(&error))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.client().await?.list(prefix).await.map_err(|error| failure(&error))
    }
}
