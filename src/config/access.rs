//! Settings of authentication.

use std::net::IpAddr;

use chrono::TimeDelta;
use ipnet::IpNet;
use url::Url;

use super::{Reader, is_safe};
use crate::auth::{self, Roles, entra};
use crate::azure::Secret;
use crate::host::HostMode;

/// The shortest key of a deployment that others can reach.
const SHORTEST_KEY: usize = 16;

/// Reads them. `reachable` says by whom the server can be reached beside this machine, if by anybody.
pub(super) fn read(
    reader: &mut Reader<'_>,
    tenant: &str,
    authority: Option<&str>,
    reachable: Option<&str>,
) -> auth::Config {
    let roles = reader.text("ROLES").map(|text| Roles::parse(&text)).transpose().unwrap_or_else(|error| {
        reader.problems.push(format!("`ROLES` cannot be read: {error}"));
        None
    });
    if let Some(roles) = &roles
        && let Err(wrong) = super::check_toolsets(roles.toolsets())
    {
        reader.problems.push(format!("`ROLES`: {wrong}"));
    }
    let public_url = public_url(reader);
    let default = super::default_of("SIGNATURE_WINDOW_SECONDS").parse().unwrap_or_default();
    let seconds = |text: &str| text.parse().ok().filter(|seconds| (30..=3000).contains(seconds));
    let window = reader.parsed("SIGNATURE_WINDOW_SECONDS", default, seconds, "seconds, 30 to 3000");
    let config = auth::Config {
        key: reader.text("GRAPHGATE_API_KEY").map(|text| Secret::new(&text)),
        requires_key: reader.flag("REQUIRE_API_KEY"),
        entra: entra(reader, tenant, authority),
        easy_auth: easy_auth(reader),
        host_key_role: host_key_role(reader, roles.as_ref()),
        signs_in: reader.text("SIGN_IN_CLIENT_ID").is_some(),
        roles: roles.unwrap_or_default(),
        calls_per_minute: u32::try_from(reader.number("CALLS_PER_MINUTE")).unwrap_or(u32::MAX),
        lets_anybody_in: reader.flag("ALLOW_ANONYMOUS"),
        public_url,
        signature_window: TimeDelta::seconds(window),
    };
    let weak = |key: &Secret| key.expose().chars().count() < SHORTEST_KEY;
    if let Some(reachable) = reachable
        && config.key.as_ref().is_some_and(weak)
    {
        reader.problems.push(format!(
            "`GRAPHGATE_API_KEY` has fewer than {SHORTEST_KEY} characters and the server is reachable {reachable}: it could be guessed; `openssl rand -base64 24` makes one"
        ));
    }
    if let Some(reachable) = reachable
        && !config.asks()
        && !config.lets_anybody_in
    {
        reader.problems.push(format!(
            "the server is reachable {reachable} and nobody would be asked who they are: set `ENTRA_AUDIENCE`, `GRAPHGATE_API_KEY`, `REQUIRE_API_KEY` or `HOST_KEY_ROLE` (or `ALLOW_ANONYMOUS=true`)"
        ));
    }
    if config.entra.is_some() && config.public_url.is_none() && reachable.is_some() {
        reader
            .problems
            .push("`PUBLIC_URL` is not set: clients need the server's address to find the sign-in service".into());
    }
    config
}

/// Whose tokens are accepted. Nothing here may be a wildcard: a token is for us, or it is refused.
fn entra(reader: &mut Reader<'_>, tenant: &str, authority: Option<&str>) -> Option<entra::Config> {
    let audiences = reader.list("ENTRA_AUDIENCE");
    let mut tenants = reader.list("ENTRA_TENANT_IDS");
    let clients = reader.list("ENTRA_CLIENT_IDS");
    if audiences.is_empty() {
        if !tenants.is_empty() || !clients.is_empty() {
            reader.problems.push("`ENTRA_TENANT_IDS` or `ENTRA_CLIENT_IDS` is set without `ENTRA_AUDIENCE`".into());
        }
        return None;
    }
    if tenants.is_empty() {
        tenants.push(tenant.to_owned());
    }
    let listed = [("ENTRA_AUDIENCE", &audiences), ("ENTRA_TENANT_IDS", &tenants), ("ENTRA_CLIENT_IDS", &clients)];
    for (name, values) in listed {
        if let Some(value) = values.iter().find(|value| value.contains('*')) {
            reader.problems.push(format!("`{name}` holds `{value}`: each value is named in full"));
        }
    }
    let id = |text: &String| uuid::Uuid::try_parse(text).is_err();
    if let Some(value) = tenants.iter().find(|tenant| id(tenant)) {
        reader.problems.push(format!(
            "`ENTRA_TENANT_IDS` (or `AZURE_TENANT_ID`) holds `{value}`: the directory id of one tenant expected, as in its overview page"
        ));
    }
    let authority = authority.unwrap_or("https://login.microsoftonline.com");
    match Url::parse(authority).ok().filter(is_safe) {
        Some(authority) => Some(entra::Config { audiences, tenants, clients, authority }),
        None => {
            reader.problems.push(format!("`AZURE_AUTHORITY_HOST` is `{authority}`: an https address expected"));
            None
        }
    }
}

/// The role a Functions key stands for. Only the Functions host checks such keys, so it means nothing elsewhere.
fn host_key_role(reader: &mut Reader<'_>, roles: Option<&Roles>) -> Option<String> {
    let role = reader.text("HOST_KEY_ROLE")?;
    if !roles.unwrap_or(&Roles::default()).knows(&role) {
        reader.problems.push(format!(
            "`HOST_KEY_ROLE` is `{role}`: a role expected, such as `GraphGate.Admin`, `Planner.ReadWrite` or one of `ROLES`"
        ));
    }
    reader.text("FUNCTIONS_CUSTOMHANDLER_PORT").map(|_| role)
}

/// The networks calls may come from; none is all. Behind the Functions host every call comes from the host, so nothing
/// could be told apart there.
pub(super) fn networks(reader: &mut Reader<'_>, host: HostMode) -> Vec<IpNet> {
    let listed = reader.list("ALLOWED_IPS");
    if host.is_functions() && !listed.is_empty() {
        reader.problems.push(
            "`ALLOWED_IPS` is set under the Functions host, which hides where calls come from: `azd env set ALLOWED_IPS …` and `azd provision` have the platform hold it"
                .into(),
        );
    }
    let mut networks = Vec::new();
    for text in listed {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => networks.push(network),
            Err(_) => reader.problems.push(format!(
                "`ALLOWED_IPS` holds `{text}`: an address or a network expected, as in `203.0.113.7` or `10.0.0.0/8`"
            )),
        }
    }
    networks
}

/// Whether App Service signs callers in. Elsewhere any caller could send its header, so it is believed nowhere else.
fn easy_auth(reader: &mut Reader<'_>) -> bool {
    let on = reader.flag("WEBSITE_AUTH_ENABLED");
    if on && reader.text("WEBSITE_HOSTNAME").is_none() {
        reader.problems.push(
            "`WEBSITE_AUTH_ENABLED` is set, and this is no App Service (`WEBSITE_HOSTNAME` is not set): anybody could send its header; leave it out"
                .into(),
        );
    }
    on
}

fn public_url(reader: &mut Reader<'_>) -> Option<Url> {
    let own = reader.text("PUBLIC_URL");
    let text = own.or_else(|| reader.text("WEBSITE_HOSTNAME").map(|host| format!("https://{host}")))?;
    let url = Url::parse(&text).ok().filter(is_safe).filter(|url| url.query().is_none());
    if url.is_none() {
        reader
            .problems
            .push(format!("`PUBLIC_URL` is `{text}`: an https address expected, as in `https://gate.contoso.com`"));
    }
    url
}
