//! The sign-in service as tests turn it: accounts, sessions, consent, policies, the second tenant, registrations.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::graph::invited;
use super::super::http::Request;
use super::super::simulator::Simulator;
use super::super::state::{Application, Tenant};
use super::consent::{self, Asked, Item};
use super::people::Directory;
use super::rights::{Cause, Partner, Policy};

type Answer = Result<Value, String>;

/// Answers a call under `/_control/entra` that is none of `forge`; `None` if there is no such call.
pub fn route(simulator: &Simulator, request: &Request, segments: &[&str]) -> Option<Answer> {
    Some(match (request.method.as_str(), segments) {
        ("GET", ["people"]) => Ok(people(simulator)),
        ("PUT", ["people"]) => read(request).and_then(|change| set_person(simulator, &change)),
        ("POST", ["guests"]) => read(request).and_then(|guest: Guest| invite(simulator, &guest.user)),
        ("POST", ["revoke"]) => read(request).and_then(|end| revoke(simulator, &end)),
        ("GET", ["consents"]) => Ok(consents(simulator)),
        ("PUT", ["consents"]) => read(request).and_then(|given| allow(simulator, &given)),
        ("DELETE", ["consents"]) => read(request).and_then(|given| withdraw(simulator, &given)),
        ("GET", ["policies"]) => Ok(json!({"policies": simulator.read(|t| t.rights.policies.clone())})),
        ("PUT", ["policies"]) => read(request).map(|Policies { policies }| {
            simulator.write(|t| t.rights.policies.clone_from(&policies));
            json!({ "policies": policies })
        }),
        ("GET", ["partner"]) => Ok(json!(simulator.read(|t| t.rights.partner.clone()))),
        ("PUT", ["partner"]) => read(request).map(|partner: Partner| {
            simulator.write(|t| t.rights.partner = partner.clone());
            json!(partner)
        }),
        ("GET", ["applications"]) => Ok(applications(simulator)),
        ("PUT", ["applications"]) => read(request).and_then(|change| register(simulator, change)),
        _ => return None,
    })
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    let body: &[u8] = if request.body.is_empty() { b"{}" } else { &request.body };
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policies {
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Guest {
    user: String,
}

/// The object id of a person of either tenant, and whether it is the first.
fn find(tenant: &Tenant, key: &str) -> Result<(String, bool), String> {
    if let Some((id, _)) = tenant.find_user(key) {
        return Ok((id, true));
    }
    let mut strangers = tenant.rights.partner.people.iter();
    let found = strangers.find(|p| p.id == key || p.user_principal_name.eq_ignore_ascii_case(key));
    found.map(|person| (person.id.clone(), false)).ok_or_else(|| format!("there is no person '{key}'"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonChange {
    user: String,
    enabled: Option<bool>,
    administrator: Option<bool>,
    #[serde(default)]
    deleted: bool,
}

fn people(simulator: &Simulator) -> Value {
    simulator.read(|t| json!({"administrators": t.rights.administrators, "partner": t.rights.partner.people}))
}

fn set_person(simulator: &Simulator, change: &PersonChange) -> Answer {
    let now = simulator.clock.now();
    simulator.write(|t| {
        let (id, first) = find(t, &change.user)?;
        if let Some(enabled) = change.enabled {
            if let Some(mut user) = t.users.get(&id).map(super::super::table::Entity::object) {
                user.insert("accountEnabled".to_owned(), enabled.into());
                t.replace(|t| &mut t.users, &id, &user);
            }
            t.rights.partner.people.iter_mut().filter(|p| p.id == id).for_each(|p| p.enabled = enabled);
        }
        if let Some(administrator) = change.administrator {
            t.rights.administrators.retain(|known| *known != id);
            t.rights.administrators.extend(administrator.then(|| id.clone()));
        }
        if change.deleted && first {
            t.soft_delete(now, "user", &id);
        } else if change.deleted {
            t.rights.partner.people.retain(|p| p.id != id);
        }
        Ok::<(), String>(())
    })?;
    Ok(people(simulator))
}

fn invite(simulator: &Simulator, key: &str) -> Answer {
    let id = simulator.write(|t| {
        let (_, first) = find(t, key)?;
        if first {
            return Err(format!("'{key}' is of the first tenant"));
        }
        let mut people = t.rights.partner.people.clone().into_iter();
        let person = people.find(|p| p.id == key || p.user_principal_name.eq_ignore_ascii_case(key));
        let person = person.ok_or_else(|| format!("there is no person '{key}'"))?;
        Ok(invited(t, &person.user_principal_name, &person.display_name))
    })?;
    Ok(json!({ "id": id }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    user: String,
    #[serde(default)]
    cause: Cause,
}

fn revoke(simulator: &Simulator, end: &End) -> Answer {
    let now = simulator.clock.now();
    let id = simulator.write(|t| {
        let (id, _) = find(t, &end.user)?;
        t.end_sessions(&id, end.cause, now);
        Ok::<String, String>(id)
    })?;
    Ok(json!({ "id": id }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    client_id: Option<String>,
    /// Absent = all people.
    user: Option<String>,
    /// As in a scope parameter; absent = all, for a withdrawal.
    scope: Option<String>,
}

impl Given {
    /// The application, and the person's id with their tenant.
    fn found(&self, tenant: &Tenant) -> Result<(Application, Directory, Option<String>), String> {
        let app = match &self.client_id {
            Some(id) => tenant.application(id),
            None => tenant.applications.first(),
        };
        let app = app.cloned().ok_or("there is no such application")?;
        let person = self.user.as_deref().map(|user| find(tenant, user)).transpose()?;
        let first = person.as_ref().is_none_or(|(_, first)| *first);
        let name = if first { &tenant.tenant_id } else { &tenant.rights.partner.tenant_id };
        let directory = Directory::named(tenant, name).ok_or("there is no such tenant")?;
        Ok((app, directory, person.map(|(id, _)| id)))
    }

    fn items(&self, tenant: &Tenant, app: &Application) -> Result<Vec<Item>, String> {
        let asked = Asked::parse(self.scope.as_deref().unwrap_or_default());
        let oidc = (!asked.oidc.is_empty()).then(|| (super::GRAPH.to_owned(), asked.oidc.clone()));
        let all = asked.resources.into_iter().chain(oidc);
        let item = |(resource, names): (String, Vec<String>)| {
            let resource = consent::key(tenant, &resource).map_err(|refusal| refusal.words)?;
            Ok(Item { client_id: app.client_id.clone(), resource, names })
        };
        all.map(item).collect()
    }
}

fn consents(simulator: &Simulator) -> Value {
    json!({"consents": simulator.read(|t| t.rights.consents.clone())})
}

fn allow(simulator: &Simulator, given: &Given) -> Answer {
    simulator.write(|t| {
        let (app, directory, user) = given.found(t)?;
        let items = given.items(t, &app)?;
        if items.is_empty() {
            return Err("`scope` names what is consented to".to_owned());
        }
        consent::grant(t, &directory, user.as_deref(), &items);
        Ok(())
    })?;
    Ok(consents(simulator))
}

fn withdraw(simulator: &Simulator, given: &Given) -> Answer {
    simulator.write(|t| {
        let (app, directory, user) = given.found(t)?;
        let items = given.items(t, &app)?;
        for held in &mut t.rights.consents {
            let theirs = held.tenant == directory.tenant_id && held.client_id == app.client_id && held.user == user;
            if !theirs {
                continue;
            }
            if given.scope.is_none() {
                held.scopes.clear();
            }
            for item in items.iter().filter(|item| item.resource == held.resource) {
                held.scopes.retain(|scope| !item.names.contains(scope));
            }
        }
        t.rights.consents.retain(|held| !held.scopes.is_empty());
        t.changes += 1;
        Ok::<(), String>(())
    })?;
    Ok(consents(simulator))
}

fn applications(simulator: &Simulator) -> Value {
    json!({"applications": simulator.read(|t| t.applications.clone())})
}

/// Changes a registration member by member, or makes one.
fn register(simulator: &Simulator, change: Value) -> Answer {
    let Value::Object(change) = change else { return Err("an object with the members to change expected".to_owned()) };
    simulator.write(|t| {
        let wanted = change.get("client_id").and_then(Value::as_str).map(str::to_owned);
        let wanted = wanted.or_else(|| t.applications.first().map(|app| app.client_id.clone())).unwrap_or_default();
        let known = t.applications.iter().position(|app| app.client_id.eq_ignore_ascii_case(&wanted));
        let before = match known.and_then(|at| t.applications.get(at)) {
            Some(app) => app.clone(),
            None => {
                let object_id = t.rng.guid();
                Application::new(&wanted, object_id, &wanted, "simulated-client-secret")
            }
        };
        let mut members = json!(before);
        if let Value::Object(members) = &mut members {
            if let Some(unknown) = change.keys().find(|name| !members.contains_key(name.as_str())) {
                return Err(format!("an application has no `{unknown}`"));
            }
            members.extend(change);
        }
        let app: Application = serde_json::from_value(members).map_err(|error| error.to_string())?;
        match known.and_then(|at| t.applications.get_mut(at)) {
            Some(place) => *place = app,
            None => t.applications.push(app),
        }
        Ok(())
    })?;
    Ok(applications(simulator))
}
