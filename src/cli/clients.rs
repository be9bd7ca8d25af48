//! Clients of the authorization server: `graphgate clients create|list|rotate|pause|resume|remove`.
//!
//! They are kept in the deployment's own store, which this command opens with the server's settings; a running server
//! sees a change within half a minute.

use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::note;
use super::own;
use crate::app;
use crate::auth::Role;
use crate::auth::authorization_server::OAuthError;
use crate::auth::authorization_server::clients::{Client, Pause};
use crate::config;
use crate::error::ErrorCode;
use crate::ids::UserId;

/// `graphgate clients`.
pub type Args = own::Args<Verb>;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a client for a backend; its secret is shown this once
    #[command(
        after_help = "Examples:\n  graphgate clients create crm --redirect-uri https://crm.contoso.com/oauth/callback\n  graphgate clients create nightly --toolsets planner,reports --read-only"
    )]
    Create(ClientOptions),
    /// List the clients that are kept here; no secret is shown
    #[command(after_help = "Examples:\n  graphgate clients list -o table")]
    List,
    /// Add a secret to a client; the one before stays valid until the next time
    #[command(after_help = "Examples:\n  graphgate clients rotate crm")]
    Rotate {
        /// The client's id
        id: String,
    },
    /// Answer a client's calls with "later" for a while: everybody's, or some people's; nothing that is kept is lost
    #[command(
        after_help = "Examples:\n  graphgate clients pause crm\n  graphgate clients pause crm --people ada@contoso.com"
    )]
    Pause(PauseOptions),
    /// Answer a client's calls again
    #[command(
        after_help = "Examples:\n  graphgate clients resume crm --people ada@contoso.com\n  graphgate clients resume crm"
    )]
    Resume(PauseOptions),
    /// Forget a client; its tokens end within half a minute
    #[command(after_help = "Examples:\n  graphgate clients remove crm")]
    Remove {
        /// The client's id
        id: String,
    },
}

/// The client to make.
#[derive(Debug, clap::Args)]
pub struct ClientOptions {
    /// What the client is called; its id too
    name: String,
    /// Where people are sent back to after they have signed in (may be repeated)
    #[arg(long = "redirect-uri", value_name = "ADDRESS")]
    redirect_uris: Vec<String>,
    /// What it may do as itself, without a person: these toolsets
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    toolsets: Option<Vec<String>>,
    /// As itself only what changes nothing
    #[arg(long, requires = "toolsets")]
    read_only: bool,
}

/// Which client, and whose calls.
#[derive(Debug, clap::Args)]
pub struct PauseOptions {
    /// The client's id
    id: String,
    /// Only these people's calls, by sign-in name or id
    #[arg(long, value_name = "WHO,…", value_delimiter = ',')]
    people: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When a setting cannot be used, the store does not answer, or there is no such client.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let (verb, bench) = arguments.begin()?;
    let config = bench.settings().await?;
    let server = app::authorization_server(&config, &bench.clock, &bench.entropy).await?;
    let clients = server.clients();
    match verb {
        Verb::List => {
            let rows: Vec<Value> = clients.list().await?.iter().map(shown).collect();
            bench.output.print(&json!({ "clients": rows }))
        }
        Verb::Create(ClientOptions { name, redirect_uris, toolsets, read_only }) => {
            config::check_toolsets(toolsets.iter().flatten()).map_err(Failure::invalid)?;
            let role = toolsets.map(|names| Role {
                toolsets: Some(names.into_iter().collect()),
                read_only,
                ..Role::default()
            });
            if redirect_uris.is_empty() && role.is_none() {
                let error = Failure::invalid("the client could do nothing".to_owned());
                return Err(error.hint("give --redirect-uri for people, or --toolsets for the client itself").into());
            }
            let (client, secret) = clients.create(&name, redirect_uris, role).await.map_err(failure)?;
            note("keep the secret: it cannot be shown again");
            bench.output.print(&with_secret(shown(&client), secret))
        }
        Verb::Rotate { id } => match clients.rotate(&id).await.map_err(failure)? {
            Some(secret) => {
                note("keep the secret: it cannot be shown again");
                bench.output.print(&with_secret(json!({ "id": id }), secret))
            }
            None => Err(unknown(&id)),
        },
        Verb::Pause(PauseOptions { id, people }) => {
            let people = people_of(&server, &people).await?;
            let changed = clients.change(&id, |client| {
                let pause = client.pause.get_or_insert_default();
                pause.everybody |= people.is_empty();
                pause.people.extend(people.iter().cloned());
            });
            let client = changed.await.map_err(failure)?.ok_or_else(|| unknown(&id))?;
            bench.output.print(&shown(&client))
        }
        Verb::Resume(PauseOptions { id, people }) => {
            let people = people_of(&server, &people).await?;
            let changed = clients.change(&id, |client| {
                if people.is_empty() {
                    client.pause = None;
                } else if let Some(pause) = &mut client.pause {
                    pause.people.retain(|person| !people.contains(person));
                    if *pause == Pause::default() {
                        client.pause = None;
                    }
                }
            });
            let client = changed.await.map_err(failure)?.ok_or_else(|| unknown(&id))?;
            bench.output.print(&shown(&client))
        }
        Verb::Remove { id } => {
            if !server.remove_client(&id).await.map_err(failure)? {
                return Err(unknown(&id));
            }
            bench.output.print(&json!({ "id": id, "removed": true }))
        }
    }
}

/// People by sign-in name or id.
async fn people_of(server: &crate::auth::AuthorizationServer, named: &[String]) -> anyhow::Result<Vec<UserId>> {
    let mut people = Vec::new();
    for text in named {
        if let Ok(id) = UserId::parse(text) {
            people.push(id);
            continue;
        }
        let accounts = server.accounts().list().await?;
        let account = accounts.into_iter().find(|account| account.upn.eq_ignore_ascii_case(text));
        let missing = || Failure::coded(ErrorCode::UserNotFound, format!("nobody is connected as `{text}`"));
        people.push(account.ok_or_else(|| missing().hint("`graphgate accounts list` shows who is"))?.person);
    }
    Ok(people)
}

fn unknown(id: &str) -> anyhow::Error {
    Failure::coded(ErrorCode::NotFound, format!("there is no client `{id}`"))
        .hint("`graphgate clients list` shows the ids")
        .into()
}

fn failure(error: OAuthError) -> Failure {
    Failure::invalid(error.error_description)
}

fn with_secret(mut shown: Value, secret: String) -> Value {
    if let Value::Object(row) = &mut shown {
        row.insert("secret".into(), secret.into());
    }
    shown
}

fn shown(client: &Client) -> Value {
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let paused = match &client.pause {
        None => json!("no"),
        Some(Pause { everybody: true, .. }) => json!("everybody"),
        Some(Pause { people, .. }) => json!(people.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    json!({
        "id": client.id,
        "name": client.name,
        "origin": client.origin,
        "redirect_uris": client.redirect_uris,
        "secrets": client.secrets.len(),
        "acts_as_itself": client.role.is_some(),
        "paused": paused,
        "created": time(client.created_at),
        "expires": client.expires_at.map(time),
    })
}
