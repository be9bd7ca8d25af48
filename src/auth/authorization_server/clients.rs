//! Clients: programs that ask for tokens, each under an id.
//!
//! There are three kinds. A client may *be* a document: its id is the https address of its metadata (OAuth Client ID
//! Metadata Documents), fetched through the guard for outbound addresses and kept as long as its server allows. Older
//! clients register themselves (RFC 7591), and are forgotten when nobody has used them for a while. Backends are made by
//! an operator, have a secret or a key, and may have a role of their own. Long because all kinds are one client in the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::error::OAuthError;
use super::redirect;
use crate::auth::rate::Rate;
use crate::auth::roles::Role;
use crate::auth::secrets::{digest, random};
use crate::clock::Clock;
use crate::http_client::outbound::Outbound;
use crate::ids::{Entropy, UserId};
use crate::rows::{Expect, Partition, StoreError, Write};
use crate::text;

/// How long a client that registered itself is kept without being used.
const REGISTERED_DAYS: i64 = 90;
/// Registrations, and documents, in a minute: who asks for them is not known.
const PER_MINUTE: u32 = 600;
/// Documents of one host in a minute.
const PER_HOST: u32 = 30;
/// How long a document that was good holds while its server does not answer.
const LAST_RESORT: TimeDelta = TimeDelta::hours(24);
/// The largest metadata document, in bytes.
pub const MAX_DOCUMENT: usize = 32 * 1024;
/// How long a row is believed.
const LIFE: TimeDelta = TimeDelta::seconds(15);
/// How long a document is believed: at least and at most, if its server says something else, and where it says nothing.
const DOCUMENT_LIFE: (TimeDelta, TimeDelta, TimeDelta) =
    (TimeDelta::minutes(1), TimeDelta::hours(24), TimeDelta::hours(1));
/// How long a document that could not be had is not asked for again.
const FAILURE_LIFE: TimeDelta = TimeDelta::seconds(30);
/// Clients remembered.
const CAPACITY: usize = 1000;
/// Redirect addresses of a client.
const MAX_REDIRECTS: usize = 20;
/// The longest id, in bytes.
const MAX_ID: usize = 2048;
/// Characters of a client's name.
const MAX_NAME: usize = 80;

/// Where a client comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Its id is the address of its metadata.
    Document,
    /// It registered itself.
    Registered,
    /// An operator made it.
    Operator,
}

/// A secret of a client, by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret {
    /// SHA-256 in hex. The secret has 192 random bits: nothing slower is needed.
    pub digest: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A client for which nothing is done for a while: everybody's calls, or some people's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Everybody's.
    #[serde(default)]
    pub everybody: bool,
    /// These people's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub people: BTreeSet<UserId>,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// What people read: its own words, made harmless.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Where people may be sent back to.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// What proves it; two at most, so that one can be replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<ClientSecret>,
    /// Public keys (a JWK set) that prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,
    /// What it may do as itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it is forgotten, unless it is used before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// What is not done for it at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

impl Client {
    /// Whether it has to prove itself at the token endpoint.
    #[must_use]
    pub const fn is_confidential(&self) -> bool {
        !self.secrets.is_empty() || self.jwks.is_some()
    }

    /// Whether its calls for a person, or its own, rest at present.
    #[must_use]
    pub fn is_paused(&self, person: Option<&UserId>) -> bool {
        self.pause
            .as_ref()
            .is_some_and(|pause| pause.everybody || person.is_some_and(|person| pause.people.contains(person)))
    }

    /// The registered address that a request names.
    #[must_use]
    pub fn redirect(&self, requested: Option<&str>) -> Option<Url> {
        let text = match (requested, self.redirect_uris.as_slice()) {
            (Some(text), known) => known.iter().any(|known| redirect::matches(known, text)).then_some(text)?,
            (None, [only]) => only,
            (None, _) => return None,
        };
        redirect::check(text).ok()
    }
}

/// What a client says of itself: in its document, or when it registers (RFC 7591, section 2).
#[derive(Debug, Deserialize)]
pub struct Metadata {
    client_id: Option<String>,
    client_name: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    jwks: Option<Value>,
    client_secret: Option<Value>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
}

impl Metadata {
    /// The client it describes.
    ///
    /// # Errors
    /// With what cannot be so.
    fn client(self, id: String, origin: Origin, now: DateTime<Utc>) -> Result<Client, OAuthError> {
        let wrong = |what: String| Err(OAuthError::invalid_client_metadata(what));
        if self.client_secret.is_some() {
            return wrong("a client does not bring its own secret".into());
        }
        if self.redirect_uris.is_empty() || self.redirect_uris.len() > MAX_REDIRECTS {
            return Err(OAuthError::invalid_redirect_uri(format!("1 to {MAX_REDIRECTS} redirect_uris expected")));
        }
        for uri in &self.redirect_uris {
            redirect::check(uri)
                .map_err(|why| OAuthError::invalid_redirect_uri(format!("a redirect_uri is refused: {why}")))?;
        }
        let code = |listed: Option<Vec<String>>, needed: &str| {
            listed.is_none_or(|types| types.iter().any(|kind| kind == needed))
        };
        if !code(self.grant_types, "authorization_code") || !code(self.response_types, "code") {
            return wrong("only the authorization code is given here".into());
        }
        let jwks = match self.token_endpoint_auth_method.as_deref() {
            None | Some("none") => None,
            Some("private_key_jwt") if origin == Origin::Document => match self.jwks {
                Some(jwks) if jwks.get("keys").is_some_and(Value::is_array) => Some(jwks),
                _ => return wrong("private_key_jwt needs jwks in the document".into()),
            },
            // Most clients that register ask for a secret they can do without; they are told `none`, as RFC 7591 allows.
            Some(_) if origin == Origin::Registered => None,
            Some(_) => return wrong("token_endpoint_auth_method is none or private_key_jwt".into()),
        };
        let host = || Url::parse(&id).ok().and_then(|url| url.host_str().map(str::to_owned));
        let name = self.client_name.map(|name| name_of(&name)).filter(|name| !name.is_empty());
        let name = name.or_else(host).unwrap_or_else(|| "A client without a name".to_owned());
        let redirect_uris = self.redirect_uris;
        Ok(Client {
            id,
            name,
            origin,
            redirect_uris,
            secrets: Vec::new(),
            jwks,
            role: None,
            created_at: now,
            expires_at: None,
            pause: None,
        })
    }
}

/// A client's name as it is shown: one harmless line, not too long.
#[must_use]
pub fn name_of(text: &str) -> String {
    text::line(text).chars().take(MAX_NAME).collect::<String>().trim().to_owned()
}

type Known = HashMap<String, (Result<Option<Arc<Client>>, OAuthError>, DateTime<Utc>)>;

/// The clients of a deployment.
pub struct Clients {
    rows: Partition,
    outbound: Outbound,
    clock: Clock,
    entropy: Entropy,
    /// What was found under an id, and until when it is believed.
    known: Mutex<Known>,
    rate: Rate,
    host_rate: Rate,
}

impl Clients {
    /// The clients kept in a partition.
    #[must_use]
    pub fn new(rows: Partition, outbound: Outbound, clock: Clock, entropy: Entropy) -> Self {
        Self {
            rows,
            outbound,
            clock,
            entropy,
            known: Mutex::default(),
            rate: Rate::per_minute(PER_MINUTE),
            host_rate: Rate::per_minute(PER_HOST),
        }
    }

    /// The client of an id; `None` where there is none.
    ///
    /// # Errors
    /// When its document cannot be had or used, or the store does not answer.
    pub async fn find(&self, id: &str) -> Result<Option<Arc<Client>>, OAuthError> {
        if id.len() > MAX_ID {
            return Ok(None);
        }
        let now = self.clock.steady();
        if let Some((found, until)) = self.known.lock().get(id)
            && *until > now
        {
            return found.clone();
        }
        let (found, life) = if id.starts_with("https://") || id.starts_with("http://") {
            self.document(id).await?
        } else if is_id(id) {
            (Ok(self.row(id).await?.map(|(client, _)| Arc::new(client))), LIFE)
        } else {
            return Ok(None);
        };
        let mut known = self.known.lock();
        if known.len() >= CAPACITY && !known.contains_key(id) {
            known.retain(|_, (_, until)| *until > now);
            // A stranger who fills the memory has others forgotten sooner, and no more.
            let soonest = known.iter().min_by_key(|(_, (_, until))| *until).map(|(id, _)| id.clone());
            if let Some(soonest) = soonest.filter(|_| known.len() >= CAPACITY) {
                known.remove(&soonest);
            }
        }
        known.insert(id.to_owned(), (found.clone(), now + life));
        found
    }

    /// The client that a document describes, and how long it is believed. What is wrong with it is remembered too.
    async fn document(&self, id: &str) -> Result<(Result<Option<Arc<Client>>, OAuthError>, TimeDelta), OAuthError> {
        let invalid = |why: String| OAuthError::invalid_client(format!("the client's metadata cannot be used: {why}"));
        let Ok(url) = Url::parse(id) else { return Ok((Ok(None), FAILURE_LIFE)) };
        // The address is compared as text, so it has one spelling.
        if url.as_str() != id || url.path() == "/" || id.contains('#') {
            return Ok((Err(invalid("its id is not the address of a document".into())), FAILURE_LIFE));
        }
        self.outbound.check(&url).map_err(|why| invalid(why.to_string()))?;
        let (now, busy) = (self.clock.steady(), "too many clients were looked up; repeat the request in a minute");
        let host = url.host_str().unwrap_or_default();
        let taken = self.host_rate.take(host, now).and_then(|()| self.rate.take("documents", now));
        taken.map_err(|_| OAuthError::slow_down(busy))?;
        let document = match self.outbound.get(&url, MAX_DOCUMENT).await {
            Ok(document) => document,
            Err(why) => {
                // Why exactly is for our log: a stranger would learn of our network by it.
                tracing::info!(%why, "a client's metadata cannot be fetched");
                let last_good = self.known.lock().get(id).and_then(|(found, until)| {
                    let client = found.as_ref().ok()?.clone()?;
                    (*until + LAST_RESORT > now).then_some(client)
                });
                return match last_good {
                    Some(client) => Ok((Ok(Some(client)), FAILURE_LIFE)),
                    None => {
                        Err(OAuthError::temporarily_unavailable("the client's metadata cannot be fetched at present"))
                    }
                };
            }
        };
        let client = serde_json::from_slice::<Metadata>(&document.body)
            .map_err(|_| invalid("it is not the JSON of a client".into()))
            .and_then(|metadata| {
                if metadata.client_id.as_deref() != Some(id) {
                    return Err(invalid("its client_id is not its address".into()));
                }
                metadata
                    .client(id.to_owned(), Origin::Document, self.clock.now())
                    .map_err(|error| invalid(error.error_description))
            });
        let (least, most, usual) = DOCUMENT_LIFE;
        let life = document.max_age.and_then(|age| TimeDelta::from_std(age.min(Duration::from_hours(24))).ok());
        Ok((client.map(|client| Some(Arc::new(client))), life.unwrap_or(usual).clamp(least, most)))
    }

    /// Registers a client that asks for it (RFC 7591).
    ///
    /// # Errors
    /// When its metadata cannot be used, too many registered just now, or the store does not take it.
    pub async fn register(&self, metadata: Metadata) -> Result<Client, OAuthError> {
        self.rate
            .take("registrations", self.clock.steady())
            .map_err(|_| OAuthError::slow_down("too many clients registered; repeat the request in a minute"))?;
        let now = self.clock.now();
        let client = metadata.client(format!("client_{}", random(&self.entropy, 2)), Origin::Registered, now)?;
        let client = Client { expires_at: Some(now + TimeDelta::days(REGISTERED_DAYS)), ..client };
        self.rows.commit(vec![Write::insert(row_key(&client.id), &client)?]).await?;
        Ok(client)
    }

    /// Makes a backend's client and answers it with its secret, which cannot be shown a second time.
    ///
    /// # Errors
    /// When a redirect address cannot be one, the name is taken, or the store does not take it.
    pub async fn create(
        &self,
        name: &str,
        redirect_uris: Vec<String>,
        role: Option<Role>,
    ) -> Result<(Client, String), OAuthError> {
        for uri in &redirect_uris {
            redirect::check(uri).map_err(|why| OAuthError::invalid_redirect_uri(format!("{uri}: {why}")))?;
        }
        let name = name_of(name);
        if !is_name(&name) {
            return Err(OAuthError::invalid_client_metadata("a name of letters, digits, - and _ expected"));
        }
        let (now, secret) = (self.clock.now(), self.secret());
        let secrets = vec![ClientSecret { digest: digest(&secret), created_at: now }];
        let client = Client {
            id: name.clone(),
            name,
            origin: Origin::Operator,
            redirect_uris,
            secrets,
            jwks: None,
            role,
            created_at: now,
            expires_at: None,
            pause: None,
        };
        match self.rows.commit(vec![Write::insert(row_key(&client.id), &client)?]).await {
            Err(error) if error.is_conflict() => {
                Err(OAuthError::invalid_client_metadata("there is a client of that name already"))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok((client, secret)),
        }
    }

    /// Changes a client that is kept here; `None` where there is none.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn change(&self, id: &str, change: impl Fn(&mut Client)) -> Result<Option<Client>, OAuthError> {
        loop {
            let Some((mut client, version)) = self.row(id).await? else { return Ok(None) };
            change(&mut client);
            match self.rows.commit(vec![Write::replace(row_key(id), &version, &client)?]).await {
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    self.known.lock().remove(id);
                    return Ok(Some(client));
                }
            }
        }
    }

    /// Adds a secret to a client, in place of the older of two; answers it.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn rotate(&self, id: &str) -> Result<Option<String>, OAuthError> {
        let (secret, now) = (self.secret(), self.clock.now());
        let new = ClientSecret { digest: digest(&secret), created_at: now };
        let changed = self.change(id, |client| {
            client.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.created_at));
            client.secrets.truncate(1);
            client.secrets.push(new.clone());
        });
        Ok(changed.await?.map(|_| secret))
    }

    /// Forgets a client; answers whether there was one.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn remove(&self, id: &str) -> Result<bool, OAuthError> {
        let existed = self.row(id).await?.is_some();
        self.rows.commit(vec![Write::delete(row_key(id), Expect::Anything)]).await?;
        self.known.lock().remove(id);
        Ok(existed)
    }

    /// Notes that a client is used, so that it is not forgotten: once a day at most.
    pub async fn used(&self, client: &Client) {
        let now = self.clock.now();
        let keep = now + TimeDelta::days(REGISTERED_DAYS);
        if client.expires_at.is_some_and(|end| keep - end > TimeDelta::days(1))
            && let Err(error) = self.change(&client.id, |client| client.expires_at = Some(keep)).await
        {
            tracing::warn!(%error, "the use of a client cannot be noted");
        }
    }

    /// Every client that is kept here, by name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self) -> Result<Vec<Client>, StoreError> {
        let rows = self.rows.scan_prefix("client|").await?;
        let mut clients = rows.iter().map(crate::rows::Row::decode).collect::<Result<Vec<Client>, _>>()?;
        clients.sort_by(|left, right| (&left.name, &left.id).cmp(&(&right.name, &right.id)));
        Ok(clients)
    }

    /// The rows, for who sweeps them.
    pub(super) const fn rows(&self) -> &Partition {
        &self.rows
    }

    async fn row(&self, id: &str) -> Result<Option<(Client, crate::rows::RowVersion)>, StoreError> {
        let Some(row) = self.rows.get(&row_key(id)).await? else { return Ok(None) };
        let client: Client = row.decode()?;
        let lives = client.expires_at.is_none_or(|end| end > self.clock.now());
        Ok(lives.then_some((client, row.version)))
    }

    fn secret(&self) -> String {
        format!("ggcs_{}", random(&self.entropy, 3))
    }
}

fn row_key(id: &str) -> String {
    format!("client|{id}")
}

/// Whether a text can be the id of a client that is kept here.
fn is_id(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && is_name(text)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}
