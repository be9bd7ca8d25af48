//! Azure Blob Storage, as far as files are kept in it: one container, block blobs written and read whole.

mod client;

pub use client::{Client, Config};
