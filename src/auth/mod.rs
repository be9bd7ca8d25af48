//! Who is calling: established at the edge, once a request, and handed down as a value.
//!
//! [`Gate`] turns a request's headers into a [`Caller`]: a token of Entra ([`entra`]), the principal of App Service
//! (`easy`), a key of the deployment or of the book ([`api_keys`]), a [signature](signed), a token of our own
//! [`authorization_server`], behind which is a person's [connected account](delegated). What a caller may do is a [`Grant`], which plans it may
//! touch a [`PlanScope`]; both follow from its roles by one table ([`roles`]). What is not granted is denied.

pub mod api_keys;
pub mod authorization_server;
mod caller;
pub mod delegated;
mod easy;
pub mod entra;
pub mod gate;
mod grant;
mod key;
mod ongoing;
mod plan_scope;
mod rate;
pub mod roles;
pub mod secrets;
pub mod signed;
mod streams;

pub use api_keys::{ActsFor, ApiKeys, KeyRow, NewKey};
pub use authorization_server::AuthorizationServer;
pub use caller::{Caller, Principal, StoredCaller};
pub use gate::{Config, Denied, Gate};
pub use grant::{Grant, Mode};
pub use key::ApiKey;
pub use ongoing::{Ongoing, TRACES};
pub use plan_scope::{Limit, PlanScope};
pub use rate::Rate;
pub use roles::{Role, Roles};
pub use streams::{Stream, Streams, TooMany};
