//! From a client's request to its code: the consent page, Entra, and back.
//!
//! What a step hands to the next travels with the browser: the consent page holds the judged request, signed and bound to
//! a cookie; the way over Entra is a row of ten minutes that is used once, bound to the same cookie. So no step can be
//! begun in one browser and finished in another (fixation). Long because the steps share what they hand on.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use super::authorizations::Authorization;
use super::error::OAuthError;
use super::proof::Form;
use super::request::{AuthorizationRequest, Offer, Refusal};
use super::scopes::{self, Scopes};
use super::{AuthorizationServer, redirect};
use crate::auth::Mode;
use crate::auth::delegated::accounts::AccountError;
use crate::auth::delegated::microsoft::{Ask, MicrosoftError, SignedIn};
use crate::auth::secrets::{digest, opened, random, same, signed};
use crate::azure::Secret;
use crate::ids::UserId;
use crate::keyring::Sealed;
use crate::rows::{Expect, Write};

/// How long a person may take on our page, and at Entra.
const LIFE: TimeDelta = TimeDelta::minutes(10);
/// How long a code lives.
const CODE_LIFE: TimeDelta = TimeDelta::seconds(60);
/// How long somebody stays signed in to the pages.
const SESSION: TimeDelta = TimeDelta::hours(8);
/// What signs a judged request.
const TICKET: &str = "consent.";

/// What the consent page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// What the client calls itself.
    pub client_name: String,
    /// Its id, where that is an address people can judge.
    pub client_id: String,
    /// Where the person goes afterwards, for people.
    pub goes_to: String,
    /// The same in the words of a content security policy.
    pub redirect_source: String,
    /// What is asked for, by toolset; whether it writes.
    pub asks: Vec<(String, Mode)>,
    /// The judged request: the form brings it back.
    pub ticket: String,
}

/// A judged request, as the page holds it.
#[derive(Serialize, Deserialize)]
struct Ticket {
    request: AuthorizationRequest,
    browser: String,
    expires_at: DateTime<Utc>,
}

/// A way over Entra that has begun.
#[derive(Serialize, Deserialize)]
struct UnderWay {
    browser: String,
    nonce: String,
    verifier: Sealed,
    permissions: Vec<String>,
    expires_at: DateTime<Utc>,
    /// What the client gets; `None` where a person signs in to the pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<AuthorizationRequest>,
    /// The page that is shown then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<Page>,
    /// Whether this is the second time, with what Entra asked for more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

/// What a sign-in is for.
struct Purpose {
    permissions: Vec<String>,
    request: Option<AuthorizationRequest>,
    page: Option<Page>,
}

/// What Entra asked a connected person for more, and who that is.
struct Challenge {
    claims: String,
    upn: String,
}

/// A page that asks who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Page {
    /// The accounts that are connected.
    Accounts,
}

impl Page {
    /// Its path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Accounts => "/pages/accounts",
        }
    }
}

/// A code that was given and not redeemed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Code {
    /// What it gives; it is kept when the code is redeemed.
    pub(super) authorization: Authorization,
    pub(super) client_id: String,
    pub(super) redirect_uri: Option<String>,
    pub(super) challenge: String,
    pub(super) used: bool,
    pub(super) expires_at: DateTime<Utc>,
}

/// Somebody who is signed in to the pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The person.
    pub person: UserId,
    /// The sign-in name.
    pub upn: String,
    /// The display name.
    pub name: String,
    /// The application's roles that the person holds.
    #[serde(default)]
    pub roles: Vec<String>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// What came of a sign-in at Entra.
enum SignIn {
    Done(SignedIn),
    More(Challenge),
}

/// Where a browser goes after Entra.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landed {
    /// Back to the client; with the person, if one has signed in.
    Client(Url, Option<UserId>),
    /// To one of our pages, with the session's cookie.
    Page(Page, String, UserId),
    /// To Entra again, which asks this person for more.
    Entra(Url),
}

impl AuthorizationServer {
    /// Judges what a client asks, in a browser with a cookie, and answers what its consent page shows.
    ///
    /// # Errors
    /// When the request is not answered.
    pub async fn begin(&self, form: &Form, browser: &str) -> Result<Consent, Refusal> {
        let inner = &*self.0;
        let id = form.get("client_id").map(String::as_str).unwrap_or_default();
        if id.is_empty() {
            return Err(Refusal::Page(OAuthError::invalid_request("client_id is missing")));
        }
        let client = inner.clients.find(id).await.map_err(Refusal::Page)?;
        let unknown = || OAuthError::invalid_client("the client is not known here; it may register again");
        let client = client.ok_or_else(|| Refusal::Page(unknown()))?;
        let (issuer, resource) = (inner.config.issuer(), inner.config.address("mcp"));
        let offer = Offer { issuer: &issuer, resource: &resource, scopes: &inner.offered, default: &inner.default };
        let request = AuthorizationRequest::read(form, &client, &offer)?;
        inner.clients.used(&client).await;
        let asks = asked(&request.scopes);
        let goes_to = redirect::shown(&request.redirect_uri);
        let redirect_source = redirect::as_source(&request.redirect_uri);
        let (client_name, client_id) = (request.client_name.clone(), request.client_id.clone());
        let ticket = Ticket { request, browser: digest(browser), expires_at: inner.clock.now() + LIFE };
        let ticket = serde_json::to_vec(&ticket).unwrap_or_default(); // texts can always be written
        let ticket = signed(&inner.keyring, TICKET, &ticket);
        Ok(Consent { client_name, client_id, goes_to, redirect_source, asks, ticket })
    }

    fn ticket(&self, ticket: &str, browser: &str) -> Result<AuthorizationRequest, OAuthError> {
        let wrong =
            || OAuthError::invalid_request("the page does not belong to this browser; start again in the client");
        let message = opened(&self.0.keyring, TICKET, ticket).ok_or_else(wrong)?;
        let ticket: Ticket = serde_json::from_slice(&message).map_err(|_| wrong())?;
        if !same(&ticket.browser, &digest(browser)) {
            return Err(wrong());
        }
        if ticket.expires_at <= self.0.clock.now() {
            return Err(OAuthError::invalid_request("the page is too old; start again in the client"));
        }
        Ok(ticket.request)
    }

    /// The person refuses: back to the client.
    ///
    /// # Errors
    /// When the page is not of this browser.
    pub fn deny(&self, ticket: &str, browser: &str) -> Result<Url, OAuthError> {
        let request = self.ticket(ticket, browser)?;
        Ok(request.refused(&self.0.config.issuer(), &OAuthError::access_denied("the person said no")))
    }

    /// The person consents to scopes, at most those asked for: on to Entra.
    ///
    /// # Errors
    /// When the page is not of this browser, nothing is consented to, or the store does not answer.
    pub async fn approve(&self, ticket: &str, browser: &str, chosen: &Scopes) -> Result<Url, OAuthError> {
        let mut request = self.ticket(ticket, browser)?;
        request.scopes = scopes::with_reading(request.scopes.intersection(chosen).cloned().collect());
        if request.scopes.is_empty() {
            return self.deny(ticket, browser);
        }
        let permissions = self.permissions(&request.scopes);
        self.over_entra(browser, Purpose { permissions, request: Some(request), page: None }, None).await
    }

    /// Somebody signs in to one of our pages: on to Entra.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn sign_in(&self, browser: &str, page: Page) -> Result<Url, OAuthError> {
        let permissions = self.permissions(&Scopes::new());
        self.over_entra(browser, Purpose { permissions, request: None, page: Some(page) }, None).await
    }

    /// The permissions of Microsoft Graph that scopes come to. Who signs in is always read.
    fn permissions(&self, scopes: &Scopes) -> Vec<String> {
        let mut permissions = std::collections::BTreeSet::from(["User.Read".to_owned()]);
        for (toolset, mode) in scopes.iter().filter_map(|scope| scopes::parse(scope)) {
            if let Some(needed) = self.0.config.toolsets.get(toolset) {
                let all = needed.write.as_ref().filter(|_| mode == Mode::Write);
                permissions.extend(all.unwrap_or(&needed.read).iter().cloned());
            }
        }
        permissions.into_iter().collect()
    }

    async fn over_entra(
        &self,
        browser: &str,
        Purpose { permissions, request, page }: Purpose,
        challenge: Option<&Challenge>,
    ) -> Result<Url, OAuthError> {
        let inner = &*self.0;
        let many = |_| OAuthError::slow_down("too many people sign in at this moment; repeat it in a minute");
        inner.sign_ins.take("sign-ins", inner.clock.steady()).map_err(many)?;
        let (state, nonce) = (random(&inner.entropy, 3), random(&inner.entropy, 2));
        let verifier = random(&inner.entropy, 4);
        let ask = Ask {
            state: &state,
            nonce: &nonce,
            verifier: &verifier,
            permissions: &permissions,
            login_hint: challenge.map(|challenge| challenge.upn.as_str()),
            claims: challenge.map(|challenge| challenge.claims.as_str()),
            choose: page.is_none() && challenge.is_none(),
        };
        let address = inner.accounts.microsoft().sign_in_address(&ask);
        let address = address.ok_or_else(|| OAuthError::temporarily_unavailable("the sign-in host has no address"))?;
        let key = row_key("over", &state);
        let sealed = inner.keyring.seal(&key, &verifier, &inner.entropy);
        let sealed = sealed.map_err(|_| OAuthError::temporarily_unavailable("the keyring cannot seal"))?;
        let under_way = UnderWay {
            browser: digest(browser),
            nonce,
            verifier: sealed,
            permissions,
            expires_at: inner.clock.now() + LIFE,
            request,
            page,
            again: challenge.is_some(),
        };
        inner.rows.commit(vec![Write::insert(key, &under_way)?]).await?;
        Ok(address)
    }

    /// What Entra sent back with a browser.
    ///
    /// # Errors
    /// When it belongs to no sign-in of this browser. Everything else is told to the client.
    pub async fn land(&self, form: &Form, browser: &str) -> Result<Landed, OAuthError> {
        let inner = &*self.0;
        let unknown =
            || OAuthError::invalid_request("this sign-in is not under way in this browser; start again in the client");
        let state = form.get("state").filter(|state| !state.is_empty() && state.len() <= 100).ok_or_else(unknown)?;
        let key = row_key("over", state);
        let row = inner.rows.get(&key).await?.ok_or_else(unknown)?;
        let under_way: UnderWay = row.decode()?;
        if !same(&under_way.browser, &digest(browser)) || under_way.expires_at <= inner.clock.now() {
            return Err(unknown());
        }
        match inner.rows.commit(vec![Write::delete(key.clone(), Expect::Version(row.version))]).await {
            Err(error) if error.is_conflict() => return Err(unknown()), // it came twice
            other => other.map(drop)?,
        }
        let outcome = match self.signed_in(form, &key, &under_way).await {
            Ok(SignIn::Done(who)) => Ok(who),
            Ok(SignIn::More(challenge)) => {
                let UnderWay { permissions, request, page, .. } = under_way;
                let purpose = Purpose { permissions, request, page };
                return Ok(Landed::Entra(self.over_entra(browser, purpose, Some(&challenge)).await?));
            }
            Err(error) => Err(error),
        };
        match (under_way.request, under_way.page) {
            (Some(request), _) => {
                let person = outcome.as_ref().ok().map(|who| who.person.clone());
                let answered = match outcome {
                    Ok(who) => self.code(&request, who.person).await,
                    Err(error) => Err(error),
                };
                let issuer = inner.config.issuer();
                Ok(match answered {
                    Ok(code) => Landed::Client(request.answered(&issuer, &code), person),
                    Err(error) => Landed::Client(request.refused(&issuer, &error), None),
                })
            }
            (None, Some(page)) => {
                let who = outcome?;
                Ok(Landed::Page(page, self.open_session(&who).await?, who.person))
            }
            (None, None) => Err(unknown()),
        }
    }

    /// Redeems Entra's code and connects the account; unless Entra has asked this person for more, which a sign-in without
    /// the challenge does not meet.
    async fn signed_in(&self, form: &Form, key: &str, under_way: &UnderWay) -> Result<SignIn, OAuthError> {
        let inner = &*self.0;
        if let Some(error) = form.get("error") {
            let words = form.get("error_description").and_then(|text| text.lines().next()).unwrap_or_default();
            let told = format!("Microsoft: {error}: {words}");
            return Err(match error.as_str() {
                "temporarily_unavailable" | "server_error" => OAuthError::temporarily_unavailable(told),
                _ => OAuthError::access_denied(told),
            });
        }
        let code = form.get("code").ok_or_else(|| OAuthError::access_denied("Microsoft sent no code"))?;
        let verifier = inner.keyring.unseal(key, &under_way.verifier);
        let verifier = verifier.map_err(|_| OAuthError::invalid_request("the sign-in does not open; start again"))?;
        let microsoft = inner.accounts.microsoft();
        let told = |error: &MicrosoftError| {
            tracing::warn!(%error, "a sign-in with Microsoft failed");
            match error {
                MicrosoftError::Outage(_) | MicrosoftError::Application(_) => {
                    OAuthError::temporarily_unavailable(error.to_string())
                }
                MicrosoftError::SignIn { .. } | MicrosoftError::Untrue(_) => {
                    OAuthError::access_denied(error.to_string())
                }
            }
        };
        let granted = microsoft
            .redeem(&Secret::new(code), &verifier, &under_way.permissions)
            .await
            .map_err(|error| told(&error))?;
        let id = granted.id_token.as_ref().ok_or_else(|| OAuthError::access_denied("Microsoft sent no id token"))?;
        let who = microsoft.signed_in(id, Some(&under_way.nonce)).await.map_err(|error| told(&error))?;
        let known = if under_way.again { None } else { inner.accounts.current(&who.person).await? };
        if let Some(claims) = known.and_then(|account| account.trouble).and_then(|trouble| trouble.claims) {
            return Ok(SignIn::More(Challenge { claims, upn: who.upn }));
        }
        inner.accounts.connect(&who, &granted).await.map_err(|error| match error {
            AccountError::Store(error) => error.into(),
            AccountError::Microsoft(error) => told(&error),
            other => OAuthError::temporarily_unavailable(other.to_string()),
        })?;
        Ok(SignIn::Done(who))
    }

    /// Gives the code of a new authorization.
    async fn code(&self, request: &AuthorizationRequest, person: UserId) -> Result<String, OAuthError> {
        let inner = &*self.0;
        let client = (request.client_id.as_str(), request.client_name.as_str());
        let authorization = inner.authorizations.begun(client, Some(person), request.scopes.clone());
        let code = format!("ggac_{}", random(&inner.entropy, 4));
        let row = Code {
            authorization,
            client_id: request.client_id.clone(),
            redirect_uri: request.redirect_as_written.clone(),
            challenge: request.challenge.clone(),
            used: false,
            expires_at: inner.clock.now() + CODE_LIFE,
        };
        inner.rows.commit(vec![Write::insert(row_key("code", &code), &row)?]).await?;
        Ok(code)
    }

    /// Begins a session of the pages; answers its cookie.
    async fn open_session(&self, who: &SignedIn) -> Result<String, OAuthError> {
        let inner = &*self.0;
        let cookie = random(&inner.entropy, 4);
        let session = Session {
            person: who.person.clone(),
            upn: who.upn.clone(),
            name: who.name.clone(),
            roles: who.roles.clone(),
            expires_at: inner.clock.now() + SESSION,
        };
        inner.rows.commit(vec![Write::insert(row_key("session", &cookie), &session)?]).await?;
        Ok(cookie)
    }

    /// Whose session a cookie is.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn session(&self, cookie: &str) -> Result<Option<Session>, OAuthError> {
        let Some(row) = self.0.rows.get(&row_key("session", cookie)).await? else { return Ok(None) };
        let session: Session = row.decode()?;
        if session.expires_at <= self.0.clock.now() {
            return Ok(None);
        }
        // Roles are those of now, and who is disconnected is signed in nowhere.
        let account = self.0.accounts.believed(&session.person).await?;
        Ok(account.map(|account| Session { roles: account.roles.clone(), ..session }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn sign_out(&self, cookie: &str) -> Result<(), OAuthError> {
        self.0.rows.commit(vec![Write::delete(row_key("session", cookie), Expect::Anything)]).await?;
        Ok(())
    }

    /// A random text for a browser's cookie.
    #[must_use]
    pub fn cookie(&self) -> String {
        random(&self.0.entropy, 3)
    }

    /// What a form of a session has to bring, so that no other site can send it (CSRF).
    #[must_use]
    pub fn form_token(&self, cookie: &str) -> String {
        signed(&self.0.keyring, "form.", digest(cookie).as_bytes())
    }

    /// Whether a form brought it.
    #[must_use]
    pub fn is_form_token(&self, token: &str, cookie: &str) -> bool {
        opened(&self.0.keyring, "form.", token).is_some_and(|message| message == digest(cookie).as_bytes())
    }
}

/// The key of a row that is found by a secret text: by its digest, so that the store tells nothing.
pub(super) fn row_key(kind: &str, secret: &str) -> String {
    format!("{kind}|{}", digest(secret))
}

/// What scopes come to, by toolset: writing includes reading.
fn asked(scopes: &Scopes) -> Vec<(String, Mode)> {
    let mut asks = std::collections::BTreeMap::new();
    for (toolset, mode) in scopes.iter().filter_map(|scope| scopes::parse(scope)) {
        let known = asks.entry(toolset.to_owned()).or_insert(mode);
        *known = mode.max(*known);
    }
    asks.into_iter().collect()
}
