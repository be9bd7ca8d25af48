//! The gate: from a request's headers to a caller, or a refusal.
//!
//! A server with any way of proving oneself configured asks everybody; one without lets everybody in as the local
//! caller, and only starts like that where nobody else can reach it (see `config`). What a request presents is tried in
//! the order platform, token, key; a proof that is presented and does not hold is a refusal, never ignored.

mod challenge;
mod config;
mod denied;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::RwLock;

pub use self::config::Config;
pub use self::denied::Denied;
use self::denied::{closed, no_key, not_signed};
use super::api_keys::{ApiKeys, Holder, KeyError, PREFIX};
use super::authorization_server::AuthorizationServer;
use super::authorization_server::authorizations::ACCESS;
use super::entra::{Entra, TokenError};
use super::rate::Rate;
use super::roles::IMPERSONATION;
use super::signed::Signature;
use super::{ApiKey, Caller, Grant, Principal, StoredCaller, easy, key};
use crate::azure::Secret;
use crate::clock::Clock;
use crate::graph::Identity;
use crate::http_client::HttpClient;
use crate::ids::UserId;
use crate::keyring::Keyring;
use crate::rows::TenantTables;

/// Proofs a minute that may fail before more of them have to wait.
const REFUSALS: u32 = 300;

/// A request that claims to be signed with a key that holds; not proven before its body has been read.
pub struct Claimed {
    signature: Signature,
    keys: Vec<Secret>,
    caller: Caller,
}

impl Claimed {
    /// The id of the request, by which a repetition is known.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.signature.request
    }
}

/// Says who calls.
pub struct Gate {
    config: Config,
    /// The tenant of the deployment.
    tenant: String,
    /// The most anybody may do here; `None` is everything.
    most: Option<Grant>,
    entra: Option<Entra>,
    keys: ApiKeys,
    server: Option<AuthorizationServer>,
    /// Opens signing keys; without it no request is accepted for its signature.
    keyring: Option<Keyring>,
    /// The deployment's key after a rotation.
    rotated: RwLock<Option<Secret>>,
    rate: Rate,
    /// Proofs that did not hold, of all callers together: who they are is not known.
    refusals: Rate,
    clock: Clock,
}

impl Gate {
    /// Sets the gate up; nothing is fetched yet. Nobody may do more than `most`, if that is given.
    #[must_use]
    pub fn new(config: Config, most: Option<Grant>, http: &HttpClient, tables: &TenantTables, clock: Clock) -> Self {
        let entra = config.entra.clone().map(|entra| Entra::new(entra, http, clock.clone()));
        let keys = ApiKeys::new(tables, clock.clone());
        let tenant = tables.tenant().to_owned();
        let rate = Rate::per_minute(config.calls_per_minute);
        let refusals = Rate::per_minute(REFUSALS);
        let rotated = RwLock::default();
        Self { tenant, entra, keys, server: None, keyring: None, rotated, rate, refusals, config, most, clock }
    }

    /// Accepts requests that are signed, too.
    #[must_use]
    pub fn with_keyring(self, keyring: Keyring) -> Self {
        Self { keyring: Some(keyring), ..self }
    }

    /// The keys of callers.
    #[must_use]
    pub const fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// Accepts the tokens of an authorization server too.
    #[must_use]
    pub fn with_server(self, server: Option<AuthorizationServer>) -> Self {
        Self { server, ..self }
    }

    /// The authorization server, where people sign in here.
    #[must_use]
    pub const fn server(&self) -> Option<&AuthorizationServer> {
        self.server.as_ref()
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Takes another key in place of the deployment's.
    pub fn rotate(&self, key: Secret) {
        *self.rotated.write() = Some(key);
    }

    fn key(&self) -> Option<Secret> {
        let rotated = self.rotated.read().clone();
        rotated.or_else(|| self.config.key.clone())
    }

    /// Says who sends a request, and counts it.
    ///
    /// # Errors
    /// When nobody is proven, nothing is granted, too many calls were made, or the proof cannot be checked.
    pub async fn admit(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Caller, Denied> {
        let caller = self.slowed(self.identify(headers, query).await)?;
        self.let_in(caller)
    }

    /// The caller that a connected person is who is signed in to our pages, and counts it.
    ///
    /// # Errors
    /// When the account is not connected any more, nothing is granted, or too many calls were made.
    pub async fn visitor(&self, person: &UserId) -> Result<Caller, Denied> {
        let server = self.server.as_ref().ok_or(Denied::Missing)?;
        let whole = vec![IMPERSONATION.to_owned()];
        let connected = server.confirmed(person, whole, &self.config.roles).await;
        self.let_in(connected.map_err(|why| closed(&why))?.0)
    }

    /// Says who claims to have signed a request, before its body is read. Nothing is counted but what cannot hold.
    ///
    /// # Errors
    /// When the signature cannot hold, whatever the body is, or that cannot be checked.
    pub async fn claimed(&self, headers: &HeaderMap) -> Result<Claimed, Denied> {
        let found = async {
            let signature = Signature::read(headers).ok_or_else(not_signed)?;
            if !signature.is_timely(self.clock.now(), self.config.signature_window) {
                return Err(not_signed());
            }
            let keyring = self.keyring.as_ref().ok_or_else(not_signed)?;
            let (caller, keys) = self.keys.signing(&signature.key, keyring).await.map_err(|error| match error {
                KeyError::Refused | KeyError::Expired => not_signed(),
                error => no_key(&error),
            })?;
            Ok(Claimed { signature, keys, caller })
        };
        self.slowed(found.await)
    }

    /// Says who sends a signed request, and counts it.
    ///
    /// # Errors
    /// When the signature does not hold, nothing is granted, or too many calls were made.
    pub fn admit_signed(&self, claimed: Claimed, method: &str, target: &str, body: &[u8]) -> Result<Caller, Denied> {
        let holds = claimed.signature.holds(&claimed.keys, method, target, body);
        let caller = self.slowed(if holds { Ok(claimed.caller) } else { Err(not_signed()) })?;
        self.let_in(caller)
    }

    /// Guessing is slowed down for who guesses: a proof that holds is never kept waiting for those that do not, nor one that
    /// held until its time had passed, whose bearer has to learn that.
    fn slowed<T>(&self, proof: Result<T, Denied>) -> Result<T, Denied> {
        if let Err(Denied::Refused(_)) = &proof {
            self.refusals.take("refused", self.clock.steady()).map_err(Denied::Throttled)?;
        }
        proof
    }

    /// A caller that is proven, within what anybody may do here, and counted.
    fn let_in(&self, mut caller: Caller) -> Result<Caller, Denied> {
        if let Some(most) = &self.most {
            caller.grant = caller.grant.and(most);
        }
        if caller.grant.is_nothing() {
            return Err(Denied::Powerless);
        }
        if caller.kind != Principal::Local {
            self.rate.take(caller.party(), self.clock.steady()).map_err(Denied::Throttled)?;
        }
        Ok(caller)
    }

    /// Whether a request proves that it comes of somebody who runs the deployment, or nobody here is asked who they are.
    /// Nothing is counted.
    pub async fn is_operator(&self, headers: &HeaderMap) -> bool {
        self.identify(headers, None).await.is_ok_and(|caller| caller.grant.is_operator())
    }

    /// The caller an identity is now, with what it may do now: for work that continues after the call. Nothing is counted.
    ///
    /// A person's and an application's roles are those of their last call, read by today's settings: Entra tells of
    /// roles in tokens alone. Which groups a person belongs to is asked for wherever the scope of plans is applied.
    ///
    /// # Errors
    /// When the key has ended, the way of proving it is not open any more, nothing is granted any more, or that cannot
    /// be found out at present.
    pub async fn restore(&self, who: &StoredCaller) -> Result<Caller, Denied> {
        let ended = |why: &str| Denied::Refused(why.to_owned());
        let mut caller = match who.kind {
            Principal::Local => Caller::local(),
            Principal::DeploymentKey if self.key().is_some() => Caller::key_holder(),
            Principal::DeploymentKey => return Err(ended("the deployment has no key any more")),
            Principal::ApiKey => {
                let id = who.name.strip_prefix("key:").unwrap_or_default();
                let holder = self.keys.by_id(id).await.map_err(|error| match error {
                    KeyError::Refused | KeyError::Expired => ended("the key is expired or revoked"),
                    error => no_key(&error),
                })?;
                self.acting(holder).await?
            }
            Principal::FunctionsKey => match &self.config.host_key_role {
                Some(role) => self.functions_key(role),
                None => return Err(ended("Functions keys are not accepted any more")),
            },
            Principal::User | Principal::Client if who.authorization.is_some() => {
                let (Some(server), Some(id)) = (&self.server, &who.authorization) else {
                    return Err(ended("people do not sign in here any more"));
                };
                server.restore(id, &who.scopes, &self.config.roles).await.map_err(|why| closed(&why))?
            }
            Principal::Client => return Err(ended("nothing says what the client was let do")),
            Principal::User | Principal::Application => self.member(who)?,
        };
        if let Some(most) = &self.most {
            caller.grant = caller.grant.and(most);
        }
        if caller.grant.is_nothing() { Err(Denied::Powerless) } else { Ok(caller) }
    }

    /// A person or an application of a tenant whose tokens are accepted.
    fn member(&self, who: &StoredCaller) -> Result<Caller, Denied> {
        let ended = || Denied::Refused("tokens of its tenant are not accepted any more".to_owned());
        let tenant = who.tenant.clone().ok_or_else(ended)?;
        let known = |listed: &String| listed.eq_ignore_ascii_case(&tenant);
        let accepted = match &self.config.entra {
            Some(entra) => entra.tenants.iter().any(known),
            None => self.config.easy_auth && known(&self.tenant),
        };
        if !accepted {
            return Err(ended());
        }
        let (roles, held) = (&self.config.roles, who.roles.clone());
        Ok(match &who.object_id {
            Some(person) => roles.person(person.clone(), tenant, who.scopes.clone(), held),
            None => roles.application(who.name.strip_prefix("app:").unwrap_or_default(), tenant, held),
        })
    }

    async fn identify(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Caller, Denied> {
        if self.config.easy_auth
            && let Some(header) = headers.get(easy::HEADER)
        {
            let tenants =
                self.config.entra.as_ref().map_or(std::slice::from_ref(&self.tenant), |entra| entra.tenants.as_slice());
            let principal = easy::caller(header.to_str().unwrap_or_default(), tenants, &self.config.roles);
            return principal
                .map_err(|why| Denied::Refused(format!("the principal of App Service is not accepted: {why}")));
        }
        if key::says_twice(headers) {
            return Err(Denied::Refused("the request has two `Authorization` headers".to_owned()));
        }
        let bearer = key::bearer(headers);
        if let (Some(entra), Some(token)) = (&self.entra, bearer.filter(|text| Entra::looks_like_one(text))) {
            let caller = entra.identify(token, &self.config.roles).await.map_err(|error| match error {
                TokenError::Refused(_) => Denied::Refused(error.to_string()),
                TokenError::Expired => Denied::Expired(error.to_string()),
                TokenError::NotYet(wait) => Denied::NotYet(wait),
                TokenError::Unavailable(why) => Denied::Unavailable(why),
            })?;
            return self.on_behalf_of(caller, token).await;
        }
        if let (Some(server), Some(token)) = (&self.server, bearer.filter(|text| text.starts_with(ACCESS))) {
            return server.identify(token, &self.config.roles).await.map_err(|why| closed(&why));
        }
        let presented = key::alone(headers).into_iter().chain(bearer).collect::<Vec<_>>();
        for text in &presented {
            if self.key().is_some_and(|key| ApiKey::new(key.expose()).is(text)) {
                return Ok(Caller::key_holder());
            }
            if text.starts_with(PREFIX) {
                return self.acting(self.keys.identify(text).await.map_err(|error| no_key(&error))?).await;
            }
        }
        if let Some(role) = &self.config.host_key_role
            && came_through_the_host(headers, query)
        {
            return Ok(self.functions_key(role));
        }
        match (self.config.asks(), presented.is_empty() && headers.get(AUTHORIZATION).is_none()) {
            (false, _) => Ok(Caller::local()),
            (true, true) => Err(Denied::Missing),
            (true, false) => Err(Denied::Refused("the key or token is not accepted".to_owned())),
        }
    }

    /// A caller with a token of Entra acts as that person, where it is for the application that people sign in to: another
    /// one's tokens cannot be exchanged.
    async fn on_behalf_of(&self, caller: Caller, token: &str) -> Result<Caller, Denied> {
        let (Some(server), Some(person), Some(ends_at)) = (&self.server, &caller.object_id, caller.ends_at) else {
            return Ok(caller);
        };
        let microsoft = &server.config().microsoft;
        let is_home = caller.tenant.as_ref().is_some_and(|tenant| tenant.eq_ignore_ascii_case(&self.tenant));
        if caller.grant.is_nothing()
            || microsoft.permissions.is_empty()
            || !is_home
            || !Entra::is_for(token, &microsoft.client_id)
        {
            return Ok(caller);
        }
        let identity = server.on_behalf_of(person, token, ends_at).await.map_err(|again| match again.challenge {
            Some(challenge) => Denied::Challenged(challenge),
            None => Denied::Refused(format!("Microsoft asks the person to sign in again ({})", again.reason)),
        })?;
        Ok(Caller { identity, ..caller })
    }

    /// The caller of a key: itself, or within its role the connected person whose key it is.
    async fn acting(&self, (key, acts_for): Holder) -> Result<Caller, Denied> {
        let Some(acts_for) = acts_for else { return Ok(key) };
        let ended = |why: &str| Denied::Refused(why.to_owned());
        let server = self.server.as_ref().ok_or_else(|| ended("people do not sign in here any more"))?;
        let whole = vec![IMPERSONATION.to_owned()];
        let connected = server.confirmed(&acts_for.person, whole, &self.config.roles).await;
        let (person, since) = connected.map_err(|why| closed(&why))?;
        if since != acts_for.connected_at {
            return Err(ended("the key ended when its person disconnected the account"));
        }
        Ok(Caller {
            tenant: person.tenant,
            grant: key.grant.and(&person.grant),
            plan_scope: person.plan_scope.and(key.plan_scope),
            identity: person.identity,
            ..key
        })
    }

    fn functions_key(&self, role: &str) -> Caller {
        let (grant, plan_scope) = self.config.roles.rights([role]);
        Caller {
            name: "functions-key".to_owned(),
            kind: Principal::FunctionsKey,
            tenant: None,
            object_id: None,
            scopes: Vec::new(),
            roles: vec![role.to_owned()],
            operation: None,
            authorization: None,
            ends_at: None,
            grant,
            plan_scope,
            identity: Identity::Application,
        }
    }
}

/// Whether the Functions host has passed a request on that brought a key. The host checks keys before it proxies, and
/// sets the invocation's id itself; it is believed only where the deployment says that its routes ask for keys.
fn came_through_the_host(headers: &HeaderMap, query: Option<&str>) -> bool {
    let has_key = headers.get("x-functions-key").is_some_and(|key| !key.is_empty())
        || query.is_some_and(|query| {
            url::form_urlencoded::parse(query.as_bytes())
                .any(|(name, value)| name.eq_ignore_ascii_case("code") && !value.is_empty())
        });
    has_key && headers.contains_key("x-ms-invocation-id")
}
