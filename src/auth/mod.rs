//! Who is calling: established at the edge, once a request, and handed down as a value.

mod caller;
mod grant;
mod key;
mod reach;

pub use caller::{Caller, Principal};
pub use grant::{Grant, Mode};
pub use key::ApiKey;
pub use reach::{Limit, Reach};
