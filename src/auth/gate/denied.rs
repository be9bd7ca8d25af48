//! Why a caller is refused.

use std::time::Duration;

use crate::auth::api_keys::KeyError;
use crate::auth::authorization_server::authorizations::Closed;

/// Why a caller is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    /// Nothing was presented.
    #[error("nothing says who calls")]
    Missing,
    /// What was presented does not hold. The text says why and never repeats it.
    #[error("{0}")]
    Refused(String),
    /// It would hold, had its time not passed.
    #[error("{0}")]
    Expired(String),
    /// It holds, but Entra asks the person for more (a claims challenge, as JSON) before it lets anybody act for them.
    #[error("Microsoft asks for more than the token shows, as a second factor or a fresh sign-in")]
    Challenged(String),
    /// It holds, but grants nothing here.
    #[error("no role of the caller grants anything here")]
    Powerless,
    /// Too many calls.
    #[error("too many calls")]
    Throttled(Duration),
    /// An operator has paused the client. Nothing is lost.
    #[error("an operator has paused the client; nothing is lost, repeat the call later")]
    Paused,
    /// It cannot be checked before this has passed.
    #[error("the key the token is signed with is not known yet")]
    NotYet(Duration),
    /// It cannot be checked at present.
    #[error("{0}")]
    Unavailable(String),
}

/// One text for every cause: what is wrong with a signature is nobody's to find out by trying.
pub(super) fn not_signed() -> Denied {
    Denied::Refused("the signature is not accepted".to_owned())
}

/// Why a key opens nothing, for its caller.
pub(super) fn no_key(error: &KeyError) -> Denied {
    match error {
        KeyError::Refused => Denied::Refused(error.to_string()),
        KeyError::Expired => Denied::Expired(error.to_string()),
        KeyError::TooMany(wait) => Denied::Throttled(*wait),
        KeyError::Store(_) | KeyError::Keyring(_) => Denied::Unavailable("the keys cannot be read".to_owned()),
    }
}

/// Why a token of our own opens nothing, for its caller.
pub(super) fn closed(why: &Closed) -> Denied {
    match why {
        Closed::Refused(_) => Denied::Refused(why.to_string()),
        Closed::Expired => Denied::Expired(why.to_string()),
        Closed::Paused => Denied::Paused,
        Closed::Store(_) => Denied::Unavailable("what people let clients do cannot be read".to_owned()),
    }
}
