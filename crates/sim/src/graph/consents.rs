//! Consent as Graph shows it: `oauth2PermissionGrants`, of the tenant and of a user, and its withdrawal.

use serde_json::{Value, json};

use super::super::entra::rights::Consent;
use super::super::state::Tenant;
use super::call::{Answer, Call, Outcome};
use super::directory::DENIED;
use super::error::GraphError;

const READ: &[&str] = &[
    "DelegatedPermissionGrant.Read.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const WRITE: &[&str] = &["DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All"];

/// Answers a request under `/oauth2PermissionGrants`.
pub fn route(call: &Call, tenant: &mut Tenant) -> Outcome {
    let needed = if call.method == "GET" { READ } else { WRITE };
    call.require(DENIED, needed, needed)?;
    match (call.method.as_str(), call.path().as_slice()) {
        ("GET", [_]) => list(call, tenant, None),
        ("GET", [_, id]) => match grants(tenant, None).find(|grant| grant.id == *id) {
            Some(grant) => Ok(Answer::json(200, &shown(tenant, grant))),
            None => Err(GraphError::no_resource(id)),
        },
        ("DELETE", [_, id]) => {
            let before = tenant.rights.consents.len();
            tenant.rights.consents.retain(|grant| grant.id != *id);
            if tenant.rights.consents.len() == before {
                return Err(GraphError::no_resource(id));
            }
            tenant.changes += 1;
            Ok(Answer::no_content())
        }
        (method, _) => Err(GraphError::method(method)),
    }
}

/// The grants of the tenant, or those of one person.
pub fn list(call: &Call, tenant: &Tenant, user: Option<&str>) -> Outcome {
    let value: Vec<Value> = grants(tenant, user).map(|grant| shown(tenant, grant)).collect();
    Ok(Answer::json(200, &json!({"@odata.context": call.context("oauth2PermissionGrants"), "value": value})))
}

fn grants<'a>(tenant: &'a Tenant, user: Option<&'a str>) -> impl Iterator<Item = &'a Consent> {
    let fits = move |grant: &&Consent| {
        grant.tenant == tenant.tenant_id && user.is_none_or(|user| grant.user.as_deref() == Some(user))
    };
    tenant.rights.consents.iter().filter(fits)
}

fn shown(tenant: &Tenant, grant: &Consent) -> Value {
    let service = |id: &str| tenant.application(id).map_or_else(|| id.to_owned(), |app| app.object_id.clone());
    json!({
        "id": grant.id, "clientId": service(&grant.client_id), "resourceId": service(&grant.resource),
        "consentType": if grant.user.is_some() { "Principal" } else { "AllPrincipals" },
        "principalId": grant.user, "scope": grant.scopes.join(" "),
    })
}
