//! Settings: every variable the program reads, in one table, and what each module makes of them.
//!
//! Nothing else reads the environment. A setting that cannot be used stops the start with all such settings named at
//! once; an unknown one is left alone, because the environment belongs to others too.
//!
//! Long because the table of settings is one, and stands beside what reads it.

mod access;
mod aliases;
mod identity;
mod names;
mod notifications;
mod references;
mod reports;
mod sign_in;
mod storage;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use url::Url;

use crate::auth;
use crate::azure::{CredentialConfig, Secret};
use crate::host::HostMode;
use crate::ids::{GroupId, PlanId};
use crate::services::audit;
use crate::services::jobs::HOLD;
use crate::services::notifications::ContentDecryptor;
use crate::services::planner::{CustomFields, Limits, ReconciledBy, Scope, Settings};
use crate::services::subscriptions::{self, SubscriptionSpec};
use crate::store::secrets;
use crate::sync::schedule::Pace;
use crate::telemetry::metrics;
use crate::{mcp, store};

use aliases::old_names;
pub use names::check_toolsets;
use names::misspelt;
pub use references::{Bootstrap, Reference, filled};

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

/// What holds where a variable is not set, as the table says it: defaults stand there alone.
fn default_of(name: &str) -> &'static str {
    VARIABLES.iter().find(|variable| variable.name == name).map_or("", |variable| variable.default)
}

/// Every variable, in the order of docs/settings.md.
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
    variable(
        "GRAPH_TIMEOUT_SECONDS",
        "30",
        "How long one request to Microsoft Graph may take before it counts as failed; half as long while a caller waits",
    ),
    variable("PLANNER_GROUP_IDS", "all groups", "Only plans of these groups, comma-separated"),
    variable("PLANNER_PLAN_IDS", "all plans", "Only these plans, comma-separated; no other can be made"),
    variable("DEFAULT_PLANNER_PLAN_ID", "none", "The plan meant when a call names none: id or title"),
    variable("CUSTOM_FIELDS", "none", "JSON: your own fields and where Planner keeps them"),
    variable("TIME_ZONE", "UTC", "IANA zone whose days count: due dates, what is late, reports"),
    variable("REPLICA_MAX_AGE_SECONDS", "30", "A replica older than this asks Planner before it answers"),
    variable(
        "REPLICA_MEMORY_MB",
        "192",
        "Memory for tasks at hand, about eight hundred in a MB; beyond it the plans that nobody has asked for for longest are kept compressed",
    ),
    variable(
        "REFRESH_SECONDS",
        "25",
        "How often a busy plan is compared with Planner; 0 switches this off, but for the timer of the Functions host every 5 minutes",
    ),
    variable("REFRESH_FASTEST_SECONDS", "5", "... and how soon after a refresh that failed, at the earliest"),
    variable("REFRESH_SLOWEST_SECONDS", "900", "... and how often a plan that has been quiet for long"),
    variable("WRITE_WAIT_MS", "2500", "How long a write waits for Planner before it answers `pending`"),
    variable("DATA_DIR", "./graphgate-data", "Folder of the embedded store; `:memory:` keeps nothing"),
    variable(
        "AZURE_TABLES_ENDPOINT",
        "none",
        "Keep everything in Azure Table Storage instead: `https://…table.core.windows.net`, opened with the identity above or a SAS in its query",
    ),
    variable("AzureWebJobsStorage__tableServiceUri", "none", "Used where AZURE_TABLES_ENDPOINT is not set"),
    variable(
        "AzureWebJobsStorage",
        "none",
        "Connection string that is used where none of these is set (`UseDevelopmentStorage=true`: Azurite)",
    ),
    variable("TABLE_NAME", "graphgate", "The table, created if it is not there"),
    variable(
        "AZURE_QUEUES_ENDPOINT",
        "none",
        "Keep queues in Azure Storage Queues: `https://…queue.core.windows.net`; without it they lie beside everything else",
    ),
    variable("AzureWebJobsStorage__queueServiceUri", "none", "Used where AZURE_QUEUES_ENDPOINT is not set"),
    variable(
        "AZURE_BLOBS_ENDPOINT",
        "none",
        "Keep files in Azure Blob Storage: `https://…blob.core.windows.net`; without it they lie in DATA_DIR",
    ),
    variable("AzureWebJobsStorage__blobServiceUri", "none", "Used where AZURE_BLOBS_ENDPOINT is not set"),
    variable("BLOB_CONTAINER", "graphgate", "The container of files, created when it is first needed"),
    variable("REPORT_TIME_ZONE", "TIME_ZONE", "... for reports alone, when a request names none"),
    variable("REPORT_KEEP_DAYS", "90", "How long reports are kept"),
    variable(
        "REPORT_FONT_DIR",
        "none",
        "Folder with fonts (.ttf, .otf) for scripts that PDFs lack without it, such as Chinese and Arabic",
    ),
    variable("REPORT_SENDER", "none", "Mailbox scheduled reports are mailed from, as a sign-in name"),
    variable(
        "REPORT_RECIPIENT_DOMAINS",
        "the sender's",
        "Domains reports may be mailed to, comma-separated; `*` is any",
    ),
    variable(
        "REPORT_WEBHOOK_HOSTS",
        "none",
        "Hosts of Teams Workflows that cards with reports may be posted to, comma-separated; `*.` stands for subdomains",
    ),
    variable(
        "SUBSCRIPTIONS",
        "none",
        "What to watch, comma-separated: `group:NAME`, `groups`, `user:UPN`, `users`, `mail:UPN`, `events:UPN`, `contacts:UPN`, `todo:UPN/LIST`, `channel:TEAM/ID`, `chat:ID`, `drive:ID`, `list:SITE/ID`",
    ),
    variable(
        "NOTIFICATION_CERTIFICATE_PATH",
        "none",
        "PEM file with a certificate and its RSA key, for notifications that carry what changed (`mail+data:UPN`)",
    ),
    variable("BIND_ADDRESS", "127.0.0.1", "Address the server listens on"),
    variable("PORT", "7071", "Port the server listens on; 0 takes a free one"),
    variable("FUNCTIONS_CUSTOMHANDLER_PORT", "set by the Functions host", "Takes the place of PORT"),
    variable("SERVER_NAME", "graphgate", "What the MCP server calls itself to its clients, at most 64 characters"),
    variable("DRAIN_SECONDS", "3", "How long a terminated server still answers, its readiness red, before it closes"),
    variable("PUBLIC_URL", "https://WEBSITE_HOSTNAME", "The server's address for people and Microsoft Graph"),
    variable("WEBSITE_HOSTNAME", "set by Azure", "The host of PUBLIC_URL where that is not set"),
    variable("GRAPHGATE_API_KEY", "none", "A key that opens everything, sent as `x-api-key` or bearer token"),
    variable("REQUIRE_API_KEY", "false", "Ask every caller for a key made with `graphgate keys create`"),
    variable("SIGNATURE_WINDOW_SECONDS", "300", "How old the signature of a request may be: 30 to 3000"),
    variable(
        "ENTRA_AUDIENCE",
        "none",
        "Accept tokens of Entra for this application: its id and its id URI, comma-separated",
    ),
    variable(
        "SIGN_IN_CLIENT_ID",
        "none",
        "Have people sign in with Microsoft, through this application: its id. Clients then need the server's address alone",
    ),
    variable(
        "SIGN_IN_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET, if it is of the same application",
        "Secret of that application; none is needed where it trusts the managed identity",
    ),
    variable("ACCESS_TOKEN_SECONDS", "600", "How long an access token lives that clients get here, 5 to 3600"),
    variable("ACCOUNT_DAYS", "90", "How long a connected account that nobody uses is kept"),
    variable("ENTRA_TENANT_IDS", "AZURE_TENANT_ID", "Tenants whose tokens are accepted, comma-separated"),
    variable("ENTRA_CLIENT_IDS", "any", "Only these client applications may bring tokens, comma-separated"),
    variable(
        "WEBSITE_AUTH_ENABLED",
        "set by Azure",
        "Whether App Service signs callers in; only then its principal is believed",
    ),
    variable(
        "HOST_KEY_ROLE",
        "none",
        "Role of callers whose Functions key the host has checked; only for functions whose `authLevel` asks for one",
    ),
    variable("ROLES", "none", "JSON: further roles and what they may do"),
    variable(
        "CALLS_PER_MINUTE",
        "1200",
        "Calls a minute for each caller, counted by each instance alone; 0 is no limit",
    ),
    variable(
        "LOOKUPS_PER_MINUTE",
        "300",
        "Requests to Microsoft Graph a minute that each caller may cause by looking up what is not known, or fresh lists of plans; 0 is no limit",
    ),
    variable(
        "ALLOWED_IPS",
        "",
        "Addresses and networks calls may come from, as `10.0.0.0/8,203.0.113.7`; the webhook and health take all. By the sender's own address, so not behind a proxy; on Azure it is a parameter of the deployment",
    ),
    variable("ALLOW_ANONYMOUS", "false", "Be reachable by others without asking anybody who they are"),
    variable("ALLOWED_HOSTS", "loopback names", "Further Host headers that are answered, comma-separated"),
    variable("ALLOWED_ORIGINS", "loopback origins", "Further browser origins that are answered, comma-separated"),
    variable("READ_ONLY", "false", "Refuse every tool that writes"),
    variable(
        "ENABLED_TOOLSETS",
        "every toolset",
        "Only these toolsets, comma-separated. Clients that name none are shown `planner`, `reports`, `sync` and `directory` of them; with `all` everything",
    ),
    variable("ENABLED_TOOLS", "all", "Only these tools, comma-separated"),
    variable(
        "DISABLED_TOOLS",
        "none",
        "Tools that no caller sees or may call, comma-separated, be they named above; REST's other routes follow toolsets",
    ),
    variable(
        "TOOL_MODE",
        "list",
        "list, or search: MCP clients are listed `find_tools` and `call_tool` alone, unless they ask for the other with `X-MCP-Mode` or `/mcp?mode=`",
    ),
    variable(
        "KEY_VAULT_URL",
        "none",
        "Key Vault with secrets; any setting may then be `@keyvault:NAME`, and the keyring is there too",
    ),
    variable("SECRETS_DIR", "none", "Folder with secrets as files, in place of a vault"),
    variable(
        "AUDIT",
        "counted",
        "What the audit log says of calls that only read: counted by caller and hour, all (a row each), or writes (nothing); in memory nothing",
    ),
    variable("AUDIT_DAYS", "400", "... and for how many days; 0 is for ever"),
    variable(
        "REDIS_URL",
        "none",
        "Redis, `redis://` or `rediss://`, by which instances announce changes to each other: listeners are notified sooner",
    ),
    variable("LOG_LEVEL", "info", "error, warn, info, debug, trace, or a tracing filter"),
    variable("LOG_FORMAT", "text", "text or json"),
    variable("LOG_FILE", "none", "Also log to this file, a new one every day"),
    variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "none",
        "Export traces and metrics to this collector, by OTLP over HTTP (protobuf). The other standard variables of OpenTelemetry count too: headers, timeout, sampler, batch, interval, resource",
    ),
    variable("OTEL_SERVICE_NAME", "graphgate", "What traces and metrics call this service"),
    variable("OTEL_SDK_DISABLED", "false", "Export nothing, even where an exporter is set"),
];

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are towards Microsoft.
    pub credential: CredentialConfig,
    /// The simulated tenant's sign-in address; only `dev` and tests set it, no variable does.
    pub loopback_authority: Option<Url>,
    /// Microsoft Graph.
    pub graph_url: Url,
    /// How long one request to Microsoft Graph may take where nobody waits for it; half as long where somebody does.
    pub graph_timeout: Duration,
    /// The sign-in host of a national cloud.
    pub authority: Option<String>,
    /// Our application's id, as Planner names it in the tasks we create.
    pub application_id: Option<String>,
    /// Settings of the Planner service.
    pub planner: Settings,
    /// Requests to Graph a minute that a caller may cause by naming what is not known; 0 is no limit.
    pub lookups_per_minute: u32,
    /// The directory id of the tenant; part of every storage key.
    pub tenant: String,
    /// Where to keep what is remembered.
    pub store: store::Config,
    /// Where to keep queues.
    pub queues: store::QueueConfig,
    /// Where to keep files.
    pub blobs: store::BlobConfig,
    /// Settings of the report service.
    pub reports: crate::services::reports::Settings,
    /// Where instances tell each other of changes; its address may hold a password.
    pub redis: Option<Secret>,
    /// Where reports may go.
    pub delivery: crate::services::reports::delivery::Config,
    /// Whether our own scheduler compares plans with Planner.
    pub reconciles: bool,
    /// Who runs the program: under the Functions host that fires timers and delivers messages, and our own scheduler rests.
    pub host: HostMode,
    /// How long a queue's message is held that fails for a reason that may pass.
    pub hold: Duration,
    /// How long a terminated server stays open with its readiness red, so that no request is sent to a closed port.
    pub drain_notice: Duration,
    /// Where to listen.
    pub address: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Where secrets are kept; `None` nowhere.
    pub secrets: Option<secrets::Config>,
    /// Settings that were filled in with a secret.
    pub references: Vec<Reference>,
    /// Authentication.
    pub auth: auth::Config,
    /// How people sign in; `None` where they do not.
    pub sign_in: Option<Box<SignIn>>,
    /// The networks calls may come from; all if empty.
    pub networks: Vec<ipnet::IpNet>,
    /// Which operations the audit log holds.
    pub audit: audit::Policy,
    /// Settings of the MCP interface.
    pub mcp: mcp::Config,
    /// What is watched, and where Graph tells of it.
    pub subscriptions: subscriptions::Config,
    /// Certificate and key for notifications that carry what changed.
    pub decryptor: Option<ContentDecryptor>,
    /// Whether metrics are sent to a collector.
    pub metrics: metrics::export::Config,
}

/// How people sign in.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// The address people and clients reach the server by.
    pub public_url: Url,
    /// The application people sign in to.
    pub client_id: String,
    /// What proves it.
    pub proof: SignInProof,
    /// The sign-in host.
    pub authority: Url,
    /// How long an access token lives.
    pub access_life: chrono::TimeDelta,
    /// How long an account that nobody uses is kept.
    pub idle: chrono::TimeDelta,
    /// Addresses on this machine, as `host:port`, where documents of clients may be: for tests.
    pub admitted: Vec<String>,
}

/// What proves the application that people sign in to.
#[derive(Debug, Clone)]
pub enum SignInProof {
    /// A secret.
    Secret(Secret),
    /// A certificate with its private key, as PEM.
    Certificate(Secret),
    /// The deployment's managed identity, which the application trusts.
    ManagedIdentity,
}

/// Where a server listens: what it has to know before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The address.
    pub address: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Who runs the program.
    pub host: HostMode,
}

impl Listening {
    /// Reads it.
    ///
    /// # Errors
    /// When a setting cannot be used.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, Problems> {
        let mut reader = Reader { lookup, problems: Vec::new() };
        let listening = Self::from(&mut reader);
        if reader.problems.is_empty() { Ok(listening) } else { Err(Problems(reader.problems)) }
    }

    fn from(reader: &mut Reader<'_>) -> Self {
        let address =
            reader.parsed("BIND_ADDRESS", IpAddr::V4(Ipv4Addr::LOCALHOST), |text| text.parse().ok(), "an IP address");
        let port = reader.parsed("PORT", 7071, |text| text.parse().ok(), "a port, 0 to 65535");
        match reader.parsed("FUNCTIONS_CUSTOMHANDLER_PORT", 0, |text| text.parse().ok(), "a port, 1 to 65535") {
            0 => Self { address, port, host: HostMode::Standalone },
            port => Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port, host: HostMode::Functions },
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} setting(s) cannot be used:\n{}", .0.len(), .0.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<String>);

/// Where settings come from: the environment, or a map in tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process environment, where a setting may have an old name.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    aliases::value(name, &variable_of_process)
}

/// What is worth a warning about the names in the process environment, a line each: old ones, and misspelt ones.
#[must_use]
pub fn doubtful_names() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut doubtful = old_names(&variable_of_process);
    doubtful.extend(misspelt(names));
    doubtful
}

/// A variable of the process as it is; an empty one counts as not set.
#[allow(clippy::disallowed_methods)] // the one place that may read it
fn variable_of_process(name: &str) -> Option<String> {
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

    /// A whole number; where none is set, that of the table.
    fn number(&mut self, name: &str) -> u64 {
        let default = default_of(name).parse().unwrap_or_default();
        self.parsed(name, default, |text| text.parse().ok(), "a whole number")
    }

    /// A number of megabytes, in bytes.
    fn megabytes(&mut self, name: &str) -> usize {
        usize::try_from(self.number(name).saturating_mul(1_000_000)).unwrap_or(usize::MAX)
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
        check_log(&mut reader);
        let store = storage::store(&mut reader);
        let queues = storage::queues(&mut reader);
        let Listening { address, port, host } = Listening::from(&mut reader);
        let reachable = match (host, address.is_loopback()) {
            (HostMode::Standalone, true) => None,
            (HostMode::Standalone, false) => Some("from outside (`BIND_ADDRESS`)"),
            (HostMode::Functions, _) => Some("through the Functions host"),
        };
        let audit = audit_policy(&mut reader, &store);
        let secrets = references::place(&mut reader);
        let authority = reader.text("AZURE_AUTHORITY_HOST");
        let auth = access::read(&mut reader, &tenant, authority.as_deref(), reachable);
        let sign_in = sign_in::read(&mut reader, &credential, auth.public_url.as_ref()).map(Box::new);
        let public_origin = auth.public_url.as_ref().map(|url| url.origin().ascii_serialization());
        let public_host = auth.public_url.as_ref().and_then(|url| Some(url.host_str()?.to_owned()));
        let mcp = mcp::Config {
            allowed_hosts: reader.list("ALLOWED_HOSTS").into_iter().chain(public_host).collect(),
            allowed_origins: reader.list("ALLOWED_ORIGINS").into_iter().chain(public_origin).collect(),
            ..names::offered(&mut reader)
        };
        let refresh = reader.number("REFRESH_SECONDS");
        let pace = Pace {
            fastest: Duration::from_secs(reader.number("REFRESH_FASTEST_SECONDS").max(1)),
            busy: Duration::from_secs(refresh.max(1)),
            slowest: Duration::from_secs(reader.number("REFRESH_SLOWEST_SECONDS").max(refresh).max(1)),
        };
        let networks = access::networks(&mut reader, host);
        let blobs = storage::files(&mut reader, &store);
        let redis = storage::redis(&mut reader);
        let time_zone = reader.parsed("TIME_ZONE", chrono_tz::Tz::UTC, |text| text.parse().ok(), "an IANA time zone");
        let report_settings = reports::settings(&mut reader, auth.public_url.as_ref(), time_zone);
        let subscriptions = notifications::subscriptions(&mut reader, auth.public_url.clone());
        let decryptor = notifications::decryptor(&mut reader);
        let config = Self {
            networks,
            application_id: reader.text("AZURE_CLIENT_ID"),
            credential,
            authority,
            loopback_authority: None,
            graph_url,
            graph_timeout: graph_timeout(&mut reader),
            tenant,
            planner: Settings {
                scope: Scope {
                    groups: reader.ids("PLANNER_GROUP_IDS", GroupId::parse),
                    plans: reader.ids("PLANNER_PLAN_IDS", PlanId::parse),
                    default_plan: reader.text("DEFAULT_PLANNER_PLAN_ID"),
                },
                max_age: Duration::from_secs(reader.number("REPLICA_MAX_AGE_SECONDS")),
                replica_memory: reader.megabytes("REPLICA_MEMORY_MB"),
                pace,
                reconciled_by: match (host, refresh) {
                    (HostMode::Standalone, _) => ReconciledBy::Scheduler,
                    (HostMode::Functions, 0) => ReconciledBy::Timer,
                    (HostMode::Functions, _) => ReconciledBy::Messages,
                },
                write_wait: Duration::from_millis(reader.number("WRITE_WAIT_MS")),
                bulk_wait: Duration::from_mins(1),
                time_zone,
                custom_fields: custom_fields.unwrap_or_default(),
                limits: Limits::default(),
            },
            lookups_per_minute: u32::try_from(reader.number("LOOKUPS_PER_MINUTE")).unwrap_or(u32::MAX),
            store,
            queues,
            blobs,
            redis,
            reports: report_settings,
            delivery: reports::delivery(&mut reader),
            reconciles: refresh > 0,
            host,
            hold: if host.is_functions() { HOLD } else { Duration::ZERO },
            drain_notice: Duration::from_secs(reader.number("DRAIN_SECONDS")),
            address,
            port,
            secrets,
            references: Vec::new(),
            auth,
            sign_in,
            audit,
            mcp,
            subscriptions,
            decryptor,
            metrics: metrics::export::Config::read(lookup),
        };
        if reader.problems.is_empty() { Ok(config) } else { Err(Problems(reader.problems)) }
    }
}

/// What a server offers and watches, alone: for commands that list the tools and need no tenant.
///
/// # Errors
/// When a setting cannot be used.
pub fn offered(lookup: Lookup<'_>) -> Result<(mcp::Offer, Vec<SubscriptionSpec>), Problems> {
    let mut reader = Reader { lookup, problems: Vec::new() };
    let offered = (names::offered(&mut reader).offer, notifications::subscriptions(&mut reader, None).specs);
    if reader.problems.is_empty() { Ok(offered) } else { Err(Problems(reader.problems)) }
}

/// The limit of one request to Microsoft Graph; a tenth of a second would let every call fail.
fn graph_timeout(reader: &mut Reader<'_>) -> Duration {
    let parse = |text: &str| text.parse().ok().filter(|seconds| (1..=600).contains(seconds));
    Duration::from_secs(reader.parsed("GRAPH_TIMEOUT_SECONDS", 30, parse, "seconds, 1 to 600"))
}

/// The log is set up before the settings are read; what is wrong with its settings is told with the others.
fn check_log(reader: &mut Reader<'_>) {
    let format = |text: &str| matches!(text.to_lowercase().as_str(), "text" | "json").then_some(());
    reader.parsed("LOG_FORMAT", (), format, "`text` or `json`");
    let level = |text: &str| crate::telemetry::is_level(text).then_some(());
    reader.parsed("LOG_LEVEL", (), level, "error, warn, info, debug, trace, or a tracing filter");
}

/// A store that forgets everything anyway is not filled with a row for every read.
fn audit_policy(reader: &mut Reader<'_>, store: &store::Config) -> audit::Policy {
    let parse = |text: &str| match text.to_lowercase().as_str() {
        "counted" => Some(audit::Scope::Counted),
        "all" => Some(audit::Scope::All),
        "writes" => Some(audit::Scope::Writes),
        _ => None,
    };
    let scope = reader.parsed("AUDIT", audit::Scope::Counted, parse, "`counted`, `all` or `writes`");
    let scope = if *store == store::Config::Memory { audit::Scope::Writes } else { scope };
    let days = reader.number("AUDIT_DAYS");
    audit::Policy { scope, days: (days > 0).then_some(days) }
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
mod tests;
