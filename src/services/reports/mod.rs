//! Reports people read and agents use.
//!
//! [`build`](mod@build) makes the one [`model::Report`] out of facts, history and wishes, without asking anybody; [`render`] writes it in
//! six formats. Everything that asks the clock or the store is in this file and [`history`].

pub mod build;
pub mod counts;
pub mod facts;
pub mod history;
pub mod language;
pub mod model;
pub mod render;
pub mod request;
pub mod sample;
