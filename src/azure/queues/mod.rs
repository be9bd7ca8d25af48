//! Azure Storage Queues: a client for one queue, over the program's own HTTP client.
//!
//! Why not the official crate is said in [`super::storage`]. A message is sent once: after a lost answer it
//! may or may not be there, and the caller decides. Its text is JSON, never base64; a control character, which the
//! service would swallow together with the message, cannot occur in it.

mod client;
mod config;

pub use client::{Client, Metadata, Received};
pub use config::{Config, is_queue_name};
