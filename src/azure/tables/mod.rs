//! Azure Table Storage: a client for the one table the program keeps its rows in.
//!
//! There is no official crate for tables. This one speaks the REST interface through the program's own HTTP client:
//! create the table, read rows in key order, commit an entity-group transaction. It repeats no write: the caller that commits
//! (`store::azure`) decides by the operation id every row carries. Reads by key go as a filter on both keys, which the
//! service answers as a point query; so no key of a row is in a path that is logged.

mod batch;
mod client;
mod config;
mod entity;

pub use client::{Client, Span};
pub use config::Config;
pub use entity::Entity;

pub use super::storage::{Code, ConfigError, Connector, Error};
