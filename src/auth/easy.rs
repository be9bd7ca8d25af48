//! The principal App Service puts into a header when its own sign-in ("Easy Auth") is on.
//!
//! Only the platform may write the header, and it takes it out of requests from outside only while its sign-in is on:
//! the caller of this function has made sure of that. The token itself was checked by the platform.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::Caller;
use super::roles::Roles;
use crate::ids::UserId;

/// The header with the principal.
pub const HEADER: &str = "x-ms-client-principal";

const SCHEMA: &str = "http://schemas.microsoft.com/identity/claims/";

#[derive(Deserialize)]
struct ClientPrincipal {
    auth_typ: String,
    claims: Vec<Claim>,
    role_typ: Option<String>,
}

#[derive(Deserialize)]
struct Claim {
    typ: String,
    val: String,
}

impl ClientPrincipal {
    /// The values of a claim by its short name, or by the long one the platform may use instead.
    fn values(&self, short: &str, long: &str) -> Vec<&str> {
        let named = |claim: &&Claim| claim.typ == short || claim.typ.strip_prefix(SCHEMA) == Some(long);
        self.claims.iter().filter(named).map(|claim| claim.val.as_str()).collect()
    }

    fn one(&self, short: &str, long: &str) -> Option<&str> {
        match self.values(short, long).as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// The caller a header names.
///
/// # Errors
/// With what is wrong, when the header is damaged or names nobody of the accepted tenants.
pub fn caller(header: &str, tenants: &[String], roles: &Roles) -> Result<Caller, &'static str> {
    let bytes = STANDARD.decode(header).or_else(|_| STANDARD_NO_PAD.decode(header)).map_err(|_| "it is no base64")?;
    let principal: ClientPrincipal = serde_json::from_slice(&bytes).map_err(|_| "it cannot be read")?;
    if principal.auth_typ != "aad" {
        return Err("it is not of Microsoft Entra ID");
    }
    let tenant = principal.one("tid", "tenantid").ok_or("it names no tenant")?;
    if !tenants.iter().any(|known| known.eq_ignore_ascii_case(tenant)) {
        return Err("it is of another tenant");
    }
    let role_type = principal.role_typ.as_deref().unwrap_or("roles");
    let is_role = |claim: &&Claim| claim.typ == role_type || claim.typ == "roles";
    let held: Vec<String> = principal.claims.iter().filter(is_role).map(|claim| claim.val.clone()).collect();
    let scopes = principal.values("scp", "scope");
    let scopes: Vec<String> = scopes.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    if scopes.is_empty() {
        let client = principal.one("azp", "azp").or_else(|| principal.one("appid", "appid"));
        let client = client.filter(|_| !held.is_empty()).ok_or("it has neither scope nor roles")?;
        return Ok(roles.application(&client.to_lowercase(), tenant.to_owned(), held));
    }
    let person = principal.one("oid", "objectidentifier").ok_or("it names no person")?;
    let person = UserId::parse(&person.to_lowercase()).map_err(|_| "it names no person")?;
    Ok(roles.person(person, tenant.to_owned(), scopes, held))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::Principal;

    const OID: &str = "11111111-1111-1111-1111-111111111111";

    fn read(principal: &serde_json::Value) -> Result<Caller, &'static str> {
        caller(&STANDARD.encode(principal.to_string()), &["tenant".to_owned()], &Roles::default())
    }

    #[test]
    fn easy_auth_claims_are_read_by_short_and_long_names() {
        for (tid, oid, scp) in [
            ("tid".to_owned(), "oid".to_owned(), "scp".to_owned()),
            (format!("{SCHEMA}tenantid"), format!("{SCHEMA}objectidentifier"), format!("{SCHEMA}scope")),
        ] {
            let claims =
                json!([{"typ": tid, "val": "tenant"}, {"typ": oid, "val": OID}, {"typ": scp, "val": "Planner.Read"}]);
            let found = read(&json!({"auth_typ": "aad", "claims": claims, "role_typ": "roles"})).unwrap();
            assert_eq!((found.kind, found.name.as_str()), (Principal::User, format!("user:{OID}").as_str()));
            assert!(found.may_read("planner") && !found.may_write("planner"));
        }
    }

    #[test]
    fn incomplete_or_foreign_easy_auth_principal_is_refused() {
        let claims = |claims: serde_json::Value| read(&json!({"auth_typ": "aad", "claims": claims})).unwrap_err();
        assert_eq!(claims(json!([{"typ": "tid", "val": "other"}])), "it is of another tenant");
        assert_eq!(
            claims(json!([{"typ": "tid", "val": "tenant"}, {"typ": "tid", "val": "other"}])),
            "it names no tenant"
        );
        assert_eq!(claims(json!([{"typ": "tid", "val": "tenant"}])), "it has neither scope nor roles");
        assert_eq!(read(&json!({"auth_typ": "google", "claims": []})).unwrap_err(), "it is not of Microsoft Entra ID");
        assert_eq!(caller("%", &[], &Roles::default()).unwrap_err(), "it is no base64");
    }
}
