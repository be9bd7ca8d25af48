//! Why no connection to a server came about, in words a person can act on.

use std::error::Error as StdError;

use super::client::{chain, sources};
use super::failure::Failure;

/// Why no connection came about.
#[derive(Debug, PartialEq)]
pub enum Unreachable {
    UnknownName,
    Refused,
    NoTls,
    NotTrusted(String),
    Other(String),
}

impl Unreachable {
    /// The layers below tell most of it in words only.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        let kinds = sources(error).filter_map(|error| Some(error.downcast_ref::<std::io::Error>()?.kind()));
        let words = chain(error);
        let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        if says(&["dns error", "failed to lookup address"]) {
            Self::UnknownName
        } else if kinds.into_iter().any(|kind| kind == std::io::ErrorKind::ConnectionRefused) {
            Self::Refused
        } else if says(&["certificate"]) {
            let last = sources(error).last().map(ToString::to_string);
            Self::NotTrusted(last.unwrap_or_default())
        } else if says(&["corrupt message", "InvalidContentType", "handshake"]) {
            Self::NoTls
        } else {
            Self::Other(sources(error).last().map(ToString::to_string).unwrap_or(words))
        }
    }

    /// In words, with what one can do.
    pub fn explained(&self, url: &url::Url) -> Failure {
        let host = url.host_str().unwrap_or_default();
        let (message, hint) = match self {
            Self::UnknownName => (
                format!("no GraphGate answers at {url}: there is no address for the name `{host}`"),
                "correct the name given with `--server` or the profile, or ask whether this machine can look it up",
            ),
            Self::Refused => (
                format!("no GraphGate answers at {url}: the connection was refused"),
                "start one with `graphgate dev`, or name another with `--server` or `--profile`",
            ),
            Self::NoTls => {
                (format!("{url} does not speak TLS"), "if it is meant to be reached without, name it with `http://`")
            }
            Self::NotTrusted(reason) => (
                format!("the certificate of {url} is not trusted: {reason}"),
                "`SSL_CERT_FILE` names a file with further certificate authorities",
            ),
            Self::Other(reason) => (
                format!("no GraphGate answers at {url}: {reason}"),
                "see whether this machine may reach it: firewall, proxy, network",
            ),
        };
        Failure::unreachable(message).hint(hint)
    }
}
