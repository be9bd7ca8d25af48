//! Which table is ours and what opens it.

use url::Url;

use crate::azure::Secret;
use crate::azure::storage::{ConfigError, Endpoint, Service};

/// The table and how to get at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The service's address, without a query.
    pub endpoint: Url,
    /// A shared access signature; without one, the program's identity is used.
    pub sas: Option<Secret>,
    /// The table's name.
    pub table: String,
}

impl Config {
    /// Reads an endpoint, as [`Endpoint::parse`] does.
    ///
    /// # Errors
    /// When it is none, or the table's name none the service takes.
    pub fn from_endpoint(text: &str, table: &str) -> Result<Self, ConfigError> {
        Self::new(Endpoint::parse(text)?, table)
    }

    /// Reads a connection string, as [`Endpoint::from_connection_string`] does.
    ///
    /// # Errors
    /// When a part is missing or malformed, or the table's name none the service takes.
    pub fn from_connection_string(text: &str, table: &str) -> Result<Self, ConfigError> {
        Self::new(Endpoint::from_connection_string(text, Service::Tables)?, table)
    }

    fn new(endpoint: Endpoint, table: &str) -> Result<Self, ConfigError> {
        if !is_table_name(table) {
            return Err(ConfigError("a table's name has 3 to 63 letters and digits and starts with a letter"));
        }
        Ok(Self { endpoint: endpoint.url, sas: endpoint.sas, table: table.to_owned() })
    }
}

/// Learn: understanding the table service data model, table names.
fn is_table_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !name.eq_ignore_ascii_case("tables")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_table_name_is_refused_with_the_rule() {
        for table in ["", "ab", "1abc", "a-b-c", "tables", &"x".repeat(64)] {
            let refused = Config::from_endpoint("https://h", table).unwrap_err().to_string();
            assert!(refused.contains("3 to 63 letters and digits"), "{table}: {refused}");
        }
        assert!(Config::from_endpoint("https://h", "graphgate").is_ok());
    }
}
