//! Groups: list, read, create, change, delete, members and owners, settings. A new group has the members it was
//! given and no others (long because of the many small relations a group has): its creator owns it, which does not make them a member.

use serde_json::{Value, json};

use super::super::clock;
use super::super::state::{Object, Tenant};
use super::call::{Answer, Call, Outcome};
use super::directory::{self, DENIED, GROUP, GROUP_READ, GROUP_WRITE, MEMBER_WRITE};
use super::error::GraphError;
use super::odata::{self, Collection};

const KIND: &str = "microsoft.graph.group";
/// References that one PATCH may add.
const BINDS: usize = 20;
/// Shown on request only, with what they are unless somebody sets them.
const ON_REQUEST: &[(&str, Value)] = &[
    ("allowExternalSenders", Value::Bool(false)),
    ("autoSubscribeNewMembers", Value::Bool(false)),
    ("isSubscribedByMail", Value::Bool(false)),
    ("hideFromAddressLists", Value::Bool(false)),
    ("hideFromOutlookClients", Value::Bool(false)),
];

/// Answers a request under `/groups`, `/groupSettings` and `/groupSettingTemplates`.
pub fn route(call: &Call, tenant: &mut Tenant) -> Outcome {
    let path = call.path();
    let creates = call.method == "POST" && path.len() == 1;
    let asks =
        path.get(2).is_some_and(|s| s.starts_with("check") || s.starts_with("getMember") || *s == "validateProperties");
    let needed: (&[&str], &[&str]) = match (call.method.as_str(), path.get(2).copied()) {
        ("GET", _) => (GROUP_READ, GROUP_READ),
        _ if asks => (GROUP_READ, GROUP_READ),
        (_, Some("members")) => (MEMBER_WRITE, MEMBER_WRITE),
        _ if creates => (&["Group.Create", "Group.ReadWrite.All", "Directory.ReadWrite.All"], GROUP_WRITE),
        _ => (GROUP_WRITE, GROUP_WRITE),
    };
    call.require(DENIED, needed.0, needed.1)?;
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["groupSettingTemplates"]) => Ok(Answer::json(
            200,
            &json!({"@odata.context": call.context("groupSettingTemplates"), "value": [template()]}),
        )),
        ("GET", ["groupSettingTemplates", id]) => {
            if template().get("id").and_then(Value::as_str) == Some(id) {
                Ok(Answer::json(200, &template()))
            } else {
                Err(GraphError::no_resource(id))
            }
        }
        (_, ["groupSettings", rest @ ..]) => settings(call, tenant, "", rest),
        ("GET", [_]) => odata::list(call, all(tenant)),
        ("GET", [_, "$count"]) => odata::count(call, all(tenant)),
        ("GET", [_, "delta"]) => directory::delta(call, tenant, "group", GROUP, &[]),
        ("POST", [_]) => create(call, tenant),
        (method, [_, key, rest @ ..]) => {
            let id = key.to_ascii_lowercase();
            let group = tenant.groups.get(&id).ok_or_else(|| GraphError::no_resource(key))?.object();
            one(call, tenant, method, &id, group, rest)
        }
        (method, _) => Err(GraphError::method(method)),
    }
}

fn all<'a>(tenant: &Tenant) -> Collection<'a> {
    let items = tenant.groups.all().into_iter().map(|(_, e)| e.object()).collect();
    Collection { items, kind: KIND, context: "groups", known: GROUP, default: &[] }
}

fn one(call: &Call, tenant: &mut Tenant, method: &str, id: &str, group: Object, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => read(call, tenant, id, group),
        ("PATCH", []) => update(call, tenant, id, group),
        ("DELETE", []) => {
            tenant.soft_delete(call.now, "group", id);
            Ok(Answer::no_content())
        }
        ("POST", [relation @ ("members" | "owners"), "$ref"]) => {
            let who = directory::referenced(tenant, call.object()?.get("@odata.id").unwrap_or(&Value::Null))?;
            link(tenant, id, relation, &[who])?;
            Ok(Answer::no_content())
        }
        ("DELETE", [relation @ ("members" | "owners"), who, "$ref"]) => unlink(tenant, id, relation, who),
        ("GET", [relation @ ("members" | "owners"), "$ref"]) => {
            let ids = people(tenant, id, relation);
            let value: Vec<Value> =
                ids.iter().map(|i| json!({"@odata.id": format!("{}/directoryObjects/{i}", call.root)})).collect();
            Ok(Answer::json(200, &json!({"@odata.context": call.context("Collection($ref)"), "value": value})))
        }
        ("GET", [relation @ ("members" | "owners" | "transitiveMembers"), tail @ ..]) => {
            let ids = people(tenant, id, relation);
            directory::relation(call, tenant, &ids, tail)
        }
        // Path segments compare without case in the documentation's own examples.
        ("GET", ["transitivemembers", tail @ ..]) => {
            directory::relation(call, tenant, &people(tenant, id, "members"), tail)
        }
        ("GET", ["memberOf" | "transitiveMemberOf", tail @ ..]) => {
            directory::relation(call, tenant, &directory::groups_of(tenant, id), tail)
        }
        (_, ["settings", tail @ ..]) => settings(call, tenant, id, tail),
        ("GET", ["team"]) => match team(tenant, id) {
            Some(team) => Ok(Answer::json(200, &team)),
            None => Err(GraphError::new(404, "NotFound", "No team found with Group Id.")),
        },
        (
            "GET",
            [
                "appRoleAssignments"
                | "rejectedSenders"
                | "acceptedSenders"
                | "permissionGrants"
                | "photos"
                | "extensions"
                | "groupLifecyclePolicies",
            ],
        ) => {
            let name = rest.first().copied().unwrap_or_default();
            Ok(Answer::json(
                200,
                &json!({"@odata.context": call.context(&format!("groups('{id}')/{name}")), "value": []}),
            ))
        }
        ("POST", ["checkMemberGroups"]) => super::users::check_member(call, tenant, id, "groupIds"),
        ("POST", ["checkMemberObjects"]) => super::users::check_member(call, tenant, id, "ids"),
        ("POST", ["getMemberGroups" | "getMemberObjects"]) => super::users::member_of(call, tenant, id),
        ("POST", ["renew"]) => {
            let mut group = group;
            group.insert("renewedDateTime".to_owned(), clock::seconds(call.now).into());
            tenant.replace(|t| &mut t.groups, id, &group);
            Ok(Answer::no_content())
        }
        ("POST", ["subscribeByMail" | "unsubscribeByMail"]) => {
            let mut group = group;
            group.insert("isSubscribedByMail".to_owned(), (rest == ["subscribeByMail"]).into());
            tenant.replace(|t| &mut t.groups, id, &group);
            Ok(Answer::no_content())
        }
        ("POST", ["resetUnseenCount" | "addFavorite" | "removeFavorite" | "validateProperties"]) => {
            Ok(Answer::no_content())
        }
        ("GET", [name]) if GROUP.contains(name) => {
            let value = group.get(*name).cloned().unwrap_or_default();
            Ok(Answer::json(
                200,
                &json!({"@odata.context": call.context(&format!("groups('{id}')/{name}")), "value": value}),
            ))
        }
        (method, []) => Err(GraphError::method(method)),
        (_, [segment, ..]) => Err(GraphError::no_segment(segment)),
    }
}

fn people(tenant: &Tenant, id: &str, relation: &str) -> Vec<String> {
    let table = if relation == "owners" { &tenant.owners } else { &tenant.members };
    table.get(id).cloned().unwrap_or_default()
}

/// A group with Teams on top, as a team.
pub fn team(tenant: &Tenant, id: &str) -> Option<Object> {
    let group = tenant.groups.get(id)?.object();
    let provisioned = group.get("resourceProvisioningOptions")?.as_array()?.iter().any(|o| o == "Team");
    let team = json!({"id": id, "displayName": group.get("displayName"), "description": group.get("description"), "isArchived": false, "visibility": "private"});
    if provisioned { team.as_object().cloned() } else { None }
}

fn read(call: &Call, tenant: &Tenant, id: &str, mut group: Object) -> Outcome {
    let select = call.query.select();
    odata::check_names(select.as_deref().unwrap_or_default(), KIND, GROUP)?;
    if let Some(names) = &select {
        for (name, usual) in ON_REQUEST {
            if names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                group.entry(*name).or_insert_with(|| usual.clone());
            }
        }
        if names.iter().any(|n| n.eq_ignore_ascii_case("unseenCount")) {
            group.entry("unseenCount").or_insert(0.into());
        }
    }
    let mut body = Object::new();
    let context = select
        .as_ref()
        .map_or_else(|| "groups/$entity".to_owned(), |names| format!("groups({})/$entity", names.join(",")));
    body.insert("@odata.context".to_owned(), call.context(&context).into());
    let hidden = |name: &str| select.is_none() && ON_REQUEST.iter().any(|(n, _)| *n == name);
    group.retain(|name, _| !hidden(name));
    body.extend(odata::select_or(&group, select.as_deref(), &[]));
    for relation in ["members", "owners"] {
        if call.query.get("$expand").is_some_and(|e| e.contains(relation)) {
            let list = people(tenant, id, relation);
            let list: Vec<Value> =
                list.iter().filter_map(|i| directory::object(tenant, i)).map(Value::Object).collect();
            body.insert(relation.to_owned(), Value::Array(list));
        }
    }
    Ok(Answer::json(200, &body))
}

fn create(call: &Call, tenant: &mut Tenant) -> Outcome {
    let body = call.object()?;
    directory::check_body(body, KIND, GROUP)?;
    for name in ["displayName", "mailEnabled", "mailNickname", "securityEnabled"] {
        if body.get(name).is_none_or(|v| v.is_null() || v.as_str() == Some("")) {
            return Err(GraphError::bad_request(format!(
                "A value is required for property '{name}' of resource 'Group'."
            )));
        }
    }
    let nickname = body.get("mailNickname").and_then(Value::as_str).unwrap_or_default();
    if nickname.len() > 64 || nickname.contains(|c: char| !c.is_ascii() || "@()\\[]\";:<>, ".contains(c)) {
        return Err(GraphError::bad_request(
            "Invalid value specified for property 'mailNickname' of resource 'Group'.",
        ));
    }
    let unified = body.get("groupTypes").and_then(Value::as_array).is_some_and(|t| t.iter().any(|t| t == "Unified"));
    let mail_enabled = body.get("mailEnabled") == Some(&Value::Bool(true));
    if mail_enabled && !unified {
        return Err(GraphError::bad_request(
            "The service does not currently support writes of mail-enabled groups. Please ensure that the mail-enablement property is unset and the security-enablement property is set.",
        ));
    }
    let mail = format!("{nickname}@{}", tenant.domain);
    let taken = tenant.groups.all().into_iter().any(|(_, g)| {
        unified && g.object().get("mail").and_then(Value::as_str).is_some_and(|m| m.eq_ignore_ascii_case(&mail))
    });
    if taken {
        return Err(GraphError::bad_request(
            "Another object with the same value for property mailNickname already exists.",
        ));
    }
    let (members, owners) = (directory::bound(tenant, body, "members")?, directory::bound(tenant, body, "owners")?);
    let id = tenant.rng.guid();
    let now = clock::seconds(call.now);
    let group = json!({
        "id": id, "deletedDateTime": null, "classification": null, "createdDateTime": now,
        "description": null, "displayName": null, "expirationDateTime": null, "groupTypes": [], "isAssignableToRole": null,
        "mail": mail_enabled.then(|| mail.clone()), "mailEnabled": mail_enabled, "mailNickname": nickname, "membershipRule": null,
        "membershipRuleProcessingState": null, "onPremisesDomainName": null, "onPremisesLastSyncDateTime": null,
        "onPremisesNetBiosName": null, "onPremisesSamAccountName": null, "onPremisesSecurityIdentifier": null,
        "onPremisesSyncEnabled": null, "preferredDataLocation": null, "preferredLanguage": null,
        "proxyAddresses": if mail_enabled { vec![format!("SMTP:{mail}")] } else { Vec::new() }, "renewedDateTime": now,
        "resourceBehaviorOptions": [], "resourceProvisioningOptions": [], "securityEnabled": false,
        "securityIdentifier": security_identifier(&id), "theme": null, "visibility": if unified { Some("Public") } else { None },
        "onPremisesProvisioningErrors": [], "serviceProvisioningErrors": [],
    });
    let mut group = group.as_object().cloned().unwrap_or_default();
    merge(&mut group, body);
    tenant.add(|t| &mut t.groups, &id, "", &group);
    let mut owners = owners;
    if let Some(user) = call.user()
        && owners.is_empty()
    {
        owners.push(user.to_owned());
    }
    tenant.members.insert(id.clone(), unique(members));
    tenant.owners.insert(id.clone(), unique(owners));
    let mut shown = Object::new();
    shown.insert("@odata.context".to_owned(), call.context("groups/$entity").into());
    shown.extend(group);
    Ok(Answer::json(201, &shown).with("location", format!("{}/groups/{id}", call.root)))
}

/// A group's security identifier is its id in another notation.
fn security_identifier(id: &str) -> String {
    let bytes = uuid::Uuid::parse_str(id).map(|u| u.to_bytes_le()).unwrap_or_default();
    let parts: Vec<String> =
        bytes.chunks_exact(4).map(|c| c.iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b)).to_string()).collect();
    format!("S-1-12-1-{}", parts.join("-"))
}

fn unique(mut ids: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

fn merge(group: &mut Object, body: &Object) {
    for (name, value) in body.iter().filter(|(n, _)| !n.contains('@')) {
        group.insert(name.clone(), value.clone());
    }
}

fn update(call: &Call, tenant: &mut Tenant, id: &str, mut group: Object) -> Outcome {
    let body = call.object()?;
    directory::check_body(body, KIND, GROUP)?;
    for relation in ["members", "owners"] {
        let added = directory::bound(tenant, body, relation)?;
        if added.len() > BINDS {
            return Err(GraphError::bad_request(format!("At most {BINDS} references can be added in one request.")));
        }
        if !added.is_empty() {
            link(tenant, id, relation, &unique(added))?;
        }
    }
    merge(&mut group, body);
    tenant.replace(|t| &mut t.groups, id, &group);
    Ok(Answer::no_content())
}

fn link(tenant: &mut Tenant, id: &str, relation: &str, added: &[String]) -> Result<(), GraphError> {
    let table = if relation == "owners" { &mut tenant.owners } else { &mut tenant.members };
    let there = table.entry(id.to_owned()).or_default();
    if added.iter().any(|who| there.contains(who)) {
        return Err(GraphError::bad_request(format!(
            "One or more added object references already exist for the following modified properties: '{relation}'."
        )));
    }
    there.extend_from_slice(added);
    tenant.changes += 1;
    Ok(())
}

fn unlink(tenant: &mut Tenant, id: &str, relation: &str, who: &str) -> Outcome {
    let table = if relation == "owners" { &mut tenant.owners } else { &mut tenant.members };
    let there = table.entry(id.to_owned()).or_default();
    if !there.iter().any(|w| w.eq_ignore_ascii_case(who)) {
        return Err(GraphError::no_resource(who));
    }
    if relation == "owners" && there.len() == 1 {
        return Err(GraphError::bad_request(
            "The group must have at least one owner, hence this owner cannot be removed.",
        ));
    }
    there.retain(|w| !w.eq_ignore_ascii_case(who));
    tenant.changes += 1;
    Ok(Answer::no_content())
}

/// The template for guests in groups, the only one kept here.
fn template() -> Value {
    json!({
        "id": "08d542b9-071f-4e16-94b0-74abb372e3d9", "deletedDateTime": null, "displayName": "Group.Unified.Guest",
        "description": "Settings for a specific Unified Group",
        "values": [{"name": "AllowToAddGuests", "type": "System.Boolean", "defaultValue": "true", "description": "Flag indicating if guests are allowed in a specific Unified Group."}],
    })
}

/// Settings of the tenant (`group` empty) or of one group, made from a template.
fn settings(call: &Call, tenant: &mut Tenant, group: &str, rest: &[&str]) -> Outcome {
    let parent = format!("settings/{group}");
    let own = |tenant: &Tenant, id: &str| tenant.objects.parent(id) == Some(parent.as_str());
    match (call.method.as_str(), rest) {
        ("GET", []) => {
            let list: Vec<Value> = tenant.objects.of(&parent).map(|(_, e)| Value::Object(e.object())).collect();
            Ok(Answer::json(200, &json!({"@odata.context": call.context("groupSettings"), "value": list})))
        }
        ("POST", []) => {
            let body = call.object()?;
            let (Some(Value::String(from)), Some(Value::Array(values))) = (body.get("templateId"), body.get("values"))
            else {
                return Err(GraphError::bad_request("A setting needs templateId and values."));
            };
            let id = tenant.rng.guid();
            let setting = json!({"id": id, "displayName": "Group.Unified.Guest", "templateId": from, "values": values});
            let setting = setting.as_object().cloned().unwrap_or_default();
            tenant.add(|t| &mut t.objects, &id, &parent, &setting);
            let mut shown = Object::new();
            shown.insert("@odata.context".to_owned(), call.context("groupSettings/$entity").into());
            shown.extend(setting);
            Ok(Answer::json(201, &shown))
        }
        ("GET", [id]) if own(tenant, id) => {
            Ok(Answer::json(200, &tenant.objects.get(id).map(super::super::table::Entity::object)))
        }
        ("PATCH", [id]) if own(tenant, id) => {
            let mut setting = tenant.objects.get(id).map(super::super::table::Entity::object).unwrap_or_default();
            merge(&mut setting, call.object()?);
            tenant.replace(|t| &mut t.objects, id, &setting);
            Ok(Answer::no_content())
        }
        ("DELETE", [id]) if own(tenant, id) => {
            tenant.remove(|t| &mut t.objects, id);
            Ok(Answer::no_content())
        }
        (_, [id, ..]) => Err(GraphError::no_resource(id)),
        (method, _) => Err(GraphError::method(method)),
    }
}
