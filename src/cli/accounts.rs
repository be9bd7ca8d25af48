//! Connected accounts: `graphgate accounts list|disconnect`, for who runs the deployment. No token is ever shown.

use clap::Subcommand;
use serde_json::{Value, json};

use super::failure::Failure;
use super::own;
use crate::app;
use crate::auth::authorization_server::authorizations::{Ending, Of};
use crate::error::ErrorCode;

/// `graphgate accounts`.
pub type Args = own::Args<Verb>;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the people who are connected: since when, last refreshed, which clients, what is wrong
    #[command(after_help = "Examples:\n  graphgate accounts list -o table")]
    List,
    /// Disconnect a person: tokens of all clients end within half a minute, and Microsoft's are forgotten
    #[command(after_help = "Examples:\n  graphgate accounts disconnect ada@contoso.com")]
    Disconnect {
        /// The person, by sign-in name or id
        who: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When a setting cannot be used, the store does not answer, or nobody of that name is connected.
pub async fn run(arguments: Args) -> anyhow::Result<()> {
    let (verb, bench) = arguments.begin()?;
    let config = bench.settings().await?;
    let server = app::authorization_server(&config, &bench.clock, &bench.entropy).await?;
    let accounts = server.accounts().list().await?;
    match verb {
        Verb::List => {
            let authorizations = server.authorizations().list(Of::All).await?;
            let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            let shown = |account: &crate::auth::delegated::accounts::Account| {
                let own = authorizations.iter().filter(|one| one.person.as_ref() == Some(&account.person));
                json!({
                    "id": account.person.to_string(),
                    "name": account.name,
                    "upn": account.upn,
                    "connected": time(account.connected_at),
                    "refreshed": time(account.refreshed_at),
                    "clients": own.map(|one| one.client_name.as_str()).collect::<Vec<_>>(),
                    "trouble": account.trouble.as_ref().map(|trouble| trouble.reason.as_str()),
                })
            };
            let rows: Vec<Value> = accounts.iter().map(shown).collect();
            bench.output.print(&json!({ "accounts": rows }))
        }
        Verb::Disconnect { who } => {
            let is_meant = |account: &&crate::auth::delegated::accounts::Account| {
                account.upn.eq_ignore_ascii_case(&who) || account.person.as_str().eq_ignore_ascii_case(&who)
            };
            let Some(account) = accounts.iter().find(is_meant) else {
                let error = Failure::coded(ErrorCode::UserNotFound, format!("nobody is connected as `{who}`"));
                return Err(error.hint("`graphgate accounts list` shows who is").into());
            };
            server.disconnect(&account.person, Ending::Administrator).await?;
            bench.output.print(&json!({ "id": account.person.to_string(), "upn": account.upn, "disconnected": true }))
        }
    }
}
