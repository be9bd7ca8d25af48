//! The token endpoint and its neighbours: codes, refresh tokens and clients' own rights become tokens; tokens are given
//! back (RFC 6749, RFC 7009).

use chrono::TimeDelta;
use serde::Serialize;

use super::AuthorizationServer;
use super::authorizations::{Authorization, Ending, Of, Redeemed};
use super::clients::Client;
use super::error::OAuthError;
use super::proof::{Form, Presented};
use super::request::{check_resource, is_verifier_of};
use super::scopes::{self, Scopes};
use super::sign_in::{Code, row_key};
use crate::auth::delegated::accounts::AccountError;
use crate::ids::UserId;
use crate::rows::Write;

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenAnswer {
    /// Opens the server's resource.
    pub access_token: String,
    /// How it is sent.
    pub token_type: &'static str,
    /// How long it lives, in seconds.
    pub expires_in: i64,
    /// Brings the next ones; clients that act as themselves have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// What it opens.
    pub scope: String,
}

impl AuthorizationServer {
    /// Answers a request at the token endpoint.
    ///
    /// # Errors
    /// When it is refused; the code says why.
    pub async fn token(&self, form: &Form, authorization: Option<&str>) -> Result<TokenAnswer, OAuthError> {
        let client = self.client(form, authorization).await?;
        let resource = self.0.config.address("mcp");
        check_resource(form.get("resource").map(String::as_str).filter(|text| !text.is_empty()), &resource)?;
        match form.get("grant_type").map(String::as_str) {
            Some("authorization_code") => self.by_code(form, &client).await,
            Some("refresh_token") => self.by_refresh_token(form, &client).await,
            Some("client_credentials") => self.by_client(form, &client).await,
            None => Err(OAuthError::invalid_request("grant_type is missing")),
            Some(_) => Err(OAuthError::unsupported_grant_type(
                "authorization_code, refresh_token or client_credentials expected",
            )),
        }
    }

    /// The client that asks, once it has proved itself.
    async fn client(&self, form: &Form, authorization: Option<&str>) -> Result<std::sync::Arc<Client>, OAuthError> {
        let inner = &*self.0;
        let presented = Presented::read(form, authorization)?;
        let unknown = || OAuthError::invalid_client("the client is not known here");
        let client = inner.clients.find(&presented.id).await?.ok_or_else(unknown)?;
        let audiences = [inner.config.issuer(), inner.config.address("oauth/token")];
        if let Some(assertion) = presented.check(&client, &audiences, inner.clock.now().timestamp())? {
            let ends = chrono::DateTime::from_timestamp(assertion.expires_at, 0);
            let key = row_key("assertion", &format!("{}\0{}", client.id, assertion.id));
            let once = Write::insert(key, &serde_json::json!({ "expires_at": ends }))?;
            match inner.rows.commit(vec![once]).await {
                Err(error) if error.is_conflict() => {
                    return Err(OAuthError::invalid_client("the assertion was used before"));
                }
                other => other.map(drop)?,
            }
        }
        Ok(client)
    }

    async fn by_code(&self, form: &Form, client: &Client) -> Result<TokenAnswer, OAuthError> {
        let inner = &*self.0;
        let wrong = || OAuthError::invalid_grant("the code is unknown, used, expired or of another request");
        let field = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let code = field("code").ok_or_else(|| OAuthError::invalid_request("code is missing"))?;
        let verifier =
            field("code_verifier").ok_or_else(|| OAuthError::invalid_request("code_verifier is missing (PKCE)"))?;
        let key = row_key("code", code);
        let row = inner.rows.get(&key).await?.ok_or_else(wrong)?;
        let known: Code = row.decode()?;
        // A stranger with somebody's code learns nothing and ends nothing.
        if known.client_id != client.id {
            return Err(wrong());
        }
        if known.used {
            return self.replayed(&known).await;
        }
        let used = Code { used: true, ..known.clone() };
        match inner.rows.commit(vec![Write::replace(key, &row.version, &used)?]).await {
            Err(error) if error.is_conflict() => return self.replayed(&known).await,
            other => other.map(drop)?,
        }
        // OAuth 2.1 does not repeat the address, as PKCE has taken its place; one that is repeated is the same.
        let same_redirect = match (&known.redirect_uri, field("redirect_uri")) {
            (Some(known), Some(given)) => known == given,
            (None, Some(given)) => client.redirect_uris.iter().any(|uri| uri == given),
            (_, None) => true,
        };
        let in_time = known.expires_at > inner.clock.now();
        if !in_time || !same_redirect || !is_verifier_of(verifier, &known.challenge) {
            return Err(wrong());
        }
        let authorization = known.authorization;
        if let Some(person) = &authorization.person
            && inner.accounts.current(person).await?.is_none()
        {
            return Err(OAuthError::invalid_grant("the account is not connected any more; sign in again"));
        }
        inner.authorizations.keep(&authorization).await?;
        Ok(self.answer(&authorization, &authorization.scopes, true))
    }

    /// A code came twice: what it was given for has ended (RFC 6749, section 4.1.2).
    async fn replayed(&self, known: &Code) -> Result<TokenAnswer, OAuthError> {
        tracing::warn!(client = known.client_id, "a code came a second time; its authorization has ended");
        self.0.authorizations.end(&known.authorization.id, Of::All, Ending::Replay).await?;
        Err(OAuthError::invalid_grant("the code was used before, so what it stands for has ended; sign in again"))
    }

    async fn by_refresh_token(&self, form: &Form, client: &Client) -> Result<TokenAnswer, OAuthError> {
        let token = form.get("refresh_token").filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| OAuthError::invalid_request("refresh_token is missing"))?;
        let inner = &*self.0;
        check_pause(client, None)?;
        let authorization = match inner.authorizations.redeem(token, &client.id).await? {
            Redeemed::Followed(authorization) => *authorization,
            Redeemed::Replayed(authorization) => {
                tracing::warn!(
                    client = authorization.client_id,
                    "a refresh token came a second time after its successor; its authorization has ended"
                );
                return Err(OAuthError::invalid_grant(
                    "the refresh token was used before, so what it stands for has ended; sign in again",
                ));
            }
        };
        check_pause(client, authorization.person.as_ref())?;
        if let Some(person) = &authorization.person {
            match inner.accounts.confirm(person).await {
                Ok(()) => {}
                Err(error @ (AccountError::NotConnected { .. } | AccountError::SignIn { .. })) => {
                    inner.authorizations.end(&authorization.id, Of::All, Ending::Microsoft).await?;
                    return Err(OAuthError::invalid_grant(error.to_string()));
                }
                Err(AccountError::Store(error)) => return Err(error.into()),
                Err(error) => return Err(OAuthError::temporarily_unavailable(error.to_string())),
            }
        }
        inner.clients.used(client).await;
        let scopes =
            scopes::requested(form.get("scope").map(String::as_str), &authorization.scopes, &authorization.scopes)
                .map_err(|scope| OAuthError::invalid_scope(format!("the scope {scope} was not consented to")))?;
        Ok(self.answer(&authorization, &scopes, true))
    }

    /// A client's own rights (the MCP extension for machine callers): its role decides.
    async fn by_client(&self, form: &Form, client: &Client) -> Result<TokenAnswer, OAuthError> {
        let inner = &*self.0;
        let Some(role) = client.role.as_ref().filter(|_| client.is_confidential()) else {
            return Err(OAuthError::unauthorized_client("the client has no role of its own; an operator gives it one"));
        };
        check_pause(client, None)?;
        let grant = role.grant();
        let own: Scopes = inner
            .offered
            .iter()
            .filter(|scope| {
                scopes::parse(scope).is_some_and(|(toolset, mode)| grant.mode(toolset).is_some_and(|most| most >= mode))
            })
            .cloned()
            .collect();
        let scopes = scopes::requested(form.get("scope").map(String::as_str), &own, &own)
            .map_err(|scope| OAuthError::invalid_scope(format!("the client may not use {scope}")))?;
        let authorization = inner.authorizations.standing((&client.id, &client.name), own).await?;
        Ok(self.answer(&authorization, &scopes, false))
    }

    fn answer(&self, authorization: &Authorization, scopes: &Scopes, refreshes: bool) -> TokenAnswer {
        let inner = &*self.0;
        let life: TimeDelta = inner.config.access_life;
        TokenAnswer {
            access_token: inner.authorizations.access_token(authorization, scopes, life),
            token_type: "Bearer",
            expires_in: life.num_seconds(),
            refresh_token: refreshes.then(|| inner.authorizations.refresh_token(authorization)),
            scope: scopes::joined(scopes),
        }
    }

    /// Takes a token back (RFC 7009): everything that came of the same consent ends. A token of nobody is no error.
    ///
    /// # Errors
    /// When the client does not prove itself, or the store does not take it.
    pub async fn revoke(&self, form: &Form, authorization: Option<&str>) -> Result<(), OAuthError> {
        let client = self.client(form, authorization).await?;
        let token = form.get("token").filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
        if let Some(id) = self.0.authorizations.of_token(token) {
            self.0.authorizations.end(&id, Of::Client(&client.id), Ending::Client).await?;
        }
        Ok(())
    }
}

/// Lets a client pass whose calls, for a person or its own, are not paused.
fn check_pause(client: &Client, person: Option<&UserId>) -> Result<(), OAuthError> {
    if client.is_paused(person) {
        let later = "an operator has paused the client; nothing is lost, repeat the request later";
        return Err(OAuthError::temporarily_unavailable(later));
    }
    Ok(())
}
