//! Who is calling: established at the edge, once a request, and handed down as a value.
//!
//! [`Gate`] turns a request's headers into a [`Caller`]: a token of Entra ([`entra`]), the principal of App Service
//! (`easy`), a key of the deployment or of the book ([`keybook`]). What a caller may do is a [`Grant`], which plans it may
//! touch a [`Reach`]; both follow from its roles by one table ([`roles`]). What is not granted is denied.

mod caller;
mod easy;
pub mod entra;
mod gate;
mod grant;
mod key;
pub mod keybook;
mod ongoing;
mod rate;
mod reach;
pub mod roles;
mod streams;

pub use caller::{Caller, Principal, StoredCaller};
pub use gate::{Config, Denied, Gate};
pub use grant::{Grant, Mode};
pub use key::ApiKey;
pub use keybook::{KeyRow, Keybook};
pub use ongoing::{Ongoing, TRACES};
pub use rate::Rate;
pub use reach::{Limit, Reach};
pub use roles::{Role, Roles};
pub use streams::{Stream, Streams, TooMany};
