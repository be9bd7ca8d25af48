//! Reports people read and agents use.
//!
//! [`build`](mod@build) makes the one [`model::Report`] out of facts, history and what is asked for, without asking anybody;
//! [`render`] writes it in six formats. What asks the clock or the store is in [`service`], [`schedule`], [`history`] and [`archive`]; [`delivery`] takes
//! reports to people.

pub mod archive;
pub mod build;
pub mod counts;
pub mod delivery;
pub mod download;
pub mod history;
pub mod language;
pub mod model;
pub mod render;
pub mod request;
pub mod sample;
pub mod schedule;
pub mod service;

pub use archive::ReportItem;
pub use request::{Format, ReportRequest};
pub use service::{File, Keep, ReportList, ReportReceipt, Reports, Settings};
