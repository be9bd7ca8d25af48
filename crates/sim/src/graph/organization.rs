//! The tenant itself: organization, domains, directory objects by id, guests, and the team of a group.

use serde_json::{Value, json};

use super::super::state::{Object, Tenant};
use super::call::{Answer, Call, Outcome};
use super::directory::{self, DENIED, GROUP_READ, USER_READ};
use super::error::GraphError;

const READ: &[&str] = &[
    "Organization.Read.All",
    "Organization.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "User.Read.All",
    "User.Read",
];
const DOMAIN_READ: &[&str] =
    &["Domain.Read.All", "Domain.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"];
const LICENCE_READ: &[&str] = &[
    "LicenseAssignment.Read.All",
    "LicenseAssignment.ReadWrite.All",
    "Organization.Read.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const INVITE: &[&str] = &["User.Invite.All", "User.ReadWrite.All", "Directory.ReadWrite.All"];
const TEAM_READ: &[&str] =
    &["Team.ReadBasic.All", "Group.Read.All", "Group.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"];

/// Answers requests about the tenant as a whole.
pub fn route(call: &Call, tenant: &mut Tenant) -> Outcome {
    let path = call.path();
    let needed = match path.first().copied() {
        Some("organization") => READ,
        Some("domains") => DOMAIN_READ,
        Some("subscribedSkus") => LICENCE_READ,
        Some("invitations") => INVITE,
        Some("teams") => TEAM_READ,
        _ => &[USER_READ, GROUP_READ].concat(),
    };
    call.require(DENIED, needed, needed)?;
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["organization"]) => list(call, "organization", vec![organization(tenant)]),
        ("GET", ["organization", id]) if *id == tenant.tenant_id => Ok(Answer::json(200, &organization(tenant))),
        ("GET", ["domains"]) => list(call, "domains", vec![domain(tenant)]),
        ("GET", ["domains", id]) if id.eq_ignore_ascii_case(&tenant.domain) => Ok(Answer::json(200, &domain(tenant))),
        ("GET", ["subscribedSkus"]) => list(call, "subscribedSkus", super::licences::skus(tenant)),
        ("GET", ["subscribedSkus", id]) => {
            match super::licences::skus(tenant).into_iter().find(|sku| sku["id"] == **id) {
                Some(sku) => Ok(Answer::json(200, &sku)),
                None => Err(GraphError::no_resource(id)),
            }
        }
        ("GET", ["teams", id]) => match super::groups::team(tenant, &id.to_ascii_lowercase()) {
            Some(team) => Ok(Answer::json(200, &team)),
            None => Err(GraphError::new(404, "NotFound", "No team found with Group Id.")),
        },
        ("GET", ["directoryObjects", id]) => match directory::object(tenant, &id.to_ascii_lowercase()) {
            Some(object) => Ok(Answer::json(200, &object)),
            None => Err(GraphError::no_resource(id)),
        },
        ("POST", ["directoryObjects", "getByIds"]) => by_ids(call, tenant),
        ("POST", ["directoryObjects", "validateProperties"]) => Ok(Answer::no_content()),
        ("POST", ["directoryObjects", id, "checkMemberGroups"]) => {
            super::users::check_member(call, tenant, id, "groupIds")
        }
        ("POST", ["directoryObjects", id, "checkMemberObjects"]) => super::users::check_member(call, tenant, id, "ids"),
        ("POST", ["directoryObjects", id, "getMemberGroups" | "getMemberObjects"]) => {
            super::users::member_of(call, tenant, id)
        }
        ("POST", ["invitations"]) => invite(call, tenant),
        (_, [_, id, ..]) => Err(GraphError::no_resource(id)),
        (method, _) => Err(GraphError::method(method)),
    }
}

fn list(call: &Call, name: &str, value: Vec<Value>) -> Outcome {
    Ok(Answer::json(200, &json!({"@odata.context": call.context(name), "value": value})))
}

fn organization(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.tenant_id, "deletedDateTime": null, "businessPhones": ["+1 425 555 0100"], "city": "Redmond",
        "country": null, "countryLetterCode": "US", "displayName": tenant.display_name, "marketingNotificationEmails": [],
        "preferredLanguage": "en", "securityComplianceNotificationMails": [], "securityComplianceNotificationPhones": [],
        "technicalNotificationMails": [format!("admin@{}", tenant.domain)], "tenantType": "AAD", "assignedPlans": [],
        "provisionedPlans": [],
        "verifiedDomains": [{"capabilities": "Email, OfficeCommunicationsOnline", "isDefault": true, "isInitial": true, "name": tenant.domain, "type": "Managed"}],
    })
}

fn domain(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.domain, "authenticationType": "Managed", "availabilityStatus": null, "isAdminManaged": true,
        "isDefault": true, "isInitial": true, "isRoot": true, "isVerified": true, "passwordNotificationWindowInDays": 14,
        "passwordValidityPeriodInDays": 90, "supportedServices": ["Email", "OfficeCommunicationsOnline"], "state": null,
    })
}

fn by_ids(call: &Call, tenant: &Tenant) -> Outcome {
    let body = call.object()?;
    let ids = body
        .get("ids")
        .and_then(Value::as_array)
        .ok_or_else(|| GraphError::bad_request("The property 'ids' is missing."))?;
    let found = ids.iter().filter_map(|id| directory::object(tenant, id.as_str()?)).map(Value::Object).collect();
    list(call, "directoryObjects", found)
}

/// A guest: a user with an external address.
fn invite(call: &Call, tenant: &mut Tenant) -> Outcome {
    let body = call.object()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let (Some(mail), Some(redirect)) = (text("invitedUserEmailAddress"), text("inviteRedirectUrl")) else {
        return Err(GraphError::new(
            400,
            "BadRequest",
            "Invitations need invitedUserEmailAddress and inviteRedirectUrl.",
        ));
    };
    if !mail.contains('@') {
        return Err(GraphError::new(400, "BadRequest", "The invitedUserEmailAddress is no mail address."));
    }
    let id = invited(tenant, mail, text("invitedUserDisplayName").unwrap_or(mail));
    let mut invitation = Object::new();
    invitation.insert("@odata.context".to_owned(), call.context("invitations/$entity").into());
    let answer = json!({
        "id": tenant.rng.guid(), "inviteRedeemUrl": format!("https://login.microsoftonline.com/redeem?rd={id}"),
        "invitedUserDisplayName": text("invitedUserDisplayName"), "invitedUserType": "Guest", "invitedUserEmailAddress": mail,
        "sendInvitationMessage": body.get("sendInvitationMessage").and_then(Value::as_bool).unwrap_or(false),
        "inviteRedirectUrl": redirect, "status": "PendingAcceptance", "resetRedemption": false, "invitedUser": {"id": id},
    });
    invitation.extend(answer.as_object().cloned().unwrap_or_default());
    Ok(Answer::json(201, &invitation))
}

/// The id of a guest, who is added to the directory unless they are in it.
pub fn invited(tenant: &mut Tenant, mail: &str, name: &str) -> String {
    let upn = format!("{}#EXT#@{}", mail.replace('@', "_"), tenant.domain);
    if let Some((id, _)) = tenant.find_user(&upn) {
        return id;
    }
    let id = tenant.rng.guid();
    let user = json!({
        "businessPhones": [], "displayName": name, "givenName": null, "jobTitle": null,
        "mail": mail, "mobilePhone": null, "officeLocation": null, "preferredLanguage": null, "surname": null,
        "userPrincipalName": upn, "id": id, "accountEnabled": true, "userType": "Guest", "externalUserState": "PendingAcceptance",
    });
    tenant.add(|t| &mut t.users, &id, "", &user.as_object().cloned().unwrap_or_default());
    id
}
