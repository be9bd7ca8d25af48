//! Scopes and consent: what a request asks for, what that resource offers, and what a person or an administrator has yet
//! to allow.

use std::collections::BTreeSet;

use super::super::state::{Application, Tenant};
use super::people::{Directory, Person};
use super::refusal::Refusal;
use super::{GRAPH, GRAPH_APP};

/// Scopes of OpenID Connect.
pub const OIDC: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// A parsed scope parameter.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub oidc: Vec<String>,
    /// Names by resource, in the order they came in.
    pub resources: Vec<(String, Vec<String>)>,
}

/// Scopes of one resource that one application wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub client_id: String,
    pub resource: String,
    pub names: Vec<String>,
}

impl Asked {
    /// Reads a scope parameter: `https://graph.microsoft.com/User.Read` has a resource, `User.Read` means Graph.
    pub fn parse(scope: &str) -> Self {
        let mut asked = Self::default();
        for part in scope.split_whitespace() {
            if OIDC.contains(&part) {
                asked.oidc.push(part.to_owned());
                continue;
            }
            let owned = part.rsplit_once('/').map(|(owner, name)| (owner.trim_end_matches('/'), name));
            let (owner, name) = owned.unwrap_or((GRAPH, part));
            match asked.resources.iter_mut().find(|(known, _)| known == owner) {
                Some((_, names)) => names.push(name.to_owned()),
                None => asked.resources.push((owner.to_owned(), vec![name.to_owned()])),
            }
        }
        asked
    }

    /// Whether one of the scopes of OpenID Connect is among them.
    pub fn has(&self, name: &str) -> bool {
        self.oidc.iter().any(|known| known == name)
    }

    /// The one resource of a token; Graph when only OpenID Connect is asked for.
    pub fn single(&self, scope: &str) -> Result<(String, Vec<String>), Refusal> {
        match self.resources.as_slice() {
            [] if self.oidc.is_empty() => Err(Refusal::missing("scope")),
            [] => Ok((GRAPH.to_owned(), Vec::new())),
            [one] => Ok(one.clone()),
            _ => Err(Refusal::new(
                "invalid_request",
                28_000,
                format!(
                    "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope {scope} is not valid."
                ),
            )),
        }
    }
}

/// The application behind a resource, if it is one of the tenant.
pub fn owner<'a>(tenant: &'a Tenant, resource: &str) -> Option<&'a Application> {
    let bare = resource.strip_prefix("api://").unwrap_or(resource);
    tenant.application(bare).or_else(|| {
        tenant.applications.iter().find(|a| a.identifier_uris.iter().any(|uri| uri.eq_ignore_ascii_case(resource)))
    })
}

/// The name under which consent to a resource is kept; refuses a resource that the tenant does not have.
pub fn key(tenant: &Tenant, resource: &str) -> Result<String, Refusal> {
    if [GRAPH, GRAPH_APP].contains(&resource) {
        return Ok(GRAPH.to_owned());
    }
    if let Some(app) = owner(tenant, resource) {
        return Ok(app.client_id.clone());
    }
    if resource.starts_with("https://") {
        return Ok(resource.to_owned());
    }
    let words = format!(
        "The resource principal named {resource} was not found in the tenant named {}. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.",
        tenant.display_name
    );
    Err(Refusal::new("invalid_resource", 500_011, words))
}

/// Everything that `.default` stands for.
fn registered(tenant: &Tenant, app: &Application, key: &str) -> Vec<String> {
    if key == GRAPH {
        return app.scopes.clone();
    }
    match owner(tenant, key) {
        Some(owner) if !owner.exposes.is_empty() => owner.exposes.clone(),
        _ => vec!["user_impersonation".to_owned()],
    }
}

/// Refuses a name that the resource, or the registration of the application, does not know.
fn known(tenant: &Tenant, app: &Application, key: &str, name: &str) -> Result<(), Refusal> {
    let known = if key == GRAPH {
        app.scopes.iter().any(|scope| scope == name)
    } else {
        owner(tenant, key).is_none_or(|owner| owner.exposes.is_empty() || owner.exposes.iter().any(|s| s == name))
    };
    if known {
        return Ok(());
    }
    let words = format!(
        "The application '{}' asked for scope '{name}' that doesn't exist on the resource '{key}'. Contact the app vendor.",
        app.display_name
    );
    Err(Refusal::new("invalid_client", 650_053, words))
}

/// Scopes a person cannot consent to alone, after the column "admin consent required" of the
/// [permissions reference](https://learn.microsoft.com/graph/permissions-reference).
pub fn needs_administrator(item: &Item, name: &str) -> bool {
    const OPEN: [&str; 11] = [
        "User.ReadBasic.All",
        "Files.Read.All",
        "Files.ReadWrite.All",
        "Sites.Read.All",
        "Sites.ReadWrite.All",
        "Team.ReadBasic.All",
        "Channel.ReadBasic.All",
        "Presence.Read.All",
        "Notes.Read.All",
        "Notes.ReadWrite.All",
        "Acronym.Read.All",
    ];
    item.resource == GRAPH && name.ends_with(".All") && !OPEN.contains(&name)
}

/// What a person holds of a resource through an application, whether they or an administrator consented, or the resource
/// trusts the application.
fn held(tenant: &Tenant, directory: &Directory, app: &Application, user: &str, key: &str) -> Vec<String> {
    tenant.rights.consented(&directory.tenant_id, &app.client_id, user, key)
}

fn is_preauthorized(tenant: &Tenant, app: &Application, key: &str) -> bool {
    let trusts = |owner: &Application| owner.preauthorized.iter().any(|id| id.eq_ignore_ascii_case(&app.client_id));
    owner(tenant, key).is_some_and(trusts)
}

/// All that a consent page has to cover for a request.
pub fn wanted(
    tenant: &Tenant,
    directory: &Directory,
    app: &Application,
    user: &str,
    asked: &Asked,
) -> Result<Vec<Item>, Refusal> {
    let mut items = Vec::new();
    let mut add = |client_id: &str, resource: &str, names: Vec<String>| {
        items.push(Item { client_id: client_id.to_owned(), resource: resource.to_owned(), names });
    };
    if !asked.oidc.is_empty() {
        add(&app.client_id, GRAPH, asked.oidc.clone());
    }
    for (resource, names) in &asked.resources {
        let key = key(tenant, resource)?;
        if names.iter().any(|name| name == ".default") {
            let has = held(tenant, directory, app, user, &key);
            // `.default` asks for everything only of someone who has not consented to anything yet.
            let fresh = has.iter().all(|name| OIDC.contains(&name.as_str()));
            add(&app.client_id, &key, if fresh { registered(tenant, app, &key) } else { has });
            let below = owner(tenant, &key)
                .filter(|owner| owner.known_clients.iter().any(|id| id.eq_ignore_ascii_case(&app.client_id)));
            if let Some(below) = below {
                add(&below.client_id, GRAPH, below.scopes.clone());
            }
        } else {
            names.iter().try_for_each(|name| known(tenant, app, &key, name))?;
            add(&app.client_id, &key, names.clone());
        }
    }
    Ok(items)
}

/// What is left of it once all that was consented to is taken away.
pub fn missing(tenant: &Tenant, directory: &Directory, user: &str, items: Vec<Item>) -> Vec<Item> {
    let left = |mut item: Item| {
        let app = tenant.application(&item.client_id)?;
        let has = held(tenant, directory, app, user, &item.resource);
        // Signing in alone is part of any consent; it is asked for where there is none.
        let any = tenant.rights.consents.iter().any(|c| {
            c.tenant == directory.tenant_id
                && c.client_id == app.client_id
                && c.user.as_deref().is_none_or(|u| u == user)
        });
        let free = is_preauthorized(tenant, app, &item.resource);
        item.names.retain(|name| !(has.contains(name) || free || any && OIDC.contains(&name.as_str())));
        (!item.names.is_empty()).then_some(item)
    };
    items.into_iter().filter_map(left).collect()
}

/// Writes consent down: of one person, or of an administrator for all.
pub fn grant(tenant: &mut Tenant, directory: &Directory, user: Option<&str>, items: &[Item]) {
    for item in items {
        tenant.rights.consent(&directory.tenant_id, &item.client_id, user, &item.resource, &item.names);
    }
    tenant.changes += 1;
}

/// The scopes that a token of one resource gets; refuses what was not consented to.
pub fn granted(
    tenant: &Tenant,
    directory: &Directory,
    app: &Application,
    person: &Person,
    resource: &str,
    names: &[String],
) -> Result<Vec<String>, Refusal> {
    let key = key(tenant, resource)?;
    let has: BTreeSet<String> = held(tenant, directory, app, &person.id, &key).into_iter().collect();
    let free = is_preauthorized(tenant, app, &key);
    if names.iter().any(|name| name == ".default") {
        let all: Vec<String> =
            registered(tenant, app, &key).into_iter().filter(|name| free || has.contains(name)).collect();
        // A resource that names no scopes of its own gives what was consented to by name.
        let all = if all.is_empty() && key != GRAPH {
            has.into_iter().filter(|name| !OIDC.contains(&name.as_str())).collect()
        } else {
            all
        };
        return if all.is_empty() { Err(Refusal::consent(app)) } else { Ok(all) };
    }
    // A scope that was taken from the registration is gone, even where people consented to it.
    let lost = |name: &String| key == GRAPH && !app.scopes.contains(name);
    if names.iter().any(|name| lost(name) || !(free || has.contains(name))) {
        return Err(Refusal::consent(app));
    }
    Ok(names.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_without_a_resource_means_graph() {
        let asked =
            Asked::parse("openid offline_access User.Read api://x/access https://graph.microsoft.com/Tasks.Read");
        assert_eq!(asked.oidc, ["openid", "offline_access"]);
        let graph = (GRAPH.to_owned(), vec!["User.Read".to_owned(), "Tasks.Read".to_owned()]);
        assert_eq!(asked.resources, [graph, ("api://x".to_owned(), vec!["access".to_owned()])]);
        assert_eq!(asked.single("…").unwrap_err().number, 28_000);
        assert_eq!(Asked::parse("openid").single("openid").unwrap().0, GRAPH);
        assert_eq!(Asked::parse("").single("").unwrap_err().number, 900_144);
    }
}
