//! Who signs in where: the people of the first tenant, its guests, and the people of the second one.

use serde_json::Value;

use super::super::state::{Application, Object, Tenant};
use super::refusal::Refusal;

/// One of the two tenants, as the sign-in service sees it.
#[derive(Clone, Debug)]
pub struct Directory {
    pub tenant_id: String,
    pub domain: String,
    pub display_name: String,
    /// The tenant that Graph serves; false for the second one.
    pub first: bool,
}

/// A person as a directory knows them.
#[derive(Clone, Debug)]
pub struct Person {
    /// Object id, another one in each tenant.
    pub id: String,
    /// With `#EXT#` for a guest.
    pub upn: String,
    /// The name the person signs in with.
    pub preferred: String,
    pub name: String,
    pub mail: Option<String>,
    /// Where a guest proves who they are; absent of members.
    pub provider: Option<String>,
    pub enabled: bool,
}

impl Directory {
    /// The tenant that is named by id or domain in a path.
    pub fn named(tenant: &Tenant, name: &str) -> Option<Self> {
        let partner = &tenant.rights.partner;
        let same = |names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        if same(&[&tenant.tenant_id, &tenant.domain, "common", "organizations"]) {
            return Some(Self {
                tenant_id: tenant.tenant_id.clone(),
                domain: tenant.domain.clone(),
                display_name: tenant.display_name.clone(),
                first: true,
            });
        }
        same(&[&partner.tenant_id, &partner.domain]).then(|| Self {
            tenant_id: partner.tenant_id.clone(),
            domain: partner.domain.clone(),
            display_name: partner.display_name.clone(),
            first: false,
        })
    }

    /// The application that signs people in here: in the second tenant only one that is made for several.
    pub fn application(&self, tenant: &Tenant, id: &str) -> Result<Application, Refusal> {
        let app = tenant.application(id).filter(|app| self.first || app.multi_tenant);
        app.cloned().ok_or_else(|| Refusal::no_application(id, &self.display_name))
    }

    /// Finds a person by object id or by the name they sign in with; refuses who may not sign in.
    pub fn person(&self, tenant: &Tenant, app: &Application, key: &str) -> Result<Person, Refusal> {
        let found = if self.first { member(tenant, key) } else { stranger(tenant, key) };
        let Some(person) = found else {
            return Err(self.unknown(tenant, app, key));
        };
        if !person.enabled {
            return Err(Refusal::grant(50_057, "The user account is disabled."));
        }
        let assigned =
            |who: &String| [&person.id, &person.upn, &person.preferred].iter().any(|n| n.eq_ignore_ascii_case(who));
        if app.assignment_required && !app.assigned.iter().any(assigned) {
            let words = format!(
                "Your administrator has configured the application {} ('{}') to block users unless they are specifically granted ('assigned') access to the application. The signed-in user '{}' is blocked because they are not a direct member of a group with access, nor had access directly assigned by an administrator. Please contact your administrator to assign access to this application.",
                app.display_name, app.client_id, person.preferred
            );
            return Err(Refusal::grant(50_105, words));
        }
        Ok(person)
    }

    fn unknown(&self, tenant: &Tenant, app: &Application, key: &str) -> Refusal {
        let elsewhere = if self.first { stranger(tenant, key) } else { member(tenant, key) };
        if let Some(person) = elsewhere {
            let other = if self.first { &tenant.rights.partner.tenant_id } else { &tenant.tenant_id };
            return Refusal::grant(
                50_020,
                format!(
                    "User account '{}' from identity provider 'https://sts.windows.net/{other}/' does not exist in tenant '{}' and cannot access the application '{}'({}) in that tenant. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different Azure Active Directory user account.",
                    person.preferred, self.display_name, app.client_id, app.display_name
                ),
            );
        }
        let deleted = |(id, deleted): (&String, &super::super::state::Deleted)| {
            id == key
                || text(&deleted.entity.object(), "userPrincipalName").is_some_and(|n| n.eq_ignore_ascii_case(key))
        };
        if self.first && tenant.deleted.iter().any(deleted) {
            let words = format!(
                "The user account {{EUII Hidden}} has been deleted from the {} directory. To sign into this application, the account must be added to the directory.",
                self.domain
            );
            return Refusal::grant(500_341, words);
        }
        Refusal::grant(
            50_034,
            format!(
                "The user account {{EUII Hidden}} does not exist in the {} directory. To sign into this application, the account must be added to the directory.",
                self.domain
            ),
        )
    }
}

fn text(object: &Object, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// A member or a guest of the first tenant.
fn member(tenant: &Tenant, key: &str) -> Option<Person> {
    let guest = |object: &Object| object.get("userType").and_then(Value::as_str) == Some("Guest");
    let (id, user) = tenant.find_user(key).or_else(|| {
        // A guest signs in with the address of home.
        let fits = |object: &Object| guest(object) && text(object, "mail").is_some_and(|m| m.eq_ignore_ascii_case(key));
        let mut users = tenant.users.all().into_iter().filter(|_| key.contains('@'));
        users.find_map(|(id, entity)| Some((id.to_owned(), Some(entity.object()).filter(fits)?)))
    })?;
    let upn = text(&user, "userPrincipalName").unwrap_or_default();
    let mail = text(&user, "mail");
    let enabled = user.get("accountEnabled") != Some(&Value::Bool(false));
    let at_home = guest(&user).then(|| stranger(tenant, mail.as_deref().unwrap_or_default()));
    Some(Person {
        id,
        preferred: if at_home.is_some() { mail.clone().unwrap_or_else(|| upn.clone()) } else { upn.clone() },
        upn,
        name: text(&user, "displayName").unwrap_or_default(),
        mail,
        provider: at_home.as_ref().map(|known| match known {
            Some(_) => format!("https://sts.windows.net/{}/", tenant.rights.partner.tenant_id),
            None => "mail".to_owned(),
        }),
        enabled: enabled && at_home.flatten().is_none_or(|person| person.enabled),
    })
}

/// A person of the second tenant.
fn stranger(tenant: &Tenant, key: &str) -> Option<Person> {
    let mut people = tenant.rights.partner.people.iter();
    let found = people.find(|p| p.id == key || p.user_principal_name.eq_ignore_ascii_case(key))?;
    Some(Person {
        id: found.id.clone(),
        upn: found.user_principal_name.clone(),
        preferred: found.user_principal_name.clone(),
        name: found.display_name.clone(),
        mail: Some(found.user_principal_name.clone()),
        provider: None,
        enabled: found.enabled,
    })
}
