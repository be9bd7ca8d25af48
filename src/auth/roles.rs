//! Roles to rights, in one place. A role nobody knows grants nothing.
//!
//! `GraphGate.Admin` may do everything. `Planner.Read` and `Planner.ReadWrite` open the toolset `planner`, and so does
//! every other toolset's name. Further roles, and other meanings of these, are configured.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Caller, Grant, Limit, Mode, PlanScope, Principal};
use crate::graph::Identity;
use crate::ids::{GroupId, PlanId, UserId};

/// The role that may do everything.
pub const ADMIN: &str = "GraphGate.Admin";
/// The scope by which a person lets a client act for them, with all that the person may do.
pub const IMPERSONATION: &str = "user_impersonation";

/// What a role, or a key, may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Only these toolsets; without the field all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolsets: Option<BTreeSet<String>>,
    /// Only tools that change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Metrics, token status and the audit log too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
    /// These plans; with `groups` empty too, all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub plans: BTreeSet<PlanId>,
    /// All plans of these groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupId>,
}

impl Role {
    /// What it grants.
    #[must_use]
    pub fn grant(&self) -> Grant {
        let mode = if self.read_only { Mode::Read } else { Mode::Write };
        let grant = match &self.toolsets {
            None => Grant::every(mode),
            Some(names) => Grant::toolsets(names.iter().cloned(), mode),
        };
        if self.operator { grant.and_operate() } else { grant }
    }

    /// The plans it allows.
    #[must_use]
    pub fn limit(&self) -> Limit {
        Limit { groups: self.groups.clone(), plans: self.plans.clone() }
    }
}

/// The roles of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles(BTreeMap<String, Role>);

impl Roles {
    /// Reads the configured roles: a JSON object of roles by name.
    ///
    /// # Errors
    /// With what is wrong, when it is no such object, or one of them could be taken for the opposite of what it does: a
    /// role that says nothing, or names no plan, would grant everything, or every plan.
    pub fn parse(text: &str) -> Result<Self, String> {
        let roles: BTreeMap<String, serde_json::Map<String, Value>> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (name, fields) in &roles {
            if fields.is_empty() {
                return Err(format!("the role `{name}` says nothing: name its `toolsets`, or what else bounds it"));
            }
            let empty = |field: &&&str| fields.get(**field).and_then(Value::as_array).is_some_and(Vec::is_empty);
            if let Some(field) = ["plans", "groups"].iter().find(empty) {
                return Err(format!("`{field}` of the role `{name}` is empty: name some, or leave it out for all"));
            }
        }
        serde_json::from_str(text).map(Self).map_err(|error| error.to_string())
    }

    /// Whether a role means anything here.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// Every toolset that a configured role names.
    pub fn toolsets(&self) -> impl Iterator<Item = &String> {
        self.0.values().filter_map(|role| role.toolsets.as_ref()).flatten()
    }

    /// The names of roles that are narrowed to some plans.
    #[must_use]
    pub fn narrowed(&self) -> Vec<String> {
        let narrow = |(name, role): (&String, &Role)| (!role.limit().is_empty()).then(|| format!("`{name}`"));
        self.0.iter().filter_map(narrow).collect()
    }

    /// What holding all these roles comes to: what they grant adds up, and every allow-list of theirs holds. Lists that
    /// added up as well would let the rights of one role be used on the plans of another.
    #[must_use]
    pub fn rights<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> (Grant, PlanScope) {
        let held = names.into_iter().filter_map(|name| self.of(name));
        held.fold((Grant::nothing(), PlanScope::everywhere()), |(grant, plan_scope), (more, limit)| {
            (grant.or(&more), plan_scope.within(limit))
        })
    }

    /// An application that holds roles.
    #[must_use]
    pub fn application(&self, client: &str, tenant: String, held: Vec<String>) -> Caller {
        let (grant, plan_scope) = self.held(&held);
        Caller {
            name: format!("app:{client}"),
            kind: Principal::Application,
            tenant: Some(tenant),
            object_id: None,
            scopes: Vec::new(),
            roles: held,
            operation: None,
            authorization: None,
            ends_at: None,
            grant,
            plan_scope,
            identity: Identity::Application,
        }
    }

    /// A person, for whom a client acts within some scopes, and who may hold roles. The client may do what the scopes
    /// say; where people have roles, no more than the person may. Either way only on plans of the person's groups.
    #[must_use]
    pub fn person(&self, person: UserId, tenant: String, scopes: Vec<String>, held: Vec<String>) -> Caller {
        let (mut grant, mut plan_scope) = self.rights(scopes.iter().map(String::as_str));
        if !held.is_empty() {
            let (own, within) = self.held(&held);
            (grant, plan_scope) = (grant.and(&own), plan_scope.and(within));
        }
        Caller {
            name: format!("user:{person}"),
            kind: Principal::User,
            tenant: Some(tenant),
            object_id: Some(person.clone()),
            scopes,
            roles: held,
            operation: None,
            authorization: None,
            ends_at: None,
            grant,
            plan_scope: plan_scope.of_member(person),
            identity: Identity::Application,
        }
    }

    /// Impersonation is a person's to give: as a role it means nothing.
    fn held(&self, roles: &[String]) -> (Grant, PlanScope) {
        self.rights(roles.iter().map(String::as_str).filter(|role| *role != IMPERSONATION))
    }

    fn of(&self, name: &str) -> Option<(Grant, Limit)> {
        if let Some(role) = self.0.get(name) {
            return Some((role.grant(), role.limit()));
        }
        let grant = match name {
            ADMIN => Grant::everything(),
            IMPERSONATION => Grant::every(Mode::Write),
            _ => {
                let (toolset, mode) = name.split_once('.')?;
                let mode = match mode {
                    "Read" => Mode::Read,
                    "ReadWrite" => Mode::Write,
                    _ => return None,
                };
                Grant::toolsets([toolset.to_lowercase()], mode)
            }
        };
        Some((grant, Limit::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_grants_its_toolset_and_unknown_roles_grant_nothing() {
        let roles = Roles::default();
        let mode = |names: &[&str], toolset: &str| roles.rights(names.iter().copied()).0.mode(toolset);
        assert_eq!(mode(&["Planner.Read"], "planner"), Some(Mode::Read));
        assert_eq!(mode(&["Planner.Read", "Planner.ReadWrite"], "planner"), Some(Mode::Write));
        assert_eq!(mode(&["Reports.ReadWrite"], "planner"), None);
        assert_eq!(mode(&[ADMIN], "anything"), Some(Mode::Write));
        for nothing in ["", "Planner", "planner.write", "Planner.Read.All", "admin", ".Read"] {
            assert_eq!(mode(&[nothing], "planner"), None, "{nothing}");
        }
    }

    #[test]
    fn configured_roles_override_defaults_and_their_lists_intersect() {
        let plans = |letter: &str| letter.repeat(28);
        let text = format!(
            r#"{{"Agents":{{"toolsets":["planner"],"plans":["{}"]}},"Readers":{{"read_only":true,"plans":["{}"]}},
                "Planner.Read":{{"toolsets":[]}}}}"#,
            plans("a"),
            plans("b")
        );
        let roles = Roles::parse(&text).unwrap();
        assert!(roles.rights(["Planner.Read"]).0.is_nothing());
        let (grant, plan_scope) = roles.rights(["Agents", "Readers"]);
        assert_eq!(grant.mode("planner"), Some(Mode::Write));
        let plan = PlanId::parse(&plans("b")).unwrap();
        assert!(
            !plan_scope.allows(&plan, None, &std::collections::HashSet::new()),
            "rights of one on plans of another"
        );
        assert!(Roles::parse(r#"{"A":{"toolset":["planner"]}}"#).is_err());
        assert!(Roles::parse(r#"{"A":{"plans":["x"]}}"#).is_err());
    }

    #[test]
    fn empty_role_definition_is_refused() {
        for (text, part) in [
            (r#"{"Empty":{}}"#, "`Empty` says nothing"),
            (r#"{"A":{"toolsets":["planner"],"plans":[]}}"#, "`plans` of the role `A` is empty"),
            (r#"{"A":{"groups":[]}}"#, "`groups` of the role `A` is empty"),
        ] {
            let error = Roles::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Roles::parse(r#"{"A":{"toolsets":[]}}"#).unwrap().rights(["A"]).0.is_nothing());
    }
}
