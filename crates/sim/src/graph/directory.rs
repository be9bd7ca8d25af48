//! What users, groups and deleted items have in common: property names, permissions, references, relations.

use serde_json::Value;

use super::super::state::{Object, Tenant};
use super::call::{Answer, Call, Outcome};
use super::error::GraphError;
use super::odata::{self, Collection};

/// 403 of the directory.
pub const DENIED: &str = "Authorization_RequestDenied";

pub const USER_READ: &[&str] =
    &["User.Read.All", "User.ReadWrite.All", "User.ReadBasic.All", "Directory.Read.All", "Directory.ReadWrite.All"];
pub const USER_WRITE: &[&str] = &["User.ReadWrite.All", "Directory.ReadWrite.All"];
pub const GROUP_READ: &[&str] = &[
    "GroupMember.Read.All",
    "Group.Read.All",
    "Group.ReadWrite.All",
    "GroupMember.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
pub const GROUP_WRITE: &[&str] = &["Group.ReadWrite.All", "Directory.ReadWrite.All"];
pub const MEMBER_WRITE: &[&str] = &["GroupMember.ReadWrite.All", "Group.ReadWrite.All", "Directory.ReadWrite.All"];

/// Shown of a user unless `$select` says otherwise.
pub const USER_DEFAULT: &[&str] = &[
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
    "id",
];

/// The properties of a user.
pub const USER: &[&str] = &[
    "id",
    "deletedDateTime",
    "aboutMe",
    "accountEnabled",
    "ageGroup",
    "assignedLicenses",
    "assignedPlans",
    "authorizationInfo",
    "birthday",
    "businessPhones",
    "city",
    "companyName",
    "consentProvidedForMinor",
    "country",
    "createdDateTime",
    "creationType",
    "customSecurityAttributes",
    "department",
    "deviceEnrollmentLimit",
    "displayName",
    "employeeHireDate",
    "employeeId",
    "employeeLeaveDateTime",
    "employeeOrgData",
    "employeeType",
    "externalUserState",
    "externalUserStateChangeDateTime",
    "faxNumber",
    "givenName",
    "hireDate",
    "identities",
    "imAddresses",
    "infoCatalogs",
    "interests",
    "isManagementRestricted",
    "isResourceAccount",
    "jobTitle",
    "lastPasswordChangeDateTime",
    "legalAgeGroupClassification",
    "licenseAssignmentStates",
    "mail",
    "mailNickname",
    "mailboxSettings",
    "manager",
    "memberOf",
    "mobilePhone",
    "mySite",
    "officeLocation",
    "onPremisesDistinguishedName",
    "onPremisesDomainName",
    "onPremisesExtensionAttributes",
    "onPremisesImmutableId",
    "onPremisesLastSyncDateTime",
    "onPremisesProvisioningErrors",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled",
    "onPremisesUserPrincipalName",
    "otherMails",
    "passwordPolicies",
    "passwordProfile",
    "pastProjects",
    "postalCode",
    "preferredDataLocation",
    "preferredLanguage",
    "preferredName",
    "print",
    "provisionedPlans",
    "proxyAddresses",
    "responsibilities",
    "schools",
    "securityIdentifier",
    "serviceProvisioningErrors",
    "showInAddressList",
    "signInActivity",
    "signInSessionsValidFromDateTime",
    "skills",
    "state",
    "streetAddress",
    "surname",
    "usageLocation",
    "userPrincipalName",
    "userType",
];

/// The properties of a group.
pub const GROUP: &[&str] = &[
    "id",
    "deletedDateTime",
    "accessType",
    "allowExternalSenders",
    "assignedLabels",
    "assignedLicenses",
    "autoSubscribeNewMembers",
    "classification",
    "createdDateTime",
    "description",
    "displayName",
    "expirationDateTime",
    "groupTypes",
    "hasMembersWithLicenseErrors",
    "hideFromAddressLists",
    "hideFromOutlookClients",
    "infoCatalogs",
    "isArchived",
    "isAssignableToRole",
    "isFavorite",
    "isManagementRestricted",
    "isSubscribedByMail",
    "licenseProcessingState",
    "mail",
    "mailEnabled",
    "mailNickname",
    "membershipRule",
    "membershipRuleProcessingState",
    "members",
    "onPremisesDomainName",
    "onPremisesExtensionAttributes",
    "onPremisesLastSyncDateTime",
    "onPremisesNetBiosName",
    "onPremisesProvisioningErrors",
    "onPremisesSamAccountName",
    "onPremisesSecurityIdentifier",
    "onPremisesSyncEnabled",
    "organizationId",
    "owners",
    "preferredDataLocation",
    "preferredLanguage",
    "proxyAddresses",
    "renewedDateTime",
    "resourceBehaviorOptions",
    "resourceProvisioningOptions",
    "securityEnabled",
    "securityIdentifier",
    "serviceProvisioningErrors",
    "theme",
    "uniqueName",
    "unseenConversationsCount",
    "unseenCount",
    "unseenMessagesCount",
    "visibility",
    "welcomeMessageEnabled",
];

/// Refuses a body with properties that the type does not have, or with a wrong simple type.
pub fn check_body(body: &Object, kind: &str, known: &[&str]) -> Result<(), GraphError> {
    for (name, value) in body {
        if name.contains('@') || name.contains('_') {
            continue;
        }
        if !known.contains(&name.as_str()) {
            return Err(GraphError::bad_request(format!("Could not find a property named '{name}' on type '{kind}'.")));
        }
        let fits = match name.as_str() {
            "accountEnabled"
            | "mailEnabled"
            | "securityEnabled"
            | "isAssignableToRole"
            | "autoSubscribeNewMembers"
            | "allowExternalSenders" => value.is_boolean() || value.is_null(),
            "displayName" | "mailNickname" | "userPrincipalName" | "mail" | "jobTitle" | "department"
            | "usageLocation" | "description" | "visibility" => value.is_string() || value.is_null(),
            "businessPhones" | "otherMails" | "groupTypes" | "identities" | "skills" | "interests" => value.is_array(),
            "passwordProfile" => value.is_object(),
            _ => true,
        };
        if !fits {
            return Err(GraphError::bad_request(format!(
                "A value of the wrong type was given for the property '{name}' of resource '{kind}'."
            )));
        }
        if ["id", "createdDateTime", "deletedDateTime"].contains(&name.as_str()) {
            return Err(GraphError::bad_request(format!("Property '{name}' is read-only and cannot be set.")));
        }
    }
    Ok(())
}

/// The id at the end of a reference such as `https://graph.microsoft.com/v1.0/users/{id}`.
pub fn referenced(tenant: &Tenant, reference: &Value) -> Result<String, GraphError> {
    let text =
        reference.as_str().ok_or_else(|| GraphError::bad_request("Invalid URL format specified in the reference."))?;
    let key = super::decode(text).trim_end_matches("')").rsplit(['/', '\'']).next().unwrap_or_default().to_owned();
    if let Some((id, _)) = tenant.find_user(&key) {
        return Ok(id);
    }
    if tenant.groups.get(&key.to_ascii_lowercase()).is_some() {
        return Ok(key.to_ascii_lowercase());
    }
    Err(GraphError::no_resource(&key))
}

/// The references in `"members@odata.bind": [...]`.
pub fn bound(tenant: &Tenant, body: &Object, name: &str) -> Result<Vec<String>, GraphError> {
    match body.get(&format!("{name}@odata.bind")) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(|r| referenced(tenant, r)).collect(),
        Some(_) => Err(GraphError::bad_request(format!("'{name}@odata.bind' is a list of references."))),
    }
}

/// A user or group as an item of a list of directory objects.
pub fn object(tenant: &Tenant, id: &str) -> Option<Object> {
    let (kind, found) = match tenant.users.get(id) {
        Some(user) => ("user", user.object()),
        None => ("group", tenant.groups.get(id)?.object()),
    };
    let mut shown = Object::new();
    shown.insert("@odata.type".to_owned(), format!("#microsoft.graph.{kind}").into());
    shown.extend(found);
    Some(shown)
}

/// Answers a list of users and groups: all, one type by cast, or their number.
/// `tail` is what follows the relation's name in the path.
pub fn relation(call: &Call, tenant: &Tenant, ids: &[String], tail: &[&str]) -> Outcome {
    let mut items: Vec<Object> = ids.iter().filter_map(|id| object(tenant, id)).collect();
    let (cast, counted) = match tail {
        [] => (None, false),
        ["$count"] => (None, true),
        [cast] => (Some(*cast), false),
        [cast, "$count"] => (Some(*cast), true),
        _ => return Err(GraphError::no_segment(tail.last().copied().unwrap_or_default())),
    };
    let mut default: Vec<&str> = Vec::new();
    if let Some(cast) = cast {
        let wanted = cast.to_ascii_lowercase().trim_start_matches("microsoft.").to_owned();
        let kind = wanted.strip_prefix("graph.").ok_or_else(|| GraphError::no_segment(cast))?.to_owned();
        let name = format!("#microsoft.graph.{kind}");
        items.retain(|i| i.get("@odata.type").and_then(Value::as_str).is_some_and(|t| t.eq_ignore_ascii_case(&name)));
        for item in &mut items {
            item.shift_remove("@odata.type");
        }
        if kind == "user" {
            default.extend(USER_DEFAULT);
        }
    } else {
        for item in &mut items {
            if item.get("@odata.type").and_then(Value::as_str) == Some("#microsoft.graph.user")
                && call.query.select().is_none()
            {
                *item = odata::select_or(item, None, USER_DEFAULT);
            }
        }
    }
    let collection = Collection {
        items,
        kind: "microsoft.graph.directoryObject",
        context: "directoryObjects",
        known: &[],
        default: &default,
    };
    if counted { odata::count(call, collection) } else { odata::list(call, collection) }
}

/// The groups somebody belongs to.
pub fn groups_of(tenant: &Tenant, member: &str) -> Vec<String> {
    let all = tenant.groups.all();
    all.into_iter().map(|(id, _)| id.to_owned()).filter(|group| tenant.is_member(group, member)).collect()
}

/// `/users/delta`, `/groups/delta`: all of them at first, then what changed since the token.
pub fn delta(call: &Call, tenant: &Tenant, kind: &str, known: &[&str], default: &[&str]) -> Outcome {
    let since = match call.query.get("$deltatoken") {
        None => 0,
        Some("latest") => tenant.version,
        Some(token) => token.strip_prefix("v-").and_then(|v| v.parse().ok()).ok_or_else(|| {
            GraphError::new(410, "syncStateNotFound", "The delta token is not known. Start again without it.")
        })?,
    };
    let select = call.query.select();
    odata::check_names(select.as_deref().unwrap_or_default(), kind, known)?;
    let table = if kind == "user" { &tenant.users } else { &tenant.groups };
    let mut value: Vec<Value> = Vec::new();
    for (id, entity) in table.all().into_iter().filter(|(_, e)| e.version() > since) {
        let mut item = odata::select_or(&entity.object(), select.as_deref(), default);
        item.insert("id".to_owned(), id.into());
        value.push(Value::Object(item));
    }
    for (id, deleted) in
        tenant.deleted.iter().filter(|(_, d)| since > 0 && d.kind == kind && d.entity.version() > since)
    {
        value.push(serde_json::json!({"id": id, "@removed": {"reason": if deleted.kind == kind { "changed" } else { "deleted" }}}));
    }
    let path = call.target.split('?').next().unwrap_or_default();
    let mut body = Object::new();
    body.insert("@odata.context".to_owned(), call.context(&format!("{kind}s")).into());
    body.insert("@odata.deltaLink".to_owned(), format!("{}{path}?$deltatoken=v-{}", call.root, tenant.version).into());
    body.insert("value".to_owned(), Value::Array(value));
    Ok(Answer::json(200, &body))
}
