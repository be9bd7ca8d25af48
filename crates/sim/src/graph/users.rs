//! Users: list, read, create, change, delete, and whom they report to and belong to.

use serde_json::{Map, Value, json};

use super::super::clock;
use super::super::entra::rights::Cause;
use super::super::state::{Object, Tenant};
use super::call::{Answer, Call, Outcome};
use super::directory::{self, DENIED, GROUP_READ, USER, USER_DEFAULT, USER_READ, USER_WRITE};
use super::error::GraphError;
use super::odata::{self, Collection};

const KIND: &str = "microsoft.graph.user";
const REVOKE: &[&str] = &["User.RevokeSessions.All"];

/// Answers a request under `/users` (and `/me`, which arrives here as its user).
pub fn route(call: &Call, tenant: &mut Tenant) -> Outcome {
    let path = call.path();
    let own =
        path.get(1).is_some_and(|key| tenant.find_user(key).is_some_and(|(id, _)| Some(id.as_str()) == call.user()));
    let write =
        call.method != "GET" && !path.get(2).is_some_and(|s| s.starts_with("check") || s.starts_with("getMember"));
    let mut delegated = if write { USER_WRITE.to_vec() } else { USER_READ.to_vec() };
    if own && path.len() >= 2 {
        delegated.extend(if write { &["User.ReadWrite"][..] } else { &["User.Read", "User.ReadWrite"][..] });
    }
    if path.get(2) == Some(&"assignLicense") {
        super::licences::may_assign(call)?;
    } else if path.get(2) == Some(&"revokeSignInSessions") {
        delegated.extend(REVOKE);
        call.require(DENIED, &[USER_WRITE, REVOKE].concat(), &delegated)?;
    } else if !write && matches!(path.as_slice(), [_, _, "memberOf" | "transitiveMemberOf" | "joinedTeams", ..]) {
        delegated.extend(GROUP_READ);
        let mut application = USER_READ.to_vec();
        application.extend(GROUP_READ);
        call.require(DENIED, &application, &delegated)?;
    } else {
        call.require(DENIED, if write { USER_WRITE } else { USER_READ }, &delegated)?;
    }
    match (call.method.as_str(), path.as_slice()) {
        ("GET", [_]) => odata::list(call, all(call, tenant)),
        ("GET", [_, "$count"]) => odata::count(call, all(call, tenant)),
        ("GET", [_, "delta"]) => directory::delta(call, tenant, "user", USER, USER_DEFAULT),
        ("POST", [_]) => create(call, tenant),
        (method, [_, key, rest @ ..]) => {
            let (id, user) = tenant.find_user(key).ok_or_else(|| GraphError::no_resource(key))?;
            one(call, tenant, method, &id, user, rest)
        }
        (method, _) => Err(GraphError::method(method)),
    }
}

fn all<'a>(call: &Call, tenant: &Tenant) -> Collection<'a> {
    let expand = call.query.get("$expand").unwrap_or_default();
    let items = tenant.users.all().into_iter().map(|(id, e)| expanded(tenant, id, e.object(), expand)).collect();
    Collection { items, kind: KIND, context: "users", known: USER, default: USER_DEFAULT }
}

fn one(call: &Call, tenant: &mut Tenant, method: &str, id: &str, user: Object, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => read(call, tenant, id, user),
        ("PATCH", []) => update(call, tenant, id, user),
        ("DELETE", []) => {
            tenant.soft_delete(call.now, "user", id);
            for list in tenant.members.values_mut().chain(tenant.owners.values_mut()) {
                list.retain(|member| member != id);
            }
            Ok(Answer::no_content())
        }
        ("GET", ["manager"]) => match tenant.managers.get(id).and_then(|m| directory::object(tenant, m)) {
            Some(manager) => {
                let mut body = Object::new();
                body.insert("@odata.context".to_owned(), call.context("directoryObjects/$entity").into());
                body.extend(odata::select_or(&manager, call.query.select().as_deref(), USER_DEFAULT));
                Ok(Answer::json(200, &body))
            }
            None => Err(GraphError::no_resource("manager")),
        },
        ("PUT", ["manager", "$ref"]) => {
            let manager = directory::referenced(tenant, call.object()?.get("@odata.id").unwrap_or(&Value::Null))?;
            tenant.managers.insert(id.to_owned(), manager);
            Ok(Answer::no_content())
        }
        ("DELETE", ["manager", "$ref"]) => {
            tenant.managers.remove(id).map(|_| Answer::no_content()).ok_or_else(|| GraphError::no_resource("manager"))
        }
        ("GET", ["directReports", tail @ ..]) => {
            let users = tenant.users.all();
            let reports: Vec<String> = users
                .iter()
                .filter(|(u, _)| tenant.managers.get(*u).is_some_and(|m| m == id))
                .map(|(u, _)| (*u).to_owned())
                .collect();
            directory::relation(call, tenant, &reports, tail)
        }
        ("GET", ["memberOf" | "transitiveMemberOf", tail @ ..]) => {
            directory::relation(call, tenant, &directory::groups_of(tenant, id), tail)
        }
        ("GET", ["ownedObjects" | "createdObjects", tail @ ..]) => {
            let owned: Vec<String> = tenant
                .groups
                .all()
                .into_iter()
                .map(|(g, _)| g.to_owned())
                .filter(|g| tenant.owners.get(g).is_some_and(|o| o.iter().any(|u| u == id)))
                .collect();
            directory::relation(call, tenant, &owned, tail)
        }
        ("GET", ["ownedDevices" | "registeredDevices", tail @ ..]) => directory::relation(call, tenant, &[], tail),
        ("GET", ["licenseDetails"]) => super::licences::details(call, id, &user),
        ("GET", ["joinedTeams"]) => {
            let teams: Vec<Value> = directory::groups_of(tenant, id)
                .iter()
                .filter_map(|g| super::groups::team(tenant, g))
                .map(Value::Object)
                .collect();
            Ok(Answer::json(200, &json!({"@odata.context": call.context("teams"), "value": teams})))
        }
        ("GET", ["oauth2PermissionGrants"]) => super::consents::list(call, tenant, Some(id)),
        ("POST", ["revokeSignInSessions" | "invalidateAllRefreshTokens"]) => {
            tenant.end_sessions(id, Cause::Revoked, call.now);
            Ok(Answer::json(200, &json!({"@odata.context": call.context("Edm.Boolean"), "value": true})))
        }
        ("POST", ["changePassword"]) if call.user() == Some(id) => {
            tenant.end_sessions(id, Cause::PasswordChanged, call.now);
            Ok(Answer::no_content())
        }
        ("GET", ["appRoleAssignments" | "extensions" | "agreementAcceptances"]) => {
            let name = rest.first().copied().unwrap_or_default();
            Ok(Answer::json(
                200,
                &json!({"@odata.context": call.context(&format!("users('{id}')/{name}")), "value": []}),
            ))
        }
        ("POST", ["checkMemberGroups"]) => check_member(call, tenant, id, "groupIds"),
        ("POST", ["checkMemberObjects"]) => check_member(call, tenant, id, "ids"),
        ("POST", ["getMemberGroups" | "getMemberObjects"]) => member_of(call, tenant, id),
        ("POST", ["assignLicense"]) => super::licences::assign(call, tenant, id, user),
        ("GET", [name]) if USER.contains(name) => {
            let value = user.get(*name).cloned().unwrap_or_default();
            if value.is_null() {
                return Ok(Answer::no_content());
            }
            Ok(Answer::json(
                200,
                &json!({"@odata.context": call.context(&format!("users('{id}')/{name}")), "value": value}),
            ))
        }
        (method, []) => Err(GraphError::method(method)),
        (_, [segment, ..]) => Err(GraphError::no_segment(segment)),
    }
}

/// The groups among the asked ids that an object belongs to.
pub fn check_member(call: &Call, tenant: &Tenant, id: &str, name: &str) -> Outcome {
    let asked = call.object()?.get(name).and_then(Value::as_array).cloned();
    let asked = asked.ok_or_else(|| GraphError::bad_request(format!("The property '{name}' is missing.")))?;
    let groups = directory::groups_of(tenant, id);
    let held: Vec<&String> = groups.iter().filter(|g| asked.iter().any(|a| a.as_str() == Some(g))).collect();
    Ok(Answer::json(200, &json!({"@odata.context": call.context("Collection(Edm.String)"), "value": held})))
}

/// All groups an object belongs to, or the security-enabled ones.
pub fn member_of(call: &Call, tenant: &Tenant, id: &str) -> Outcome {
    let Some(Value::Bool(secure)) = call.object()?.get("securityEnabledOnly") else {
        return Err(GraphError::bad_request("The property 'securityEnabledOnly' is missing."));
    };
    let is_secure = |g: &String| {
        tenant.groups.get(g).is_some_and(|e| e.object().get("securityEnabled") == Some(&Value::Bool(true)))
    };
    let groups: Vec<String> =
        directory::groups_of(tenant, id).into_iter().filter(|g| !secure || is_secure(g)).collect();
    Ok(Answer::json(200, &json!({"@odata.context": call.context("Collection(Edm.String)"), "value": groups})))
}

fn read(call: &Call, tenant: &Tenant, id: &str, user: Object) -> Outcome {
    let select = call.query.select();
    odata::check_names(select.as_deref().unwrap_or_default(), KIND, USER)?;
    let expand = call.query.get("$expand").unwrap_or_default();
    let user = expanded(tenant, id, user, expand);
    let mut body = Object::new();
    let context = select
        .as_ref()
        .map_or_else(|| "users/$entity".to_owned(), |names| format!("users({})/$entity", names.join(",")));
    body.insert("@odata.context".to_owned(), call.context(&context).into());
    body.extend(odata::select_or(&user, select.as_deref(), USER_DEFAULT));
    for name in ["manager", "memberOf", "directReports", "extensions"] {
        if let Some(value) = user.get(&format!("@{name}")) {
            body.shift_remove(&format!("@{name}"));
            body.insert(name.to_owned(), value.clone());
        }
    }
    Ok(Answer::json(200, &body))
}

/// Adds expanded relations, under a name that `$select` leaves alone; the reader renames it.
fn expanded(tenant: &Tenant, id: &str, mut user: Object, expand: &str) -> Object {
    for name in ["manager", "memberOf", "directReports", "extensions"] {
        let Some((_, options)) = expand.split_once(name) else {
            continue;
        };
        let levels = if options.contains("$levels") { 20 } else { 1 };
        let value = match name {
            "manager" => manager_chain(tenant, id, levels, options),
            "memberOf" => directory::groups_of(tenant, id)
                .iter()
                .filter_map(|g| directory::object(tenant, g))
                .map(Value::Object)
                .collect(),
            "directReports" => tenant
                .managers
                .iter()
                .filter(|(_, m)| *m == id)
                .filter_map(|(u, _)| directory::object(tenant, u))
                .map(|u| Value::Object(odata::select_or(&u, None, USER_DEFAULT)))
                .collect(),
            _ => json!([]),
        };
        if !value.is_null() {
            user.insert(format!("@{name}"), value);
        }
    }
    user
}

fn manager_chain(tenant: &Tenant, id: &str, levels: usize, options: &str) -> Value {
    let Some(manager) = tenant.managers.get(id).filter(|_| levels > 0) else {
        return Value::Null;
    };
    let Some(object) = directory::object(tenant, manager) else {
        return Value::Null;
    };
    let select: Option<Vec<String>> = options.split_once("$select=").map(|(_, names)| {
        names.split([')', ';']).next().unwrap_or_default().split(',').map(|n| n.trim().to_owned()).collect()
    });
    let mut shown = odata::select_or(&object, select.as_deref(), USER_DEFAULT);
    let above = manager_chain(tenant, manager, levels - 1, options);
    if !above.is_null() {
        shown.insert("manager".to_owned(), above);
    }
    Value::Object(shown)
}

fn create(call: &Call, tenant: &mut Tenant) -> Outcome {
    let body = call.object()?;
    directory::check_body(body, KIND, USER)?;
    let external = body.contains_key("identities");
    for name in ["accountEnabled", "displayName", "mailNickname", "passwordProfile", "userPrincipalName"] {
        let given = body.get(name).is_some_and(|v| !v.is_null() && v.as_str() != Some(""));
        // Accounts that sign in with an identity from elsewhere get a principal name of their own.
        let spared = external && !["displayName", "passwordProfile"].contains(&name);
        if !given && !spared {
            return Err(GraphError::bad_request(format!(
                "The property '{name}' is required but was not given: One or more property values are invalid."
            )));
        }
    }
    if body.get("passwordProfile").and_then(|p| p.get("password")).and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(GraphError::bad_request(
            "The specified password does not comply with password complexity requirements.",
        ));
    }
    let id = tenant.rng.guid();
    let upn = match body.get("userPrincipalName").and_then(Value::as_str) {
        Some(upn) => upn.to_owned(),
        None => format!("{id}@{}", tenant.domain),
    };
    principal_name(tenant, &upn)?;
    let mut user = json!({
        "businessPhones": [], "displayName": null, "givenName": null, "jobTitle": null, "mail": null, "mobilePhone": null,
        "officeLocation": null, "preferredLanguage": null, "surname": null, "userPrincipalName": upn, "id": id,
        "accountEnabled": true, "userType": "Member", "createdDateTime": clock::seconds(call.now), "otherMails": [],
        "proxyAddresses": [], "assignedLicenses": [], "assignedPlans": [],
        "identities": [{"signInType": "userPrincipalName", "issuer": tenant.domain, "issuerAssignedId": upn}],
    })
    .as_object()
    .cloned()
    .unwrap_or_else(Map::new);
    merge(&mut user, body);
    tenant.add(|t| &mut t.users, &id, "", &user);
    let mut shown = Object::new();
    shown.insert("@odata.context".to_owned(), call.context("users/$entity").into());
    shown.extend(odata::select_or(&user, None, USER_DEFAULT));
    Ok(Answer::json(201, &shown).with("location", format!("{}/users/{id}", call.root)))
}

fn principal_name(tenant: &Tenant, upn: &str) -> Result<(), GraphError> {
    let domain = upn.rsplit_once('@').map(|(_, domain)| domain);
    if !domain.is_some_and(|d| d.eq_ignore_ascii_case(&tenant.domain)) {
        return Err(GraphError::bad_request(
            "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your organization.",
        ));
    }
    if tenant.find_user(upn).is_some() {
        return Err(GraphError::bad_request(
            "Another object with the same value for property userPrincipalName already exists.",
        ));
    }
    Ok(())
}

/// Writes a body's properties; the password is never kept.
fn merge(user: &mut Object, body: &Object) {
    for (name, value) in body {
        if name != "passwordProfile" && !name.contains('@') {
            user.insert(name.clone(), value.clone());
        }
    }
}

fn update(call: &Call, tenant: &mut Tenant, id: &str, mut user: Object) -> Outcome {
    let body = call.object()?;
    directory::check_body(body, KIND, USER)?;
    if let Some(Value::String(upn)) = body.get("userPrincipalName")
        && user.get("userPrincipalName").and_then(Value::as_str) != Some(upn)
    {
        principal_name(tenant, upn)?;
    }
    if let Some(Value::String(place)) = body.get("usageLocation")
        && (place.len() != 2 || !place.bytes().all(|b| b.is_ascii_alphabetic()))
    {
        return Err(GraphError::bad_request(
            "Invalid value specified for property 'usageLocation' of resource 'User': a two-letter country code is needed.",
        ));
    }
    merge(&mut user, body);
    tenant.replace(|t| &mut t.users, id, &user);
    if body.get("passwordProfile").is_some_and(Value::is_object) {
        tenant.end_sessions(id, Cause::PasswordReset, call.now);
    }
    Ok(Answer::no_content())
}
