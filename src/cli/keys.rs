//! Keys: `graphgate keys create|list|revoke` for callers, `init|rotate` for the keyring of the deployment.
//!
//! They are kept in the deployment's own store, which this command opens with the server's settings; a running server
//! sees a change within half a minute.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::note;
use super::own::{self, Bench};
use crate::app;
use crate::auth::api_keys::KeyError;
use crate::auth::{Caller, KeyRow, NewKey, Role};
use crate::config;
use crate::error::ErrorCode;
use crate::ids::{GroupId, PlanId};
use crate::services::audit::{Audit, Noted, Operation, Writer};

/// How long a command waits until its row of the audit log is kept.
const PATIENCE: Duration = Duration::from_secs(5);

/// `graphgate keys`.
pub type Args = own::Args<Verb>;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make the keyring, where secrets are kept; one that is there stays
    #[command(after_help = "Examples:\n  KEY_VAULT_URL=https://NAME.vault.azure.net graphgate keys init")]
    Init,
    /// Add a version to the keyring; it signs from then on, former ones still verify
    #[command(after_help = "Examples:\n  graphgate keys rotate")]
    Rotate,
    /// Make a key; it is shown this once
    #[command(
        after_help = "Examples:\n  graphgate keys create ci --toolsets planner --plan xqQg5FS2LkCp935s-FIFm2QAFkHM --days 90\n  graphgate keys create dashboard --read-only\n  graphgate keys create scheduler --signing"
    )]
    Create(KeyOptions),
    /// Make the next key of a signing key; the one before stays good beside it until there is another
    #[command(after_help = "Examples:\n  graphgate keys renew 1a2b3c4d")]
    Renew {
        /// The id, as `keys list` shows it
        id: String,
    },
    /// List the keys; none is shown
    #[command(after_help = "Examples:\n  graphgate keys list -o table")]
    List,
    /// End a key for good
    #[command(after_help = "Examples:\n  graphgate keys revoke 1a2b3c4d")]
    Revoke {
        /// The id, as `keys list` shows it
        id: String,
    },
}

/// The key to make.
#[derive(Debug, clap::Args)]
pub struct KeyOptions {
    /// What the key is called
    name: String,
    /// A key that signs requests and never travels
    #[arg(long)]
    signing: bool,
    /// Only these toolsets
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    toolsets: Option<Vec<String>>,
    /// Only what changes nothing
    #[arg(long)]
    read_only: bool,
    /// Metrics, token status and the audit log too
    #[arg(long)]
    operator: bool,
    /// Only these plans, by id (and those of --group)
    #[arg(long = "plan", value_name = "ID")]
    plans: Vec<String>,
    /// Only the plans of these groups, by id (and those of --plan)
    #[arg(long = "group", value_name = "ID")]
    groups: Vec<String>,
    /// Days the key lives; for ever without
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
}

impl KeyOptions {
    fn role(&self) -> Result<Role, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::invalid(error.to_string());
        config::check_toolsets(self.toolsets.iter().flatten()).map_err(|error| wrong(&error))?;
        Ok(Role {
            toolsets: self.toolsets.as_ref().map(|names| names.iter().cloned().collect()),
            read_only: self.read_only,
            operator: self.operator,
            plans: self.plans.iter().map(|id| PlanId::parse(id)).collect::<Result<_, _>>().map_err(|e| wrong(&e))?,
            groups: self.groups.iter().map(|id| GroupId::parse(id)).collect::<Result<_, _>>().map_err(|e| wrong(&e))?,
        })
    }
}

/// Runs the command.
///
/// # Errors
/// When a setting cannot be used, the store does not answer, or there is no such key.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let (verb, bench) = arguments.begin()?;
    if let Verb::Init | Verb::Rotate = verb {
        return ring(&verb, &bench).await;
    }
    let config = bench.settings().await?;
    let keys = app::api_keys(&config, &bench.clock, &bench.entropy).await?;
    let audit = app::audit(&config, &bench.clock, &bench.entropy).await?;
    let now = bench.clock.now();
    match verb {
        Verb::Init | Verb::Rotate => Ok(()),
        Verb::List => {
            let rows: Vec<Value> = keys.list().await?.iter().map(|key| shown(key, now)).collect();
            bench.output.print(&json!({ "keys": rows }))
        }
        Verb::Create(options) => {
            let role = options.role()?;
            let end = options.days.map(|days| now + TimeDelta::days(i64::from(days)));
            let noted = begin(&audit, "keys create");
            let key = NewKey { name: options.name, role, expires_at: end, acts_for: None };
            let caller = noted.of(Caller::local());
            let made = if options.signing {
                let keyring = app::keyring(&config, &bench.clock, &bench.entropy).await?;
                keys.create_signing(&caller, &bench.entropy, &keyring, key).await
            } else {
                keys.create(&caller, &bench.entropy, key).await.map_err(KeyError::from)
            };
            finish(&bench, audit, noted, made.is_ok()).await;
            let made = made?;
            if !config.auth.asks() {
                note("a server with these settings asks nobody for a key; `REQUIRE_API_KEY=true` makes it");
            }
            bench.output.print(&shown_once(made, now))
        }
        Verb::Renew { id } => {
            let keyring = app::keyring(&config, &bench.clock, &bench.entropy).await?;
            let noted = begin(&audit, "keys renew");
            let made = keys.renew(&noted.of(Caller::local()), &bench.entropy, &keyring, &id).await;
            finish(&bench, audit, noted, matches!(made, Ok(Some(_)))).await;
            let made = made?.ok_or_else(|| {
                Failure::coded(ErrorCode::NotFound, format!("there is no signing key `{id}` that is active"))
                    .hint("`graphgate keys list` shows the ids")
            })?;
            note("the key before stays good beside it; renew once more to end that one");
            bench.output.print(&shown_once(made, now))
        }
        Verb::Revoke { id } => {
            let noted = begin(&audit, "keys revoke");
            let ended = keys.revoke(&noted.of(Caller::local()), &id).await;
            finish(&bench, audit, noted, matches!(ended, Ok(Some(_)))).await;
            match ended? {
                Some(row) => bench.output.print(&shown(&row, now)),
                None => Err(Failure::coded(ErrorCode::NotFound, format!("there is no key `{id}`"))
                    .hint("`graphgate keys list` shows the ids")
                    .into()),
            }
        }
    }
}

/// Begins an operation of the person at this machine.
fn begin((audit, _): &(Audit, Writer), name: &str) -> Noted {
    let caller = Caller::local();
    let name = name.to_owned();
    audit.begin(&Operation { caller: &caller, name, writes: true, arguments: None, ids: Vec::new() })
}

/// Writes an operation down before the process ends.
async fn finish(bench: &Bench, (audit, writer): (Audit, Writer), noted: Noted, fine: bool) {
    let outcome = if fine { "ok" } else { ErrorCode::NotFound.as_str() };
    let record = async {
        audit.record(noted, outcome, Duration::ZERO).await;
        drop(audit);
    };
    let _ = bench.clock.timeout(PATIENCE, async { tokio::join!(record, writer.run()) }).await;
}

/// Makes or rotates the keyring where secrets are kept.
async fn ring(verb: &Verb, bench: &Bench) -> anyhow::Result<()> {
    let Bench { output, clock, entropy } = bench;
    let (version, made) = match verb {
        Verb::Rotate => (app::secrets::rotate(&config::environment, clock, entropy).await?, true),
        _ => app::secrets::init(&config::environment, clock, entropy).await?,
    };
    if !made {
        note("there is a keyring already; it stays as it is");
    }
    output.print(&json!({ "keyring": app::secrets::KEYRING, "version": version, "changed": made }))
}

/// A key with its text.
fn shown_once((text, row): (String, KeyRow), now: DateTime<Utc>) -> Value {
    note("keep the key: it cannot be shown again");
    let mut row = shown(&row, now);
    if let Value::Object(row) = &mut row {
        row.insert("key".into(), text.into());
    }
    row
}

fn shown(key: &KeyRow, now: DateTime<Utc>) -> Value {
    let all = |names: Vec<String>| if names.is_empty() { json!("all") } else { json!(names) };
    let role = &key.role;
    json!({
        "id": key.id,
        "name": key.name,
        "state": key.state(now),
        "kind": if key.signs() { "signing" } else { "sent" },
        "acts_for": key.acts_for.as_ref().map(|of| of.person.as_str()),
        "toolsets": role.toolsets.as_ref().map_or_else(|| json!("all"), |names| json!(names)),
        "mode": if role.read_only { "read" } else { "write" },
        "operator": role.operator,
        "plans": all(role.plans.iter().map(ToString::to_string).collect()),
        "groups": all(role.groups.iter().map(ToString::to_string).collect()),
        "created": key.created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "expires": key.expires_at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
    })
}
