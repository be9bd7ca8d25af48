//! Signing people in with Microsoft, as the deployment's application: the authorization code with PKCE, refresh tokens,
//! and on-behalf-of, against Entra's endpoints of one tenant.
//!
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>. Long because its requests share one answer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

use crate::auth::entra::{self, Entra, TokenError};
use crate::azure::{ClientProof, Secret, claims};
use crate::clock::Clock;
use crate::http_client::{HttpClient, redact};
use crate::ids::UserId;

/// The longest one request to Entra may take.
const LIMIT: Duration = Duration::from_secs(20);
/// The largest answer that is read.
const MAX_BYTES: usize = 256 * 1024;
/// What every sign-in asks for besides permissions: who it is, and a refresh token.
const ALWAYS: &[&str] = &["openid", "profile", "offline_access"];
/// The grant of a token for a token (RFC 7523), which Entra calls on-behalf-of.
const ON_BEHALF_OF: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The application that people sign in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The sign-in host.
    pub authority: Url,
    /// The directory id of the one tenant whose people sign in.
    pub tenant: String,
    /// The application's id.
    pub client_id: String,
    /// Where Entra sends people back to.
    pub redirect_uri: String,
    /// Where permissions belong, as in `https://graph.microsoft.com`.
    pub graph: String,
    /// The permissions that the tools of this deployment need as a person.
    pub permissions: Vec<String>,
}

impl Config {
    /// The token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        self.endpoint("token")
    }

    fn endpoint(&self, name: &str) -> String {
        format!("{}/{}/oauth2/v2.0/{name}", self.authority.as_str().trim_end_matches('/'), self.tenant)
    }
}

/// Tokens for a person.
#[derive(Debug)]
pub struct Granted {
    /// The access token for Microsoft Graph.
    pub access: Secret,
    /// How long it lives.
    pub lives: Duration,
    /// The next refresh token.
    pub refresh: Option<Secret>,
    /// Who signed in, signed by Entra.
    pub id_token: Option<Secret>,
    /// The permissions the access token holds.
    pub scopes: Vec<String>,
}

/// Who signed in, as a checked id token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The person's object id.
    pub person: UserId,
    /// The directory.
    pub tenant: String,
    /// The sign-in name.
    pub upn: String,
    /// The display name.
    pub name: String,
    /// The application's roles that the person holds.
    pub roles: Vec<String>,
}

/// Why Entra gave no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MicrosoftError {
    /// It does not answer, or not now: nothing is known of the person.
    #[error("Microsoft's sign-in does not answer at present: {0}")]
    Outage(String),
    /// It refuses, and signing in again may help.
    #[error("Microsoft asks the person to sign in again: {description}")]
    SignIn {
        /// What is asked for more (a claims challenge), as JSON.
        claims: Option<String>,
        /// A permission is missing that somebody has to consent to: signing in again does not help by itself.
        consent: bool,
        /// Entra's own words, the first line; and where consent is given, if that is missing.
        description: String,
    },
    /// It refuses the application: nobody can sign in until an administrator mends it.
    #[error("Microsoft refuses the application: {0}")]
    Application(String),
    /// Its answer cannot be believed.
    #[error("Microsoft's answer is not accepted: {0}")]
    Untrue(String),
}

impl MicrosoftError {
    /// The same, with the challenge of a service where Entra names none of its own: signing in again has to meet that.
    #[must_use]
    pub fn or_challenge(self, challenge: Option<&str>) -> Self {
        match self {
            Self::SignIn { claims: None, consent: false, description } => {
                Self::SignIn { claims: challenge.map(str::to_owned), consent: false, description }
            }
            other => other,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
    refresh_token: Option<String>,
    id_token: Option<String>,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
    suberror: Option<String>,
    claims: Option<String>,
}

#[derive(Deserialize)]
struct IdClaims {
    oid: String,
    nonce: Option<String>,
    preferred_username: Option<String>,
    name: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

/// The application at Entra.
pub struct Microsoft {
    config: Config,
    proof: ClientProof,
    http: HttpClient,
    clock: Clock,
    ids: Entra,
}

/// What a sign-in asks of Entra.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    /// Comes back as it is.
    pub state: &'a str,
    /// Comes back in the id token.
    pub nonce: &'a str,
    /// Proves later that the code is redeemed by who asked for it (PKCE).
    pub verifier: &'a str,
    /// Permissions of Microsoft Graph.
    pub permissions: &'a [String],
    /// The account that is expected.
    pub login_hint: Option<&'a str>,
    /// A claims challenge to be met.
    pub claims: Option<&'a str>,
    /// Let the person choose among accounts.
    pub choose: bool,
}

impl Microsoft {
    /// The application; nothing is sent yet.
    #[must_use]
    pub fn new(config: Config, proof: ClientProof, http: HttpClient, clock: Clock) -> Self {
        let ids = entra::Config {
            audiences: vec![config.client_id.clone()],
            tenants: vec![config.tenant.clone()],
            clients: Vec::new(),
            authority: config.authority.clone(),
        };
        let ids = Entra::new(ids, &http, clock.clone());
        Self { config, proof, http, clock, ids }
    }

    /// What it is.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Takes another secret, as after a rotation.
    pub fn rotate(&self, secret: Secret) {
        self.proof.rotate(secret);
    }

    /// Where a browser is sent to sign in. The code comes back in the body of a form: in an address the Functions host
    /// would try it as a key.
    #[must_use]
    pub fn sign_in_address(&self, ask: &Ask<'_>) -> Option<Url> {
        let mut url = Url::parse(&self.config.endpoint("authorize")).ok()?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(ask.verifier.as_bytes()));
        let scope = self.scope(ask.permissions);
        let mut query = url.query_pairs_mut();
        for (name, value) in [
            ("client_id", self.config.client_id.as_str()),
            ("response_type", "code"),
            ("response_mode", "form_post"),
            ("redirect_uri", &self.config.redirect_uri),
            ("scope", &scope),
            ("state", ask.state),
            ("nonce", ask.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ] {
            query.append_pair(name, value);
        }
        let prompt = ask.choose.then_some("select_account");
        let claims = claims::parameter(ask.claims);
        for (name, value) in [("login_hint", ask.login_hint), ("claims", Some(claims.as_str())), ("prompt", prompt)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        drop(query);
        Some(url)
    }

    /// Permissions in full, with what every sign-in asks for.
    fn scope(&self, permissions: &[String]) -> String {
        let own = permissions.iter().map(|permission| format!("{}/{permission}", self.config.graph));
        ALWAYS.iter().map(|scope| (*scope).to_owned()).chain(own).collect::<Vec<_>>().join(" ")
    }

    /// Redeems the code of a sign-in.
    ///
    /// # Errors
    /// When Entra does not answer or refuses.
    pub async fn redeem(
        &self,
        code: &Secret,
        verifier: &str,
        permissions: &[String],
    ) -> Result<Granted, MicrosoftError> {
        let (scope, claims) = (self.scope(permissions), claims::parameter(None));
        self.ask(&[
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &self.config.redirect_uri),
            ("code_verifier", verifier),
            ("scope", &scope),
            ("claims", &claims),
        ])
        .await
    }

    /// Redeems a refresh token, for everything the person has consented to; with a claims challenge to be met, if there is
    /// one.
    ///
    /// # Errors
    /// When Entra does not answer or refuses.
    pub async fn refresh(&self, refresh: &Secret, challenge: Option<&str>) -> Result<Granted, MicrosoftError> {
        let scope = format!("{} {}/.default", ALWAYS.join(" "), self.config.graph);
        let claims = claims::parameter(challenge);
        self.ask(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
            ("scope", &scope),
            ("claims", &claims),
        ])
        .await
    }

    /// Exchanges a person's token for this application for one for Microsoft Graph, with everything the person has
    /// consented to; with a claims challenge to be met, if there is one.
    ///
    /// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow>
    ///
    /// # Errors
    /// When Entra does not answer or refuses.
    pub async fn on_behalf_of(&self, assertion: &Secret, challenge: Option<&str>) -> Result<Granted, MicrosoftError> {
        let scope = format!("{}/.default", self.config.graph);
        let claims = claims::parameter(challenge);
        self.ask(&[
            ("grant_type", ON_BEHALF_OF),
            ("requested_token_use", "on_behalf_of"),
            ("assertion", assertion.expose()),
            ("scope", &scope),
            ("claims", &claims),
        ])
        .await
    }

    /// Where an administrator consents for everybody to what the tools need.
    #[must_use]
    pub fn consent_address(&self) -> String {
        let Config { authority, tenant, client_id, redirect_uri, graph, permissions } = &self.config;
        let scope: Vec<String> = permissions.iter().map(|name| format!("{graph}/{name}")).collect();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", client_id), ("redirect_uri", redirect_uri), ("scope", &scope.join(" "))])
            .finish();
        format!("{}/{tenant}/v2.0/adminconsent?{query}", authority.as_str().trim_end_matches('/'))
    }

    /// Who signed in, from an id token that belongs to a request with this `nonce` (`None`: a refresh has none).
    ///
    /// # Errors
    /// When the token is not Entra's, not for us, or of another request; or Entra's keys cannot be had.
    pub async fn signed_in(&self, token: &Secret, nonce: Option<&str>) -> Result<SignedIn, MicrosoftError> {
        let untrue = |why: &str| MicrosoftError::Untrue(why.to_owned());
        let (claims, tenant) = self.ids.verify_id::<IdClaims>(token.expose()).await.map_err(|error| match error {
            TokenError::NotYet(_) | TokenError::Unavailable(_) => MicrosoftError::Outage(error.to_string()),
            TokenError::Refused(_) | TokenError::Expired => MicrosoftError::Untrue(error.to_string()),
        })?;
        if nonce.is_some() && claims.nonce.as_deref() != nonce {
            return Err(untrue("the id token belongs to another sign-in"));
        }
        let person = UserId::parse(&claims.oid.to_lowercase()).map_err(|_| untrue("the id token names no person"))?;
        let upn = claims.preferred_username.unwrap_or_default();
        let name = claims.name.unwrap_or_else(|| upn.clone());
        Ok(SignedIn { person, tenant, upn, name, roles: claims.roles })
    }

    async fn ask(&self, fields: &[(&str, &str)]) -> Result<Granted, MicrosoftError> {
        let outage = MicrosoftError::Outage;
        let endpoint = self.config.token_endpoint();
        let url = Url::parse(&endpoint).map_err(|error| MicrosoftError::Application(error.to_string()))?;
        let answered = async {
            let proof = self.proof.fields().await.map_err(|error| outage(error.to_string()))?;
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("client_id", &self.config.client_id)
                .extend_pairs(fields)
                .extend_pairs(proof.iter().map(|(name, value)| (*name, value.expose())))
                .finish();
            let asked = self.http.reqwest_client(&url).post(url.clone()).body(form);
            let asked = asked.header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            let answer = asked.send().await.map_err(|error| outage(redact::transport(error)))?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(|error| outage(redact::transport(error)))?;
            Ok((status, body))
        };
        let late = || Err(outage("no answer in time".to_owned()));
        let (status, body) = self.clock.timeout(LIMIT, answered).await.unwrap_or_else(late)?;
        if body.len() > MAX_BYTES {
            return Err(outage("its answer is too large".to_owned()));
        }
        if status.is_success() {
            let answer: Answer =
                serde_json::from_slice(&body).map_err(|_| outage("its answer cannot be read".to_owned()))?;
            let secret = |text: String| Secret::new(&text);
            return Ok(Granted {
                access: secret(answer.access_token),
                lives: Duration::from_secs(answer.expires_in),
                refresh: answer.refresh_token.map(secret),
                id_token: answer.id_token.map(secret),
                scopes: answer.scope.split_whitespace().map(str::to_owned).collect(),
            });
        }
        let failure = serde_json::from_slice(&body).unwrap_or_default();
        Err(match refusal(status, &failure) {
            MicrosoftError::SignIn { claims, consent: true, description } => {
                let (wanted, address) = (self.config.permissions.join(", "), self.consent_address());
                let description = format!(
                    "{description} The tools need {wanted}: an administrator consents for everybody at {address}"
                );
                MicrosoftError::SignIn { claims, consent: true, description }
            }
            other => other,
        })
    }
}

/// What a refusal means. The numbers in Entra's words may change, so its codes decide
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
fn refusal(status: StatusCode, failure: &Failure) -> MicrosoftError {
    let description = failure.error_description.lines().next().unwrap_or_default().trim().to_owned();
    let description = if description.is_empty() { format!("status {}", status.as_u16()) } else { description };
    match failure.error.as_str() {
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => MicrosoftError::SignIn {
            claims: failure.claims.clone(),
            consent: failure.suberror.as_deref() == Some("consent_required") || failure.error == "consent_required",
            description,
        },
        "" | "temporarily_unavailable" | "server_error" => MicrosoftError::Outage(description),
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => MicrosoftError::Outage(description),
        _ => MicrosoftError::Application(description),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_entra_is_told_by_its_code() {
        let told = |status: u16, text: &str| {
            refusal(StatusCode::from_u16(status).unwrap(), &serde_json::from_str(text).unwrap_or_default())
        };
        assert!(matches!(told(400, r#"{"error":"invalid_grant"}"#), MicrosoftError::SignIn { consent: false, .. }));
        let consent = told(
            400,
            r#"{"error":"invalid_grant","suberror":"consent_required","error_description":"AADSTS65001: no\r\nTrace ID: 1"}"#,
        );
        assert!(
            matches!(&consent, MicrosoftError::SignIn { consent: true, description, .. } if description == "AADSTS65001: no")
        );
        let claims = told(400, r#"{"error":"interaction_required","claims":"{\"access_token\":{}}"}"#);
        assert!(matches!(claims, MicrosoftError::SignIn { claims: Some(_), .. }));
        assert!(matches!(told(401, r#"{"error":"invalid_client"}"#), MicrosoftError::Application(_)));
        for (status, text) in [
            (503, ""),
            (429, r#"{"error":"throttled"}"#),
            (400, r#"{"error":"temporarily_unavailable"}"#),
            (502, "<html>"),
        ] {
            assert!(matches!(told(status, text), MicrosoftError::Outage(_)), "{status} {text}");
        }
    }
}
