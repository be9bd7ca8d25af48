//! Where rows and queues are kept.

use std::path::PathBuf;

use super::{Reader, default_of};
use crate::azure::{Secret, blobs, queues, tables};
use crate::runtime::check_address;
use crate::store;

/// A storage account takes the place of the folder.
pub(super) fn store(reader: &mut Reader<'_>) -> store::Config {
    let table = reader.text("TABLE_NAME").unwrap_or_else(|| default_of("TABLE_NAME").to_owned());
    let endpoint = |text: &str| tables::Config::from_endpoint(text, &table);
    let connection = |text: &str| tables::Config::from_connection_string(text, &table);
    let account = (reader.text("AZURE_TABLES_ENDPOINT").map(|text| endpoint(&text)))
        .or_else(|| reader.text("AzureWebJobsStorage__tableServiceUri").map(|text| endpoint(&text)))
        .or_else(|| reader.text("AzureWebJobsStorage").map(|text| connection(&text)));
    match account {
        Some(Ok(account)) => return store::Config::Azure(account),
        Some(Err(error)) => reader.problems.push(format!(
            "`AZURE_TABLES_ENDPOINT` (or `AzureWebJobsStorage`, which takes its place) or `TABLE_NAME` cannot be used: {error}"
        )),
        None => {}
    }
    match reader.text("DATA_DIR").as_deref() {
        Some(":memory:") => store::Config::Memory,
        folder => store::Config::Folder(PathBuf::from(folder.unwrap_or("./graphgate-data"))),
    }
}

/// Where instances tell each other of changes. What is wrong with the address is said without its password.
pub(super) fn redis(reader: &mut Reader<'_>) -> Option<Secret> {
    let address = reader.text("REDIS_URL")?;
    if let Err(error) = check_address(&address) {
        reader.problems.push(format!("`REDIS_URL` cannot be used: {error}"));
    }
    Some(Secret::new(&address))
}

/// A queue service takes the place of rows.
pub(super) fn queues(reader: &mut Reader<'_>) -> store::QueueConfig {
    let account = (reader.text("AZURE_QUEUES_ENDPOINT").map(|text| queues::Config::from_endpoint(&text)))
        .or_else(|| {
            reader.text("AzureWebJobsStorage__queueServiceUri").map(|text| queues::Config::from_endpoint(&text))
        })
        .or_else(|| reader.text("AzureWebJobsStorage").map(|text| queues::Config::from_connection_string(&text)));
    match account {
        Some(Ok(account)) => store::QueueConfig::Azure(account),
        Some(Err(error)) => {
            reader.problems.push(format!(
                "`AZURE_QUEUES_ENDPOINT` (or `AzureWebJobsStorage`, which takes its place) cannot be used: {error}"
            ));
            store::QueueConfig::Rows
        }
        None => store::QueueConfig::Rows,
    }
}

/// Where files are kept: in the storage account that is named, else beside the rows of this machine.
pub(super) fn files(reader: &mut Reader<'_>, rows: &store::Config) -> store::BlobConfig {
    let container = reader.text("BLOB_CONTAINER").unwrap_or_else(|| default_of("BLOB_CONTAINER").to_owned());
    let endpoint = |text: &str| blobs::Config::from_endpoint(text, &container);
    let account = (reader.text("AZURE_BLOBS_ENDPOINT").map(|text| endpoint(&text)))
        .or_else(|| reader.text("AzureWebJobsStorage__blobServiceUri").map(|text| endpoint(&text)))
        .or_else(|| {
            reader.text("AzureWebJobsStorage").map(|text| blobs::Config::from_connection_string(&text, &container))
        });
    match (account, rows) {
        (Some(Ok(account)), _) => return store::BlobConfig::Azure(account),
        (Some(Err(error)), _) => reader.problems.push(format!(
            "`AZURE_BLOBS_ENDPOINT` (or `AzureWebJobsStorage`, which takes its place) or `BLOB_CONTAINER` cannot be used: {error}"
        )),
        (None, store::Config::Folder(folder)) => return store::BlobConfig::Folder(folder.join("files")),
        // With tables alone files have no home: reports are made again when the process restarts.
        (None, store::Config::Azure(_) | store::Config::Memory) => {}
    }
    store::BlobConfig::Memory
}
