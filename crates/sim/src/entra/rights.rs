//! What the sign-in service remembers of people and applications, as part of the tenant and its snapshots: consent, ended
//! sessions, Conditional Access, administrators, and the people of a second tenant.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::clock;
use super::super::state::{Application, Tenant};
use super::people::{Directory, Person};
use super::refusal::Refusal;

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rights {
    pub consents: Vec<Consent>,
    /// Object ids of people who may consent for the organization.
    pub administrators: Vec<String>,
    pub policies: Vec<Policy>,
    /// When whose sessions ended.
    ends: BTreeMap<String, Ends>,
    pub partner: Partner,
}

/// What an application may do for one person, or for all people of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub id: String,
    pub tenant: String,
    pub client_id: String,
    /// Object id; absent = an administrator consented for all.
    pub user: Option<String>,
    /// Microsoft Graph's address, or the client id of the application that is the resource.
    pub resource: String,
    pub scopes: Vec<String>,
}

/// The lines before which nothing counts, as numbers of changes of the tenant: a clock that stands still does not blur them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Ends {
    confidential: u64,
    public: u64,
    access: u64,
    at: Option<DateTime<Utc>>,
}

/// Why sessions end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An administrator or the person revoked all sessions.
    #[default]
    Revoked,
    /// The person chose another password: refresh tokens of confidential clients live on.
    PasswordChanged,
    /// An administrator set another password.
    PasswordReset,
    /// Graph challenges the access tokens issued so far; refresh tokens stay good.
    Challenge,
}

/// What refresh tokens and access tokens are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Confidential,
    Public,
    Access,
}

/// A Conditional Access policy. What is absent means all.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    #[serde(default = "new_id")]
    pub id: String,
    /// Object id or user principal name.
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub client_id: Option<String>,
    /// As in tokens: `https://graph.microsoft.com`, `api://…`.
    #[serde(default)]
    pub resource: Option<String>,
    pub require: Requirement,
}

/// What a policy demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// A second factor (50076).
    Mfa,
    /// A second factor that the person has yet to register (50079).
    Enrol,
    /// No access at all (53003).
    Block,
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The second tenant: it signs people in with keys of its own; Graph serves the first one only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Partner {
    pub tenant_id: String,
    pub display_name: String,
    pub domain: String,
    pub people: Vec<Stranger>,
}

/// A person of the second tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stranger {
    pub id: String,
    pub user_principal_name: String,
    pub display_name: String,
    #[serde(default = "yes")]
    pub enabled: bool,
}

pub fn yes() -> bool {
    true
}

impl Default for Partner {
    fn default() -> Self {
        let person = |id: &str, name: &str, display: &str| Stranger {
            id: id.to_owned(),
            user_principal_name: format!("{name}@fabrikam.onmicrosoft.com"),
            display_name: display.to_owned(),
            enabled: true,
        };
        Self {
            tenant_id: "c1d7e0b4-52a9-4e63-9d08-7f4b6a2e1c35".to_owned(),
            display_name: "Fabrikam".to_owned(),
            domain: "fabrikam.onmicrosoft.com".to_owned(),
            people: vec![
                person("5e8b1f02-6c3d-4a97-8e14-0b9d7c2f6a51", "MariaS", "Maria Sandoval"),
                person("91c4d7e3-0f2a-4b68-a5d9-3e7f1b8c6024", "TomW", "Tom Whitaker"),
            ],
        }
    }
}

impl Rights {
    /// The scopes of a resource that an application has for a person.
    pub fn consented(&self, tenant: &str, client_id: &str, user: &str, resource: &str) -> Vec<String> {
        let held = self.consents.iter().filter(|c| {
            c.tenant == tenant
                && c.client_id.eq_ignore_ascii_case(client_id)
                && c.resource.eq_ignore_ascii_case(resource)
                && c.user.as_ref().is_none_or(|u| u == user)
        });
        held.flat_map(|c| c.scopes.iter().cloned()).collect()
    }

    /// Writes a consent down, together with what was consented before.
    pub fn consent(&mut self, tenant: &str, client_id: &str, user: Option<&str>, resource: &str, scopes: &[String]) {
        let fits = |c: &&mut Consent| {
            c.tenant == tenant && c.client_id == client_id && c.resource == resource && c.user.as_deref() == user
        };
        if let Some(known) = self.consents.iter_mut().find(fits) {
            for scope in scopes.iter().filter(|scope| !known.scopes.contains(scope)).cloned().collect::<Vec<_>>() {
                known.scopes.push(scope);
            }
            return;
        }
        self.consents.push(Consent {
            id: new_id(),
            tenant: tenant.to_owned(),
            client_id: client_id.to_owned(),
            user: user.map(str::to_owned),
            resource: resource.to_owned(),
            scopes: scopes.to_vec(),
        });
    }

    /// Whether something that was issued at this count of changes still holds.
    pub fn holds(&self, user: &str, held: Held, born: u64) -> bool {
        self.ends.get(user).is_none_or(|ends| {
            born >= match held {
                Held::Confidential => ends.confidential,
                Held::Public => ends.public,
                Held::Access => ends.access,
            }
        })
    }

    /// When the sessions of a person ended last.
    pub fn ended_at(&self, user: &str) -> Option<DateTime<Utc>> {
        self.ends.get(user)?.at
    }

    /// What Conditional Access says to a sign-in.
    pub fn admit(&self, app: &Application, person: &Person, resource: &str, mfa: bool) -> Result<(), Refusal> {
        let fits = |policy: &&Policy| {
            let same = |wanted: &Option<String>, values: &[&str]| {
                wanted.as_ref().is_none_or(|wanted| values.iter().any(|value| value.eq_ignore_ascii_case(wanted)))
            };
            same(&policy.user, &[&person.id, &person.upn, &person.preferred])
                && same(&policy.client_id, &[&app.client_id])
                && same(&policy.resource, &[resource])
        };
        for policy in self.policies.iter().filter(fits) {
            let moved = "Due to a configuration change made by your administrator, or because you moved to a new location, you must";
            let refusal = match policy.require {
                Requirement::Block => Refusal::grant(
                    53_003,
                    "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
                )
                .sub("message_only"),
                _ if mfa => continue,
                Requirement::Mfa => Refusal::new(
                    "interaction_required",
                    50_076,
                    format!("{moved} use multi-factor authentication to access '{resource}'."),
                )
                .sub("basic_action"),
                Requirement::Enrol => Refusal::new(
                    "interaction_required",
                    50_079,
                    format!("{moved} enroll in multi-factor authentication to access '{resource}'."),
                )
                .sub("basic_action"),
            };
            let claims = json!({"access_token": {"capolids": {"essential": true, "values": [policy.id]}}});
            return Err(Refusal { claims: Some(claims.to_string()), ..refusal });
        }
        Ok(())
    }
}

impl Tenant {
    /// Ends sessions of a person, in this tenant or the second one.
    pub fn end_sessions(&mut self, user: &str, cause: Cause, now: DateTime<Utc>) {
        self.changes += 1;
        let line = self.changes;
        let ends = self.rights.ends.entry(user.to_owned()).or_default();
        ends.access = line;
        if cause == Cause::Challenge {
            return;
        }
        ends.at = Some(now);
        ends.public = line;
        if cause != Cause::PasswordChanged {
            ends.confidential = line;
        }
        if let Some(mut object) = self.users.get(user).map(super::super::table::Entity::object) {
            let at = clock::seconds(now);
            if cause != Cause::Revoked {
                object.insert("lastPasswordChangeDateTime".to_owned(), at.clone().into());
            }
            object.insert("signInSessionsValidFromDateTime".to_owned(), at.into());
            self.replace(|t| &mut t.users, user, &object);
        }
    }

    /// Whether a person may consent for all.
    pub fn is_administrator(&self, directory: &Directory, user: &str) -> bool {
        directory.first && self.rights.administrators.iter().any(|id| id == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_password_spares_confidential_clients() {
        let mut tenant = Tenant::new("t", "n", "d", 1);
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let born = tenant.changes;
        let holds = |tenant: &Tenant| {
            [Held::Confidential, Held::Public, Held::Access].map(|held| tenant.rights.holds("u", held, born))
        };
        assert_eq!(holds(&tenant), [true, true, true]);
        tenant.end_sessions("u", Cause::Challenge, now);
        assert_eq!(holds(&tenant), [true, true, false]);
        tenant.end_sessions("u", Cause::PasswordChanged, now);
        assert_eq!(holds(&tenant), [true, false, false]);
        tenant.end_sessions("u", Cause::PasswordReset, now);
        assert_eq!(holds(&tenant), [false, false, false]);
        assert!(tenant.rights.holds("u", Held::Confidential, tenant.changes), "what comes later holds");
    }
}
