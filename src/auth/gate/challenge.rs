//! What a refused caller is told to do next: where people sign in, what to ask them for, and what Entra asks for more.

use http::HeaderMap;

use super::{Denied, Gate};
use crate::auth::authorization_server::scopes;
use crate::auth::{Caller, Mode, key};
use crate::azure::claims;

impl Gate {
    /// The `WWW-Authenticate` header that goes with a refusal: where a client finds the sign-in service, and which
    /// scope it needs. Clients that came with a key are not sent there: some would drop the key and sign in instead.
    #[must_use]
    pub fn challenge(&self, denied: &Denied, headers: &HeaderMap) -> Option<String> {
        let error = match denied {
            Denied::Missing => "",
            Denied::Refused(_) | Denied::Expired(_) => "error=\"invalid_token\", ",
            Denied::Powerless => "error=\"insufficient_scope\", ",
            Denied::Challenged(challenge) => {
                let authority = self.entra.as_ref().map(|entra| &entra.config().authority);
                let address = authority.map(|url| format!("{}{}/oauth2/v2.0/authorize", directory(url), self.tenant));
                return Some(format!(
                    "Bearer realm=\"\", authorization_uri=\"{}\", error=\"insufficient_claims\", claims=\"{}\"",
                    address.unwrap_or_default(),
                    claims::encoded(challenge)
                ));
            }
            Denied::Throttled(_) | Denied::NotYet(_) | Denied::Paused | Denied::Unavailable(_) => return None,
        };
        let scope = match (&self.server, &self.config.entra) {
            (Some(server), _) => scopes::joined(server.default_scopes()),
            (None, Some(entra)) => entra.scope(),
            (None, None) => return Some("Bearer".into()),
        };
        let Some(base) = self.config.public_url.as_ref().filter(|_| key::alone(headers).is_empty()) else {
            return Some("Bearer".into());
        };
        let metadata = format!("{}.well-known/oauth-protected-resource/mcp", directory(base));
        Some(format!("Bearer {error}resource_metadata=\"{metadata}\", scope=\"{scope}\""))
    }

    /// The challenge of a call that a client's scopes do not cover: what it asks the person for, beside what it has. `None`
    /// where the scopes suffice, or where asking would help nothing, because no more is offered or the person has no role
    /// for it. With it the caller that the client would have then.
    #[must_use]
    pub fn step_up(&self, caller: &Caller, toolset: &str, mode: Mode) -> Option<(String, Caller)> {
        if caller.grant.mode(toolset) >= Some(mode) {
            return None;
        }
        let (server, person, base) =
            (self.server.as_ref()?, caller.object_id.clone()?, self.config.public_url.as_ref()?);
        let wanted = scopes::scope(toolset, mode);
        let with_it = caller.scopes.iter().cloned().chain(scopes::as_roles(&[wanted.clone()].into())).collect();
        let mut wider = self.config.roles.person(person, caller.tenant.clone()?, with_it, caller.roles.clone());
        if let Some(most) = &self.most {
            wider.grant = wider.grant.and(most);
        }
        if !server.offered().contains(&wanted) || wider.grant.mode(toolset) < Some(mode) {
            return None;
        }
        let has = server.offered().iter().filter(|scope| {
            scopes::parse(scope).is_some_and(|(name, mode)| {
                caller.scopes.iter().any(|held| scopes::as_roles(&[scopes::scope(name, mode)].into()).contains(held))
            })
        });
        let scope = scopes::joined(&has.cloned().chain([wanted]).collect());
        let metadata = format!("{}.well-known/oauth-protected-resource/mcp", directory(base));
        let text = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\", resource_metadata=\"{metadata}\"");
        Some((text, wider))
    }

    /// The metadata of the protected resource (RFC 9728); `None` where tokens are not accepted.
    #[must_use]
    pub fn resource_metadata(&self) -> Option<serde_json::Value> {
        let base = self.config.public_url.as_ref()?;
        let (servers, scopes) = match (&self.server, &self.config.entra) {
            (Some(server), _) => (vec![server.config().issuer()], server.offered().clone()),
            (None, Some(entra)) => (entra.issuers(), [entra.scope()].into()),
            (None, None) => return None,
        };
        Some(serde_json::json!({
            "resource": format!("{}mcp", directory(base)),
            "authorization_servers": servers,
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
            "resource_name": "GraphGate",
        }))
    }
}

/// An address that ends with a slash.
fn directory(base: &url::Url) -> String {
    format!("{}/", base.as_str().trim_end_matches('/'))
}
