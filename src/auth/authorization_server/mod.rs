//! The authorization server: any client signs people in by the server's address alone (OAuth 2.1).
//!
//! ```text
//! client ─► authorize ─► our page asks the person: this client, these tools? ─► Entra signs the person in ─► callback
//!                                                                                                              │
//! client ◄─ access and refresh token of GraphGate ◄─ token ◄─ client, with the code ◄──────────────────────────┘
//! ```
//!
//! Entra knows nothing of the client: it has no dynamic registration and refuses the `resource` that clients send. So the
//! deployment's one application signs everybody in, and the person consents to each client on our own page before Entra is
//! called at all, or a client could ride on a sign-in it was never given (the confused deputy). Tokens of Microsoft Graph
//! stay in the [connected account](super::delegated); a client holds tokens of GraphGate, for GraphGate. Long because all of it
//! is built here.
//!
//! | file | what |
//! |---|---|
//! | `clients` | who asks: documents, registrations, backends |
//! | `redirect`, `request`, `scopes` | what may be asked, as pure functions |
//! | `proof` | how a client proves itself |
//! | `authorizations` | what was given, and its tokens |
//! | `sign_in` | from consent over Entra to the code |
//! | `exchange` | from the code, or a refresh token, to tokens |

pub mod authorizations;
pub mod clients;
mod error;
mod exchange;
mod proof;
mod redirect;
mod request;
pub mod scopes;
mod sign_in;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use url::Url;

pub use error::OAuthError;
pub use exchange::TokenAnswer;
pub use proof::Form;
pub use redirect::as_source;
pub use request::{Refusal, fields};
pub use sign_in::{Consent, Landed, Page, Session};

use self::authorizations::{Authorization, Authorizations, Closed, Ending, Of};
use self::clients::{Client, Clients};
use self::scopes::Scopes;
use super::Caller;
use super::delegated::accounts::{AccountError, Accounts};
use super::delegated::microsoft::{self, Microsoft};
use super::delegated::on_behalf_of::{Again, OnBehalfOf};
use super::rate::Rate;
use super::roles::Roles;
use crate::azure::ClientProof;
use crate::clock::Clock;
use crate::graph::{Identity, Person};
use crate::http_client::HttpClient;
use crate::http_client::outbound::Outbound;
use crate::ids::{Entropy, UserId};
use crate::keyring::Keyring;
use crate::rows::{Partition, StoreError, TenantTables, Write};

/// Sign-ins that may begin in a minute.
const SIGN_INS: u32 = 600;

/// Permissions of Microsoft Graph that a toolset needs as a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// For tools that change nothing.
    pub read: Vec<String>,
    /// For all its tools; `None` where none of them writes.
    pub write: Option<Vec<String>>,
}

/// Settings of the authorization server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The address people and clients reach the server by.
    pub public_url: Url,
    /// The application people sign in to.
    pub microsoft: microsoft::Config,
    /// How long an access token lives.
    pub access_life: TimeDelta,
    /// How long an account, or an authorization, that nobody uses is kept.
    pub idle: TimeDelta,
    /// The toolsets of the deployment, with what they need as a person.
    pub toolsets: BTreeMap<String, Permissions>,
    /// The toolsets of a request that names none.
    pub default: Vec<String>,
    /// Addresses (`host:port`) on this machine where documents of clients may be: for tests.
    pub admitted: Vec<String>,
}

impl Config {
    /// The issuer: the address without a slash at its end.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.public_url.as_str().trim_end_matches('/').to_owned()
    }

    /// The address of a page or endpoint.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.issuer())
    }
}

/// The server. Cheap to clone.
#[derive(Clone)]
pub struct AuthorizationServer(Arc<Inner>);

struct Inner {
    config: Config,
    /// Codes, sign-ins under way, sessions of pages.
    rows: Partition,
    keyring: Keyring,
    clock: Clock,
    entropy: Entropy,
    clients: Clients,
    authorizations: Authorizations,
    accounts: Accounts,
    on_behalf_of: OnBehalfOf,
    offered: Scopes,
    default: Scopes,
    /// Sign-ins that begin, each a row of ten minutes: anybody can begin one.
    sign_ins: Rate,
}

impl AuthorizationServer {
    /// The server of a deployment; nothing is fetched yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        config: Config,
        proof: ClientProof,
        tables: &TenantTables,
        keyring: &Keyring,
        http: &HttpClient,
        entropy: &Entropy,
    ) -> Result<Self, crate::http_client::BuildError> {
        let (clock, rows) = (http.clock().clone(), tables.partition("sign-in"));
        let outbound = Outbound::new(config.admitted.clone())?;
        let microsoft = Arc::new(Microsoft::new(config.microsoft.clone(), proof, http.clone(), clock.clone()));
        let on_behalf_of = OnBehalfOf::new(microsoft.clone(), clock.clone());
        let page = config.address("pages/accounts");
        let accounts = Accounts::new(
            tables.partition("accounts"),
            keyring.clone(),
            microsoft,
            clock.clone(),
            entropy.clone(),
            page,
        );
        let authorizations = Authorizations::new(
            tables.partition("authorizations"),
            keyring.clone(),
            clock.clone(),
            entropy.clone(),
            config.address("mcp"),
            config.idle,
        );
        let clients = Clients::new(tables.partition("clients"), outbound, clock.clone(), entropy.clone());
        let offered =
            scopes::of_toolsets(config.toolsets.iter().map(|(name, needs)| (name.as_str(), needs.write.is_some())));
        let is_default = |scope: &&String| {
            scopes::parse(scope).is_some_and(|(name, _)| config.default.iter().any(|one| one == name))
        };
        let default = offered.iter().filter(is_default).cloned().collect();
        let (keyring, entropy) = (keyring.clone(), entropy.clone());
        Ok(Self(Arc::new(Inner {
            config,
            rows,
            keyring,
            clock,
            entropy,
            clients,
            authorizations,
            accounts,
            on_behalf_of,
            offered,
            default,
            sign_ins: Rate::per_minute(SIGN_INS),
        })))
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Its clients.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.0.clients
    }

    /// What people let clients do.
    #[must_use]
    pub fn authorizations(&self) -> &Authorizations {
        &self.0.authorizations
    }

    /// The connected accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// The scopes it gives.
    #[must_use]
    pub fn offered(&self) -> &Scopes {
        &self.0.offered
    }

    /// The scopes of a request that names none.
    #[must_use]
    pub fn default_scopes(&self) -> &Scopes {
        &self.0.default
    }

    /// Its metadata (RFC 8414).
    #[must_use]
    pub fn metadata(&self) -> Value {
        let config = &self.0.config;
        let methods = json!(["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]);
        json!({
            "issuer": config.issuer(),
            "authorization_endpoint": config.address("oauth/authorize"),
            "token_endpoint": config.address("oauth/token"),
            "registration_endpoint": config.address("oauth/register"),
            "revocation_endpoint": config.address("oauth/revoke"),
            "scopes_supported": self.0.offered,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA"],
            "revocation_endpoint_auth_methods_supported": methods,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
            "protected_resources": [config.address("mcp")],
        })
    }

    /// Who calls with an access token of ours.
    ///
    /// # Errors
    /// When it opens nothing.
    pub async fn identify(&self, token: &str, roles: &Roles) -> Result<Caller, Closed> {
        let access = self.0.authorizations.open(token).await?;
        let scopes = scopes::as_roles(&access.scopes);
        let caller = self.caller(&access.authorization, scopes, roles).await?;
        Ok(Caller { ends_at: Some(access.ends_at), ..caller })
    }

    /// The caller of an authorization now, with what is left of the scopes it called with (in the words of roles): for work
    /// that continues after the call.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn restore(&self, id: &str, scopes: &[String], roles: &Roles) -> Result<Caller, Closed> {
        let now = self.0.clock.now();
        let known = self.0.authorizations.believed(id).await?.filter(|authorization| authorization.holds(now));
        let authorization = known.ok_or(Closed::Refused("what it stands for has ended"))?;
        let held = scopes::as_roles(&authorization.scopes).into_iter().filter(|scope| scopes.contains(scope));
        self.caller(&authorization, held.collect(), roles).await
    }

    async fn caller(
        &self,
        authorization: &Authorization,
        scopes: Vec<String>,
        roles: &Roles,
    ) -> Result<Caller, Closed> {
        let client = self.kept_client(authorization).await?;
        if client.as_ref().is_some_and(|client| client.is_paused(authorization.person.as_ref())) {
            return Err(Closed::Paused);
        }
        let Some(person) = &authorization.person else {
            let role = client.as_ref().and_then(|client| client.role.clone());
            let role = role.ok_or(Closed::Refused("its client may do nothing as itself"))?;
            return Ok(Caller::client(&authorization.client_id, &authorization.id, &role));
        };
        let (caller, _) = self.connected(person, scopes, roles).await?;
        Ok(Caller { authorization: Some(authorization.id.clone()), ..caller })
    }

    /// As [`Self::connected`], for what is used without a sign-in in between, as a key: Entra is asked now and then whether
    /// the person may still sign in, so that who is disabled there ends here.
    ///
    /// # Errors
    /// As [`Self::connected`]; or when that cannot be found out for longer than a day.
    pub async fn confirmed(
        &self,
        person: &UserId,
        scopes: Vec<String>,
        roles: &Roles,
    ) -> Result<(Caller, DateTime<Utc>), Closed> {
        if let Some(account) = self.0.accounts.believed(person).await? {
            self.0.accounts.confirm_believed(&account).await.map_err(|error| match error {
                AccountError::Store(error) => Closed::Store(error),
                AccountError::NotConnected { .. } => Closed::Refused("the account is not connected any more"),
                AccountError::SignIn { .. } | AccountError::Keyring(_) => {
                    Closed::Refused("Microsoft asks the person to sign in again")
                }
                AccountError::Microsoft(error) => StoreError::Unavailable { reason: error.to_string() }.into(),
            })?;
        }
        self.connected(person, scopes, roles).await
    }

    /// A connected person as a caller within some scopes (in the words of roles), and since when the account is connected.
    ///
    /// # Errors
    /// When the account is not connected, or Microsoft asks for another sign-in.
    pub async fn connected(
        &self,
        person: &UserId,
        scopes: Vec<String>,
        roles: &Roles,
    ) -> Result<(Caller, DateTime<Utc>), Closed> {
        let account =
            self.0.accounts.believed(person).await?.ok_or(Closed::Refused("the account is not connected any more"))?;
        if account.trouble.is_some() {
            return Err(Closed::Refused("Microsoft asks the person to sign in again"));
        }
        let caller = roles.person(person.clone(), account.tenant.clone(), scopes, account.roles.clone());
        let tokens = self.0.accounts.provider(person);
        let identity = Identity::Person(Person { id: person.clone(), tokens });
        Ok((Caller { identity, ..caller }, account.connected_at))
    }

    /// As whom Microsoft Graph is called for a person who brings a checked token of Entra for the application people sign in
    /// to, which ends at `ends_at`.
    ///
    /// # Errors
    /// When Entra lets nobody act for the person by this token.
    pub async fn on_behalf_of(&self, person: &UserId, token: &str, ends_at: DateTime<Utc>) -> Result<Identity, Again> {
        let caller = self.0.on_behalf_of.caller(token, ends_at);
        caller.admit().await?;
        Ok(Identity::Person(Person { id: person.clone(), tokens: Arc::new(caller) }))
    }

    /// The client of an authorization, where it is kept here: a client that is a document may be out of reach.
    async fn kept_client(&self, authorization: &Authorization) -> Result<Option<Arc<Client>>, Closed> {
        if authorization.client_id.contains("://") {
            return Ok(None);
        }
        let gone = || Closed::Refused("its client is unknown here by now");
        let found = self.0.clients.find(&authorization.client_id).await;
        found
            .map_err(|_| StoreError::Unavailable { reason: "the clients cannot be read".to_owned() })?
            .ok_or_else(gone)
            .map(Some)
    }

    /// Forgets a client that is kept here, and ends all it was let do; answers whether there was one.
    ///
    /// # Errors
    /// When the store does not take it; what was ended by then stays so.
    pub async fn remove_client(&self, id: &str) -> Result<bool, OAuthError> {
        let existed = self.0.clients.remove(id).await?;
        self.0.authorizations.end_all(Of::Client(id), Ending::Administrator).await?;
        Ok(existed)
    }

    /// Disconnects a person: every client's tokens end, and Microsoft's are forgotten.
    ///
    /// # Errors
    /// When the store does not take it; what was ended by then stays so.
    pub async fn disconnect(&self, person: &UserId, why: Ending) -> Result<bool, StoreError> {
        // What is given meanwhile needs the account, and so is nothing; what was given before is listed now.
        let existed = self.0.accounts.disconnect(person).await?;
        self.0.authorizations.end_all(Of::Person(person), why).await?;
        Ok(existed)
    }

    /// Forgets what has passed: sign-ins nobody finished, codes, sessions, registrations and accounts nobody uses. Answers
    /// how many rows went.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        #[derive(serde::Deserialize)]
        struct Ends {
            expires_at: Option<DateTime<Utc>>,
            ended: Option<(DateTime<Utc>, Ending)>,
        }
        /// How long it is remembered that an authorization has ended.
        const REMEMBERED: TimeDelta = TimeDelta::days(30);
        let (now, inner) = (self.0.clock.now(), &*self.0);
        let mut swept = 0;
        for rows in [&inner.rows, inner.clients.rows(), inner.authorizations.rows()] {
            let (mut from, end) = (String::new(), crate::rows::prefix_end(""));
            loop {
                let page = rows.scan(&from, &end, 1000).await?;
                for row in page.rows {
                    let Ok(ends) = row.decode::<Ends>() else {
                        tracing::warn!(row = row.key, "a row of the authorization server cannot be read; it stays");
                        continue;
                    };
                    let ended = ends.ended.map(|(at, _)| at + REMEMBERED);
                    if [ends.expires_at, ended].into_iter().flatten().any(|end| end < now) {
                        let gone = Write::delete(row.key, crate::rows::Expect::Version(row.version));
                        match rows.commit(vec![gone]).await {
                            Err(error) if error.is_conflict() => {} // used just now
                            Err(error) => return Err(error),
                            Ok(_) => swept += 1,
                        }
                    }
                }
                match page.next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        for person in inner.accounts.unused(now - inner.config.idle).await? {
            self.disconnect(&person, Ending::Administrator).await?;
            swept += 1;
        }
        Ok(swept)
    }
}
