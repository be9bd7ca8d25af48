//! Microsoft Graph v1.0 as it is: a thin typed client.
//!
//! One file per area mirrors Microsoft's reference; wire types stay between this module and the services. Every call
//! says *as whom*, for whom it takes time, and until when ([`Call`]). What a call means, when to merge and what to
//! tell people is decided elsewhere; repeating and pacing happen below, in `http_client`.

mod batch;
pub mod buckets;
mod call;
mod category;
mod client;
mod error;
pub mod groups;
mod identity;
mod identity_set;
pub mod mail;
mod page;
pub mod plans;
mod reference;
mod request;
pub mod subscriptions;
mod task_batch;
mod task_details;
mod task_patch;
pub mod tasks;
pub mod users;

pub use batch::Progress;
pub use call::Call;
pub use category::Category;
pub use client::{Access, Client};
pub use error::{Error, ErrorKind, Sent};
pub use identity::{Identity, Person};
pub use identity_set::Identities;
pub use reference::{decode_reference_key, encode_reference_key};
