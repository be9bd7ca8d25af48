//! Which queues are ours and what opens them.

use crate::azure::storage::{ConfigError, Endpoint, Service};

/// The queue service and how to get at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address and SAS.
    pub endpoint: Endpoint,
}

impl Config {
    /// Reads an endpoint, as [`Endpoint::parse`] does.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_endpoint(text: &str) -> Result<Self, ConfigError> {
        Ok(Self { endpoint: Endpoint::parse(text)? })
    }

    /// Reads a connection string, as [`Endpoint::from_connection_string`] does.
    ///
    /// # Errors
    /// When a part is missing or malformed.
    pub fn from_connection_string(text: &str) -> Result<Self, ConfigError> {
        Ok(Self { endpoint: Endpoint::from_connection_string(text, Service::Queues)? })
    }
}

/// Whether the service takes `name` as a queue's, with room for `-poison` (Learn: naming queues and metadata).
#[must_use]
pub fn is_queue_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=56).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || byte == b'-')
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
        && !name.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_queue_names_are_refused() {
        for name in ["", "ab", "Upper", "-a-b", "a--b", "ab-", "a_b", &"x".repeat(57)] {
            assert!(!is_queue_name(name), "{name}");
        }
        assert!(is_queue_name("graphgate-notifications"));
    }
}
