//! Applications as clients: where their people come back to, and how they prove who they are.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::http::Request;
use super::super::simulator::Simulator;
use super::super::state::Application;
use super::people::Directory;
use super::refusal::Refusal;
use super::{ISSUED_FOR, keys};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Registered redirect URIs by platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redirects {
    pub web: Vec<String>,
    pub spa: Vec<String>,
    pub public: Vec<String>,
}

/// The platform of a redirect URI decides what a code is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// A server with a secret.
    Web,
    /// A page in a browser: PKCE, redemption across origins, refresh tokens that end after a day.
    Spa,
    /// A program on a person's machine, without a secret.
    Public,
}

impl Redirects {
    /// What the seeded applications have: the addresses of well-known clients and of programs on this machine.
    pub fn usual() -> Self {
        let hosts = ["http://localhost", "http://127.0.0.1"];
        let own = |path: &'static str| hosts.iter().map(move |host| format!("{host}{path}"));
        let mut public: Vec<String> = ["", "/callback", "/oauth/callback"].into_iter().flat_map(own).collect();
        public.extend(
            [
                "https://vscode.dev/redirect",
                "https://insiders.vscode.dev/redirect",
                "https://claude.ai/api/mcp/auth_callback",
                "cursor://anysphere.cursor-mcp/oauth/callback",
            ]
            .map(str::to_owned),
        );
        Self { web: own("/auth/callback").collect(), spa: own("/spa").collect(), public }
    }

    /// The platform a URI is registered for. The match is exact, except that the port of a loopback address is free
    /// (RFC 8252, and Entra's
    /// [exception for localhost](https://learn.microsoft.com/entra/identity-platform/reply-url#localhost-exceptions)).
    pub fn platform(&self, uri: &str) -> Option<Platform> {
        let lists = [(&self.web, Platform::Web), (&self.spa, Platform::Spa), (&self.public, Platform::Public)];
        let found = lists.iter().find(|(list, _)| list.iter().any(|known| known == uri));
        let found = found.or_else(|| {
            let bare = without_port(uri)?;
            lists.iter().find(|(list, _)| list.iter().any(|known| without_port(known).as_ref() == Some(&bare)))
        });
        found.map(|(_, platform)| *platform)
    }

    /// The addresses of a platform.
    pub fn of(&mut self, platform: Platform) -> &mut Vec<String> {
        match platform {
            Platform::Web => &mut self.web,
            Platform::Spa => &mut self.spa,
            Platform::Public => &mut self.public,
        }
    }
}

/// A loopback address without its port; none of any other address.
fn without_port(uri: &str) -> Option<url::Url> {
    let mut url = url::Url::parse(uri).ok()?;
    let loopback = url.scheme() == "http" && matches!(url.host_str(), Some("localhost" | "127.0.0.1"));
    (loopback && url.set_port(None).is_ok()).then_some(url)
}

/// A client that was found, and whether it proved who it is.
pub struct Client {
    pub app: Application,
    pub proved: bool,
}

impl Client {
    /// Refuses a client without credentials.
    pub fn prove(&self) -> Result<(), Refusal> {
        if self.proved {
            return Ok(());
        }
        Err(Refusal::client(
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        ))
    }
}

/// Finds the client application and checks the credentials it gave, if it gave any.
pub async fn client(simulator: &Simulator, request: &Request, directory: &Directory) -> Result<Client, Refusal> {
    let form = request.form();
    let basic = request.header("authorization").and_then(|h| h.strip_prefix("Basic ")).and_then(|b| {
        let text = String::from_utf8(STANDARD.decode(b.trim()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((super::super::graph::decode(id), super::super::graph::decode(secret)))
    });
    let id = form.get("client_id").map(str::to_owned).or_else(|| basic.as_ref().map(|(id, _)| id.clone()));
    let id = id.ok_or_else(|| Refusal::missing("client_id"))?;
    let app = simulator.read(|t| directory.application(t, &id))?;
    let secret = form.get("client_secret").map(str::to_owned).or(basic.map(|(_, secret)| secret));
    if let Some(secret) = secret {
        if secret != app.secret {
            let words = format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '{id}'."
            );
            return Err(Refusal::client(7_000_215, words));
        }
        return Ok(Client { app, proved: true });
    }
    let Some(assertion) = form.get("client_assertion") else {
        return Ok(Client { app, proved: false });
    };
    if form.get("client_assertion_type") != Some(JWT_BEARER) {
        return Err(Refusal::missing("client_assertion_type"));
    }
    assertion_holds(simulator, request, &directory.tenant_id, &app, assertion).await?;
    Ok(Client { app, proved: true })
}

/// A client assertion is a JWT of the client itself (iss = sub = client id, aud = this endpoint), or a token of
/// a managed identity that the application trusts.
async fn assertion_holds(
    simulator: &Simulator,
    request: &Request,
    tenant: &str,
    app: &Application,
    assertion: &str,
) -> Result<(), Refusal> {
    let refuse = |number, words: &str| Err(Refusal::client(number, words));
    let Some(claims) = keys::claims_of(assertion) else {
        return refuse(50_027, "JWT token is invalid or malformed.");
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if claims.get("exp").and_then(Value::as_i64).is_some_and(|exp| exp <= simulator.clock.now().timestamp()) {
        return refuse(700_024, "Client assertion is not within its valid time range.");
    }
    let own = text("iss").eq_ignore_ascii_case(&app.client_id) && text("sub").eq_ignore_ascii_case(&app.client_id);
    let origins = [request.origin.as_str(), ISSUED_FOR];
    let here = origins.iter().flat_map(|o| [format!("{o}/{tenant}/oauth2/v2.0/token"), format!("{o}/{tenant}/v2.0")]);
    if own && here.into_iter().any(|audience| audience == text("aud")) {
        return Ok(());
    }
    if own {
        return refuse(700_027, "Client assertion contains an invalid audience.");
    }
    let federated = text("aud") == "api://AzureADTokenExchange" && simulator.entra.verify(assertion).await.is_ok();
    if federated {
        Ok(())
    } else {
        refuse(700_213, "No matching federated identity record found for presented assertion.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_matches_exactly_but_for_the_port_of_a_loopback_address() {
        let redirects = Redirects {
            web: vec!["https://app.contoso.com/back".to_owned()],
            public: vec!["http://localhost/callback".to_owned()],
            ..Redirects::default()
        };
        let known = [
            ("https://app.contoso.com/back", Some(Platform::Web)),
            ("https://app.contoso.com/back/", None),
            ("https://app.contoso.com:8443/back", None),
            ("http://localhost:49152/callback", Some(Platform::Public)),
            ("http://localhost:49152/other", None),
            ("http://127.0.0.1:49152/callback", None),
        ];
        for (uri, platform) in known {
            assert_eq!(redirects.platform(uri), platform, "{uri}");
        }
    }
}
