//! Settings: every variable the program reads, in one table, and what each module makes of them.
//!
//! Nothing else reads the environment. A setting that cannot be used stops the start with all such settings named at
//! once; an unknown one is left alone, because the environment belongs to others too.

mod identity;
mod reports;
mod storage;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use url::Url;

use crate::azure::{CredentialConfig, Secret};
use crate::ids::{GroupId, PlanId};
use crate::services::planner::{CustomFields, Limits, Scope, Settings};
use crate::{mcp, store};

/// A variable: name, default, meaning.
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// What holds when it is not set.
    pub default: &'static str,
    /// What it decides.
    pub meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable, in the order of the README.
pub const VARIABLES: &[Variable] = &[
    variable("AZURE_TENANT_ID", "required", "Directory id of the tenant"),
    variable(
        "AZURE_CLIENT_ID",
        "required, but for a system-assigned managed identity",
        "Application id, or the user-assigned identity's",
    ),
    variable("AZURE_CLIENT_SECRET", "none", "Client secret of the application"),
    variable("AZURE_CLIENT_CERTIFICATE_PATH", "none", "PEM file with the application's certificate and private key"),
    variable("AZURE_FEDERATED_TOKEN_FILE", "none", "Token file of a Kubernetes workload identity"),
    variable("IDENTITY_ENDPOINT", "set by Azure", "Managed identity is used when this is set and nothing above is"),
    variable("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com", "Sign-in host of a national cloud"),
    variable(
        "GRAPH_BASE_URL",
        "https://graph.microsoft.com/v1.0",
        "Microsoft Graph of a national cloud, or a simulated tenant",
    ),
    variable("PLANNER_GROUP_IDS", "all groups", "Only plans of these groups, comma-separated"),
    variable("PLANNER_PLAN_IDS", "all plans", "Only these plans, comma-separated"),
    variable("DEFAULT_PLANNER_PLAN_ID", "none", "The plan meant when a call names none: id or title"),
    variable("CUSTOM_FIELDS", "none", "JSON: your own fields and where Planner keeps them"),
    variable("REPLICA_MAX_AGE_SECONDS", "30", "A replica older than this asks Planner before it answers"),
    variable("REFRESH_SECONDS", "15", "How often plans in use are compared with Planner; 0 switches it off"),
    variable("WRITE_WAIT_MS", "2500", "How long a write waits for Planner before it answers `pending`"),
    variable("DATA_DIR", "./graphgate-data", "Folder of the embedded store; `:memory:` keeps nothing"),
    variable(
        "AZURE_TABLES_ENDPOINT",
        "none",
        "Keep everything in Azure Table Storage instead: `https://…table.core.windows.net`, opened with the identity above or a SAS in its query",
    ),
    variable("AzureWebJobsStorage__tableServiceUri", "none", "Stands in for AZURE_TABLES_ENDPOINT"),
    variable(
        "AzureWebJobsStorage",
        "none",
        "Connection string that stands in for all of these (`UseDevelopmentStorage=true`: Azurite)",
    ),
    variable("TABLE_NAME", "graphgate", "The table, created if it is not there"),
    variable(
        "AZURE_QUEUES_ENDPOINT",
        "none",
        "Keep queues in Azure Storage Queues: `https://…queue.core.windows.net`; without it they lie beside everything else",
    ),
    variable("AzureWebJobsStorage__queueServiceUri", "none", "Stands in for AZURE_QUEUES_ENDPOINT"),
    variable("REPORT_TIME_ZONE", "UTC", "IANA zone whose days reports count in when a request names none"),
    variable("REPORT_KEEP_DAYS", "90", "How long reports are kept"),
    variable(
        "REPORT_FONT_DIR",
        "none",
        "Folder with fonts (.ttf, .otf) for scripts that PDFs lack without it, such as Chinese and Arabic",
    ),
    variable("PUBLIC_URL", "where it listens", "Where others reach this server: addresses in reports begin so"),
    variable("BIND_ADDRESS", "127.0.0.1", "Address the server listens on"),
    variable("PORT", "7071", "Port the server listens on; 0 takes a free one"),
    variable("FUNCTIONS_CUSTOMHANDLER_PORT", "set by the Functions host", "Takes the place of PORT"),
    variable("WEBSITE_HOSTNAME", "set by Azure", "The deployment's public name: answered like ALLOWED_HOSTS"),
    variable("DRAIN_SECONDS", "3", "How long a terminated server still answers, its readiness red, before it closes"),
    variable("GRAPHGATE_API_KEY", "none", "Key every caller must send as `x-functions-key` or bearer token"),
    variable("ALLOW_ANONYMOUS", "false", "Listen beyond this machine without a key"),
    variable("ALLOWED_HOSTS", "loopback names", "Further Host headers that are answered, comma-separated"),
    variable("ALLOWED_ORIGINS", "loopback origins", "Further browser origins that are answered, comma-separated"),
    variable("READ_ONLY", "false", "Refuse every tool that writes"),
    variable("ENABLED_TOOLSETS", "all", "Only these toolsets, comma-separated"),
    variable("ENABLED_TOOLS", "all", "Only these tools, comma-separated"),
    variable("LOG_LEVEL", "info", "error, warn, info, debug, trace, or a tracing filter"),
    variable("LOG_FORMAT", "text", "text or json"),
    variable("LOG_FILE", "none", "Also log to this file, a new one every day"),
];

/// Everything the program was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are towards Microsoft.
    pub credential: CredentialConfig,
    /// The simulated tenant's sign-in address; only `dev` and tests set it, no variable does.
    pub loopback_authority: Option<Url>,
    /// Microsoft Graph.
    pub graph_url: Url,
    /// Our application's id, as Planner names it in the tasks we create.
    pub application_id: Option<String>,
    /// Settings of the Planner service.
    pub planner: Settings,
    /// Where to keep what is remembered.
    pub store: store::Config,
    /// Where to keep queues.
    pub queues: store::QueueConfig,
    /// Where to keep files.
    pub blobs: store::BlobConfig,
    /// Settings of the report service.
    pub reports: crate::services::reports::Settings,
    /// How often plans in use are refreshed; `None` never.
    pub refresh_every: Option<Duration>,
    /// Whether the Functions host runs us: then it fires timers and delivers messages, and our own scheduler rests.
    pub hosted: bool,
    /// How long a terminated server stays open with its readiness red, so that nobody is sent to a closed door.
    pub drain_notice: Duration,
    /// Where to listen.
    pub address: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Key every caller must send.
    pub api_key: Option<Secret>,
    /// Settings of the MCP face.
    pub mcp: mcp::Config,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} setting(s) cannot be used:\n{}", .0.len(), .0.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<String>);

/// Where settings come from: the environment, or a map in tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process environment; an empty variable counts as not set.
#[must_use]
#[allow(clippy::disallowed_methods)] // the one place that may read it
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

struct Reader<'a> {
    lookup: Lookup<'a>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn parsed<T>(&mut self, name: &str, default: T, parse: impl Fn(&str) -> Option<T>, expected: &str) -> T {
        match self.text(name) {
            None => default,
            Some(text) => parse(&text).unwrap_or_else(|| {
                self.problems.push(format!("`{name}` is `{text}`: {expected} expected"));
                default
            }),
        }
    }

    fn number(&mut self, name: &str, default: u64) -> u64 {
        self.parsed(name, default, |text| text.parse().ok(), "a whole number")
    }

    fn flag(&mut self, name: &str) -> bool {
        let parse = |text: &str| match text.to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        };
        self.parsed(name, false, parse, "true or false")
    }

    fn list(&self, name: &str) -> Vec<String> {
        let split =
            |text: String| text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect();
        self.text(name).map(split).unwrap_or_default()
    }

    fn ids<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, crate::ids::InvalidId>) -> Vec<T> {
        let mut ids = Vec::new();
        for text in self.list(name) {
            match parse(&text) {
                Ok(id) => ids.push(id),
                Err(error) => self.problems.push(format!("`{name}`: {error}")),
            }
        }
        ids
    }
}

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// When any cannot be used; all of them are named.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, Problems> {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let tenant = reader.text("AZURE_TENANT_ID").unwrap_or_else(|| {
            reader.problems.push("`AZURE_TENANT_ID` is not set: the directory id of your tenant".into());
            String::new()
        });
        let credential = identity::credential(&mut reader, &tenant);
        let graph = "https://graph.microsoft.com/v1.0";
        let graph_url = reader.text("GRAPH_BASE_URL").unwrap_or_else(|| graph.to_owned());
        let graph_url = Url::parse(&graph_url).ok().filter(is_safe).unwrap_or_else(|| {
            reader.problems.push(format!(
                "`GRAPH_BASE_URL` is `{graph_url}`: an https address expected (http only on this machine)"
            ));
            Url::parse(graph).unwrap_or_else(|_| unreachable!("a constant address parses"))
        });
        let custom_fields =
            reader.text("CUSTOM_FIELDS").map(|text| CustomFields::parse(&text)).transpose().unwrap_or_else(|error| {
                reader.problems.push(format!("`CUSTOM_FIELDS` cannot be read: {error}"));
                None
            });
        let store = storage::store(&mut reader);
        let queues = storage::queues(&mut reader);
        let address =
            reader.parsed("BIND_ADDRESS", IpAddr::V4(Ipv4Addr::LOCALHOST), |text| text.parse().ok(), "an IP address");
        let port = reader.parsed("PORT", 7071, |text| text.parse().ok(), "a port");
        let host_port = reader.parsed("FUNCTIONS_CUSTOMHANDLER_PORT", 0, |text| text.parse().ok(), "a port");
        let (address, port) =
            if host_port == 0 { (address, port) } else { (IpAddr::V4(Ipv4Addr::LOCALHOST), host_port) };
        let api_key = reader.text("GRAPHGATE_API_KEY").map(|text| Secret::new(&text));
        if !address.is_loopback() && api_key.is_none() && !reader.flag("ALLOW_ANONYMOUS") {
            reader.problems.push(format!("`BIND_ADDRESS` {address} is reachable from outside and no `GRAPHGATE_API_KEY` is set (or set `ALLOW_ANONYMOUS=true`)"));
        }
        let refresh = reader.number("REFRESH_SECONDS", 15);
        let blobs = match &store {
            store::Config::Folder(folder) => store::BlobConfig::Folder(folder.join("files")),
            _ => store::BlobConfig::Memory,
        };
        let reports = reports::settings(&mut reader, &tenant);
        let config = Self {
            application_id: reader.text("AZURE_CLIENT_ID"),
            credential,
            loopback_authority: None,
            graph_url,
            planner: Settings {
                tenant,
                scope: Scope {
                    groups: reader.ids("PLANNER_GROUP_IDS", GroupId::parse),
                    plans: reader.ids("PLANNER_PLAN_IDS", PlanId::parse),
                    default_plan: reader.text("DEFAULT_PLANNER_PLAN_ID"),
                },
                max_age: Duration::from_secs(reader.number("REPLICA_MAX_AGE_SECONDS", 30)),
                write_wait: Duration::from_millis(reader.number("WRITE_WAIT_MS", 2500)),
                bulk_wait: Duration::from_mins(1),
                custom_fields: custom_fields.unwrap_or_default(),
                limits: Limits::default(),
            },
            store,
            queues,
            blobs,
            reports,
            refresh_every: (refresh > 0).then(|| Duration::from_secs(refresh)),
            hosted: host_port != 0,
            drain_notice: Duration::from_secs(reader.number("DRAIN_SECONDS", 3)),
            address,
            port,
            api_key,
            mcp: mcp::Config {
                allowed_hosts: [reader.list("ALLOWED_HOSTS"), reader.list("WEBSITE_HOSTNAME")].concat(),
                allowed_origins: reader.list("ALLOWED_ORIGINS"),
                read_only: reader.flag("READ_ONLY"),
                toolsets: reader.list("ENABLED_TOOLSETS"),
                tools: reader.list("ENABLED_TOOLS"),
                ..mcp::Config::default()
            },
        };
        if reader.problems.is_empty() { Ok(config) } else { Err(Problems(reader.problems)) }
    }
}

/// Tokens travel over https only, except to this very machine.
fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(settings: &[(&str, &str)]) -> Result<Config, Problems> {
        let map: HashMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Config::read(&|name| map.get(name).cloned())
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let problems =
            read(&[("PORT", "http"), ("PLANNER_PLAN_IDS", "x"), ("GRAPH_BASE_URL", "http://graph.example.com")])
                .unwrap_err();
        let text = problems.to_string();
        for name in ["AZURE_TENANT_ID", "PORT", "PLANNER_PLAN_IDS", "GRAPH_BASE_URL"] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn a_server_open_to_others_needs_a_key() {
        let base = [("AZURE_TENANT_ID", "t"), ("BIND_ADDRESS", "0.0.0.0")];
        assert!(read(&base).unwrap_err().to_string().contains("GRAPHGATE_API_KEY"));
        assert!(read(&[base.as_slice(), &[("GRAPHGATE_API_KEY", "k")]].concat()).is_ok());
        assert!(read(&[base.as_slice(), &[("ALLOW_ANONYMOUS", "true")]].concat()).is_ok());
    }

    #[test]
    fn a_storage_account_takes_the_place_of_the_folder() {
        let store = |settings: &[(&str, &str)]| {
            read(&[&[("AZURE_TENANT_ID", "t"), ("DATA_DIR", "d")], settings].concat()).map(|config| config.store)
        };
        let host = ("AzureWebJobsStorage", "UseDevelopmentStorage=true");
        let alias = ("AzureWebJobsStorage__tableServiceUri", "https://a.example");
        for (settings, host) in [(&[host][..], "127.0.0.1"), (&[host, alias], "a.example")] {
            let store::Config::Azure(account) = store(settings).unwrap() else { panic!("an account for {settings:?}") };
            assert_eq!((account.endpoint.host_str(), account.table.as_str()), (Some(host), "graphgate"));
        }
        let text = store(&[("AZURE_TABLES_ENDPOINT", "http://h?sig=hush")]).unwrap_err().to_string();
        assert!(text.contains("AZURE_TABLES_ENDPOINT") && !text.contains("hush"), "{text}");
    }

    #[test]
    fn no_secret_is_printed() {
        let config = read(&[
            ("AZURE_TENANT_ID", "t"),
            ("AZURE_CLIENT_ID", "c"),
            ("AZURE_CLIENT_SECRET", "hush"),
            ("GRAPHGATE_API_KEY", "hush"),
        ])
        .unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn every_variable_that_is_read_stands_in_the_table() {
        let source = [include_str!("mod.rs"), include_str!("identity.rs"), include_str!("storage.rs")].concat();
        let quoted = |call: &str| {
            let ends = source.match_indices(call).map(|(place, _)| &source[place + call.len()..]);
            ends.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect::<Vec<_>>()
        };
        for call in [
            "reader.text(\"",
            "reader.number(\"",
            "reader.flag(\"",
            "reader.list(\"",
            "reader.parsed(\"",
            "reader.ids(\"",
        ] {
            for name in quoted(call) {
                assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}");
            }
        }
    }
}
