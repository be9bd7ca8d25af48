//! The authorization server in the wiring: what the toolsets need as a person, and what proves the application.

use std::collections::{BTreeMap, BTreeSet};

use crate::auth::AuthorizationServer;
use crate::auth::authorization_server::{self, Permissions};
use crate::auth::delegated::microsoft;
use crate::azure::{ClientProof, Credential};
use crate::config::{Config, SignIn, SignInProof};
use crate::http_client::HttpClient;
use crate::ids::Entropy;
use crate::keyring::Keyring;
use crate::rows::TenantTables;
use crate::toolsets::tool::Effect;
use crate::toolsets::{self, Offer, Presence};

/// The server of a deployment where people sign in.
///
/// # Errors
/// When what proves the application cannot be used.
pub fn server(
    config: &Config,
    tables: &TenantTables,
    keyring: &Keyring,
    http: &HttpClient,
    credential: &Credential,
    entropy: &Entropy,
) -> anyhow::Result<Option<AuthorizationServer>> {
    let Some(sign_in) = &config.sign_in else { return Ok(None) };
    let SignIn { public_url, client_id, access_life, idle, .. } = &**sign_in;
    let (toolsets, default) = toolsets_of(&config.mcp.offer);
    let needed = toolsets.values().flat_map(|needs| needs.write.as_ref().unwrap_or(&needs.read));
    let permissions: BTreeSet<String> = needed.cloned().collect();
    let microsoft = microsoft::Config {
        authority: config.loopback_authority.clone().unwrap_or_else(|| sign_in.authority.clone()),
        tenant: config.tenant.clone(),
        client_id: client_id.clone(),
        redirect_uri: format!("{}oauth/callback", public_url.as_str()),
        graph: graph_of(config),
        permissions: permissions.into_iter().collect(),
    };
    let proof = match &sign_in.proof {
        SignInProof::Secret(secret) => ClientProof::secret(secret.clone()),
        SignInProof::ManagedIdentity => ClientProof::federated(credential.clone()),
        SignInProof::Certificate(pem) => {
            let endpoint = microsoft.token_endpoint();
            ClientProof::certificate(pem, client_id, &endpoint, http.clock().clone(), entropy.clone())?
        }
    };
    let settings = authorization_server::Config {
        public_url: public_url.clone(),
        microsoft,
        access_life: *access_life,
        idle: *idle,
        toolsets,
        default,
        admitted: sign_in.admitted.clone(),
    };
    Ok(Some(AuthorizationServer::new(settings, proof, tables, keyring, http, entropy)?))
}

/// Where the permissions of Microsoft Graph belong: its host, and for a simulated tenant the public one.
fn graph_of(config: &Config) -> String {
    match config.graph_url.host() {
        Some(url::Host::Domain(name)) if name != "localhost" => format!("https://{name}"),
        _ => "https://graph.microsoft.com".to_owned(),
    }
}

/// The toolsets that are offered, with what they need as a person, and those a request means that names none.
fn toolsets_of(offer: &Offer) -> (BTreeMap<String, Permissions>, Vec<String>) {
    let mut offered = BTreeMap::new();
    let mut default = Vec::new();
    for toolset in toolsets::all() {
        let tools = || toolset.tools.iter().filter(|tool| offer.serves(tool));
        if tools().next().is_none() {
            continue;
        }
        let needed = |reads_only: bool| {
            let some = tools().filter(|tool| !reads_only || tool.effect == Effect::Reads);
            let mut permissions: Vec<String> =
                some.flat_map(|tool| tool.runs_as.delegated()).map(|name| (*name).to_owned()).collect();
            permissions.sort();
            permissions.dedup();
            permissions
        };
        let writes = tools().any(|tool| tool.effect != Effect::Reads);
        let needs = Permissions { read: needed(true), write: writes.then(|| needed(false)) };
        offered.insert(toolset.name.to_owned(), needs);
        if toolset.presence == Presence::Listed || offer.toolsets.iter().any(|name| name == toolset.name) {
            default.push(toolset.name.to_owned());
        }
    }
    (offered, default)
}
