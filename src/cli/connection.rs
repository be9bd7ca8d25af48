//! Which server a command talks to, and with which key: options first, then the environment, then the profile in use.
//!
//! A profile's key only ever goes to the profile's own server; naming another server leaves it behind.

use std::path::PathBuf;

use url::Url;

use super::failure::Failure;
use super::profile::Profiles;

const SCHEMES: &str = "it has to begin with http:// or https://";
/// Where `graphgate dev` and a local Functions host listen.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7071/mcp";

/// Options that choose the server.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    #[arg(help = "MCP address of a GraphGate [env: GRAPHGATE_SERVER] [default: http://127.0.0.1:7071/mcp]")]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "profile")]
    server: Option<String>,
    #[arg(help = "Key the server asks for, sent as x-functions-key [env: GRAPHGATE_API_KEY]")]
    #[arg(long, global = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Server and key saved with `graphgate profile set`
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    environment: Environment,
}

/// What the environment says. Options of their own, so that `--profile` can win over an exported address while
/// `--profile` together with `--server` is refused.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Environment {
    #[arg(long = "env-server", env = "GRAPHGATE_SERVER", global = true, hide = true)]
    exported_server: Option<String>,
    #[arg(long = "env-api-key", env = "GRAPHGATE_API_KEY", global = true, hide = true, hide_env_values = true)]
    exported_api_key: Option<String>,
    #[command(flatten)]
    pub config: ConfigHome,
}

/// Where the user's configuration lives.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigHome {
    #[arg(long = "config-home", env = "XDG_CONFIG_HOME", global = true, hide = true)]
    config_home: Option<PathBuf>,
}

impl ConfigHome {
    /// The file of saved profiles. A relative `XDG_CONFIG_HOME` is ignored, as its specification demands.
    pub fn profiles_file(&self) -> Result<PathBuf, Failure> {
        let folder = self.config_home.clone().filter(|folder| folder.is_absolute());
        let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
        let folder = folder
            .ok_or_else(|| Failure::new("there is no home folder to keep profiles in").hint("set `XDG_CONFIG_HOME`"))?;
        Ok(folder.join("graphgate").join("profiles.json"))
    }
}

/// A server to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Its MCP address.
    pub url: Url,
    /// The key it asks for.
    pub api_key: Option<String>,
}

impl Address {
    /// Parses an address as a user gives it; a bare origin means its `/mcp`.
    pub fn parse(text: &str, api_key: Option<String>) -> Result<Self, Failure> {
        let refused = |why: &str| {
            Failure::invalid(format!("`{text}` is not the address of a server: {why}"))
                .hint(format!("such as {DEFAULT_SERVER}"))
        };
        let mut url = Url::parse(text).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => refused(SCHEMES),
            other => refused(&other.to_string()),
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(refused(SCHEMES));
        }
        if url.path() == "/" {
            url.set_path("/mcp");
        }
        Ok(Self { url, api_key: api_key.filter(|key| !key.is_empty()) })
    }

    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Whether the key would be readable on its way.
    #[must_use]
    pub fn exposes_key(&self) -> bool {
        self.api_key.is_some() && self.url.scheme() == "http" && !self.is_loopback()
    }
}

impl Connection {
    /// Decides on the server.
    ///
    /// # Errors
    /// When the address is malformed, the profile does not exist, or the profiles cannot be read.
    pub fn address(&self) -> Result<Address, Failure> {
        let environment = &self.environment;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let key = given(&self.api_key);
        let server =
            self.server.clone().or_else(|| given(&environment.exported_server).filter(|_| self.profile.is_none()));
        if let Some(server) = server {
            return Address::parse(&server, key.or_else(|| given(&environment.exported_api_key)));
        }
        let profiles = Profiles::load(&environment.config.profiles_file()?)?;
        match profiles.chosen(self.profile.as_deref())? {
            Some(profile) => Address::parse(&profile.server, key.or_else(|| profile.api_key.clone())),
            None => Address::parse(DEFAULT_SERVER, key.or_else(|| given(&environment.exported_api_key))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(server: Option<&str>, profile: Option<&str>, exported: Option<&str>) -> Connection {
        let some = |text: Option<&str>| text.map(str::to_owned);
        let config = ConfigHome { config_home: Some("/nonexistent".into()) };
        let environment =
            Environment { exported_server: some(exported), exported_api_key: some(Some("exported")), config };
        Connection { server: some(server), api_key: None, profile: some(profile), environment }
    }

    #[test]
    fn option_overrides_environment() {
        let address = connection(Some("https://a.example"), None, Some("https://b.example/mcp")).address().unwrap();
        assert_eq!((address.url.as_str(), address.api_key.as_deref()), ("https://a.example/mcp", Some("exported")));
    }

    #[test]
    fn named_profile_overrides_environment() {
        let refused = connection(None, Some("prod"), Some("https://b.example/mcp")).address().unwrap_err();
        assert!(refused.to_string().starts_with("there is no profile `prod`"), "{refused}");
    }

    #[test]
    fn default_server_is_localhost() {
        assert_eq!(connection(None, None, None).address().unwrap().url.as_str(), DEFAULT_SERVER);
    }

    #[test]
    fn invalid_server_address_is_refused() {
        assert!(Address::parse("localhost:7071", None).is_err());
        assert!(Address::parse("not an address", None).is_err());
        assert!(Address::parse("http://gate.example/mcp", Some("k".into())).unwrap().exposes_key());
        assert!(!Address::parse("http://127.0.0.1:1/mcp", Some("k".into())).unwrap().exposes_key());
    }
}
