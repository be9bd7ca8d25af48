//! The REST interface, spoken to over HTTP: every route, every kind of problem, who is let in.

mod access;
mod events;
mod gone;
mod graph_webhook;
mod openapi;
mod operation;
mod problems;
pub mod sync;
mod tasks;
mod tools;
mod triggers;
