//! `graphgate doctor`: checks everything a deployment rests on and says what is missing and how to fix it.
//!
//! Each check is independent, so that one report names every problem. Nothing is changed, but for one row that is
//! written to the store and removed.

mod names;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Serialize;
use url::Url;

use super::watch::post_self_test;
use super::{Infrastructure, secrets};
use crate::azure::credential::PUBLIC_AUTHORITY;
use crate::azure::{Token, TokenProvider};
use crate::clock::Clock;
use crate::config::{self, Config, Lookup, Problems};
use crate::graph::{self, Call, Identity};
use crate::http_client::redact;
use crate::ids::Entropy;
use crate::mcp::permissions;
use crate::rows::{Expect, Write};
use crate::services::planner::OUTBOX;
use crate::store;

/// How long one check over the network may take.
const LIMIT: Duration = Duration::from_secs(15);
/// A key with fewer characters may be guessed.
const SHORTEST_KEY: usize = 20;
/// Clocks that differ more than this make tokens invalid on their way.
const SKEW: chrono::TimeDelta = chrono::TimeDelta::seconds(60);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// As it should be.
    Ok,
    /// Not checked, because something before it failed or it is not set up.
    Skipped,
    /// It works, but somebody should know.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was checked.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub check: &'static str,
    /// How it is.
    pub status: Finding,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Check {
    fn new(check: &'static str, status: Finding, found: impl Into<String>) -> Self {
        Self { check, status, found: found.into(), hint: None }
    }

    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Finding::Ok, found)
    }

    fn failed(check: &'static str, found: impl Into<String>, hint: &str) -> Self {
        Self::new(check, Finding::Failed, found).hint(hint)
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Checks everything. `change` may alter the settings before they are used.
pub async fn examine(
    lookup: Lookup<'_>,
    clock: &Clock,
    entropy: &Entropy,
    change: impl FnOnce(&mut Config),
) -> Vec<Check> {
    let mut checks = vec![Check::ok("version", env!("CARGO_PKG_VERSION"))];
    let mut config = match secrets::settings(lookup, clock, entropy).await {
        Ok(config) => config,
        Err(error) => {
            let problems = match error.downcast::<Problems>() {
                Ok(problems) => problems.0,
                Err(error) => vec![redact::chain(error.as_ref())],
            };
            let hint = "docs/settings.md lists every setting";
            checks.extend(problems.into_iter().map(|problem| Check::failed("settings", problem, hint)));
            return checks;
        }
    };
    change(&mut config);
    checks.push(match config::doubtful_names().as_slice() {
        [] => Check::ok("settings", "all can be used"),
        doubtful => Check::new("settings", Finding::Warning, doubtful.join("; "))
            .hint("rename them, if they are meant for this program"),
    });
    checks.push(callers(&config));
    checks.push(plan_scope(&config));
    let infrastructure = match Infrastructure::lay(&config, clock, entropy).await {
        Ok(infrastructure) => infrastructure,
        Err(error) => {
            let hint = "check the storage account or the data folder, and that the identity may use it";
            checks.push(Check::failed("store", redact::chain(error.as_ref()), hint));
            return checks;
        }
    };
    checks.push(rows(&infrastructure, &config, clock).await);
    checks.push(queue(&infrastructure, &config).await);
    checks.push(time(&infrastructure, &config, clock).await);
    let graph = graph::Client::new(
        infrastructure.http.clone(),
        infrastructure.credential.clone(),
        config.graph_url.clone(),
        clock.clone(),
    );
    match infrastructure.credential.token(graph.scope()).await {
        Ok(token) => {
            let kind = infrastructure.credential.kind();
            checks.push(Check::ok(
                "credential",
                format!("{kind}: a token until {}", token.expires_at.format("%H:%M UTC")),
            ));
            checks.push(granted(&token, &config));
            checks.push(directory(&graph).await);
            checks.extend(names::default_plan(&graph, &config).await);
            checks.extend(names::watched(&graph, &config).await);
        }
        Err(error) => {
            let hint = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret, certificate or identity; `AADSTS…` codes are explained at https://login.microsoftonline.com/error";
            checks.push(Check::failed("credential", error.to_string(), hint));
            for check in ["permissions", "graph"] {
                checks.push(Check::new(check, Finding::Skipped, "without a token nothing can be asked"));
            }
        }
    }
    checks.push(vault(&infrastructure, &config).await);
    checks.push(webhook(&infrastructure, &config).await);
    checks
}

/// Who is asked who they are.
fn callers(config: &Config) -> Check {
    let ways = config.auth.ways();
    if ways.is_empty() {
        let check = Check::new("callers", Finding::Warning, "nobody is asked who they are");
        return check
            .hint("set `ENTRA_AUDIENCE`, `GRAPHGATE_API_KEY` or `REQUIRE_API_KEY` before others can reach the server");
    }
    if config.auth.key.as_ref().is_some_and(|key| key.expose().len() < SHORTEST_KEY) {
        let found = format!("{}; `GRAPHGATE_API_KEY` has fewer than {SHORTEST_KEY} characters", ways.join(", "));
        return Check::new("callers", Finding::Warning, found)
            .hint("a longer one cannot be guessed: `openssl rand -hex 32`");
    }
    Check::ok("callers", ways.join(", "))
}

/// Which plans may be touched at all, and which roles narrow that.
fn plan_scope(config: &Config) -> Check {
    let scope = &config.planner.scope;
    let count = |what: &str, count: usize| if count == 0 { format!("all {what}") } else { format!("{count} {what}") };
    let mut found = format!("{} of {}", count("plans", scope.plans.len()), count("groups", scope.groups.len()));
    let narrowed = config.auth.roles.narrowed();
    if !narrowed.is_empty() {
        found.push_str(&format!("; narrowed for the roles {}", narrowed.join(", ")));
    }
    if config.auth.entra.is_some() || config.auth.easy_auth {
        found.push_str("; people see the plans of their own groups");
    }
    Check::ok("plan scope", found)
}

/// Writes a row, reads it and removes it.
async fn rows(infrastructure: &Infrastructure, config: &Config, clock: &Clock) -> Check {
    let rows = infrastructure.tables.partition("doctor");
    let key = "row";
    let started_at = clock.now();
    let trial = async {
        rows.commit(vec![Write::upsert(key, &"alive")?]).await?;
        let read = rows.get(key).await?;
        rows.commit(vec![Write::delete(key, Expect::Anything)]).await?;
        Ok::<_, crate::rows::StoreError>(read.is_some())
    };
    let place = match &config.store {
        store::Config::Memory => "memory, gone when the process ends",
        store::Config::Folder(_) => "a folder",
        store::Config::Azure(_) => "Table Storage",
    };
    let written = trial.await;
    let took = (clock.now() - started_at).num_milliseconds();
    if let (Ok(true), Err(error)) = (&written, infrastructure.tables.tables().verify().await) {
        return Check::failed("store", format!("{place}: {error}"), "the server serves what can still be read");
    }
    match written {
        Ok(true) => Check::ok("store", format!("{place}: written and read in {took} ms")),
        Ok(false) => {
            Check::failed("store", format!("{place}: a row that was written is not there"), "check the storage account")
        }
        Err(error) => Check::failed(
            "store",
            format!("{place}: {error}"),
            "give the identity the role `Storage Table Data Contributor`, or make the folder writable",
        ),
    }
}

async fn queue(infrastructure: &Infrastructure, config: &Config) -> Check {
    let opened =
        store::open_queue(&config.queues, OUTBOX, infrastructure.tables.tables(), infrastructure.connector.clone())
            .await;
    let hint = "give the identity the role `Storage Queue Data Contributor`";
    let state = match opened {
        Ok(queue) => queue.state().await,
        Err(error) => Err(error),
    };
    match state {
        Ok(state) if state.poisoned > 0 => {
            let found = format!("{} waiting, {} given up on", state.waiting, state.poisoned);
            Check::new("queue", Finding::Warning, found)
                .hint("the log says why; mend it, then `graphgate queue redrive` tries them again")
        }
        Ok(state) => Check::ok("queue", format!("{} waiting", state.waiting)),
        Err(error) => Check::failed("queue", error.to_string(), hint),
    }
}

/// Whether secrets can be had, and the keyring is among them.
async fn vault(infrastructure: &Infrastructure, config: &Config) -> Check {
    let Some(place) = &infrastructure.secrets else {
        return Check::new(
            "vault",
            Finding::Skipped,
            "neither `KEY_VAULT_URL` nor `SECRETS_DIR` is set; the keyring is in the store",
        );
    };
    let hint = "give the identity the role `Key Vault Secrets User`; `graphgate keys init` makes the keyring";
    let ring = secrets::keyring(Some(place), &infrastructure.tables, &infrastructure.connector.entropy);
    match ring.await {
        Ok(_) => {
            Check::ok("vault", format!("the keyring is there; {} settings refer to secrets", config.references.len()))
        }
        Err(error) => Check::failed("vault", error.to_string(), hint),
    }
}

/// Compares our clock with the sign-in service's.
async fn time(infrastructure: &Infrastructure, config: &Config, clock: &Clock) -> Check {
    let hint = "let the machine keep its time by NTP: tokens are refused by clocks that differ";
    let authority = match (&config.loopback_authority, &config.authority) {
        (Some(loopback), _) => loopback.to_string(),
        (None, Some(authority)) => authority.clone(),
        (None, None) => PUBLIC_AUTHORITY.to_owned(),
    };
    let address =
        format!("{}/{}/v2.0/.well-known/openid-configuration", authority.trim_end_matches('/'), config.tenant);
    let Ok(url) = Url::parse(&address) else {
        return Check::failed("clock", "the sign-in service has no address", "correct `AZURE_AUTHORITY_HOST`");
    };
    let asked = infrastructure.http.reqwest_client(&url).get(url).send();
    let answer = match clock.timeout(LIMIT, asked).await {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => {
            return Check::failed(
                "clock",
                format!("the sign-in service cannot be reached: {}", redact::transport(error)),
                "allow https to it",
            );
        }
        None => return Check::failed("clock", "the sign-in service does not answer", "allow https to it"),
    };
    let theirs =
        answer.headers().get(http::header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let Some(theirs) = theirs.map(DateTime::<Utc>::from) else {
        return Check::new("clock", Finding::Skipped, "the sign-in service does not say what time it is");
    };
    let apart = clock.now() - theirs;
    let found = format!("{} s from the sign-in service's", apart.num_seconds());
    if apart.abs() > SKEW { Check::failed("clock", found, hint) } else { Check::ok("clock", found) }
}

/// Compares the permissions in the token with those the offered tools need.
fn granted(token: &Token, config: &Config) -> Check {
    let held = roles_of(token.secret.expose());
    let needed = permissions::needed(&config.mcp.offer, &config.subscriptions.specs);
    let lacks =
        |needed: &&permissions::Needed| !held.iter().any(|held| permissions::satisfies(held, needed.permission));
    let missing: Vec<&str> = needed.iter().filter(lacks).map(|needed| needed.permission).collect();
    if !missing.is_empty() {
        let hint = "an administrator grants them: `scripts/grant-graph-permissions.sh`, or the application's page in Entra; new tokens have them within minutes, those of a managed identity within a day";
        return Check::failed("permissions", format!("missing: {}", missing.join(", ")), hint);
    }
    if needed.is_empty() {
        return Check::new("permissions", Finding::Warning, "none is needed: no tool is offered")
            .hint("`ENABLED_TOOLSETS` and `ENABLED_TOOLS` together leave nothing over");
    }
    let spare: Vec<&str> = held
        .iter()
        .map(String::as_str)
        .filter(|held| !needed.iter().any(|needed| permissions::satisfies(held, needed.permission)))
        .collect();
    let found = needed.iter().map(|needed| needed.permission).collect::<Vec<_>>().join(", ");
    if spare.is_empty() {
        return Check::ok("permissions", found);
    }
    Check::new("permissions", Finding::Warning, format!("{found}; granted but not needed: {}", spare.join(", ")))
        .hint("what is not granted cannot be misused: revoke them, unless something else needs them")
}

/// The permissions in a token of ours, for an application or for a person at a developer's machine.
fn roles_of(token: &str) -> Vec<String> {
    #[derive(serde::Deserialize, Default)]
    struct Claims {
        #[serde(default)]
        roles: Vec<String>,
        #[serde(default)]
        scp: String,
    }
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
    let Claims { mut roles, scp } = serde_json::from_slice(&claims).unwrap_or_default();
    roles.extend(
        scp.split_whitespace()
            .map(|scope| if scope.contains(".All") { scope.to_owned() } else { format!("{scope}.All") }),
    );
    roles
}

async fn directory(graph: &graph::Client) -> Check {
    match graph.list_groups(&Call::interactive(Identity::Application)).await {
        Ok(groups) if groups.is_empty() => {
            Check::new("graph", Finding::Warning, "the tenant has no Microsoft 365 groups")
                .hint("plans belong to groups: without one there is no plan to work on")
        }
        Ok(groups) => Check::ok("graph", format!("{} groups", groups.len())),
        Err(error) => Check::failed("graph", error.to_string(), "check `GRAPH_BASE_URL` and the permissions"),
    }
}

/// Greets our own webhook from outside, as Microsoft Graph does before it creates a subscription.
async fn webhook(infrastructure: &Infrastructure, config: &Config) -> Check {
    let Some(base) = &config.auth.public_url else {
        return Check::new("webhook", Finding::Skipped, "no `PUBLIC_URL`: Microsoft Graph cannot reach this server");
    };
    let hint = "Microsoft Graph must reach this address without a key, from the internet";
    let address = format!("{}/api/graph_webhook?validationToken=graphgate-doctor", base.as_str().trim_end_matches('/'));
    let Ok(url) = Url::parse(&address) else {
        return Check::failed("webhook", "the address cannot be formed", "correct `PUBLIC_URL`");
    };
    let shown = redact::url(&url);
    let post = post_self_test(&infrastructure.http);
    match infrastructure.http.clock().timeout(LIMIT, post(url, String::new())).await {
        None => Check::failed("webhook", format!("`{shown}` does not answer"), hint),
        Some(Err(why)) => Check::failed("webhook", format!("`{shown}`: {why}"), hint),
        Some(Ok((StatusCode::OK, text))) if text == "graphgate-doctor" => {
            Check::ok("webhook", format!("`{shown}` answers as Microsoft Graph expects"))
        }
        Some(Ok((status, _))) => {
            let status = status.as_u16();
            Check::failed("webhook", format!("`{shown}` answered {status} and not the token"), hint)
        }
    }
}
