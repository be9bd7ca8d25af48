//! A caller: who it is, what it may do, and which plans it may touch.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::roles::Role;
use super::{Grant, Mode, Ongoing, PlanScope};
use crate::graph::Identity;
use crate::ids::UserId;

/// What kind of party calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// The user of this machine, or a caller of a server that asks nobody who they are.
    Local,
    /// A holder of the deployment's one key.
    DeploymentKey,
    /// A holder of a key made with `graphgate keys create`.
    ApiKey,
    /// A holder of a Functions key, which the Functions host has checked.
    FunctionsKey,
    /// A person, with a token of Entra or a principal of Easy Auth.
    User,
    /// An application acting as itself, with a token of Entra.
    Application,
    /// A client of the authorization server, acting as itself.
    Client,
}

impl Principal {
    /// The name in logs and audit rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::DeploymentKey => "deployment_key",
            Self::ApiKey => "api_key",
            Self::FunctionsKey => "functions_key",
            Self::User => "user",
            Self::Application => "application",
            Self::Client => "client",
        }
    }
}

/// Who a caller is, as it is stored with work that continues after the call: what it may do then is asked again, by
/// [`super::Gate::restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCaller {
    /// The caller's name.
    pub name: String,
    /// What kind of party it is.
    pub kind: Principal,
    /// The tenant it proved to belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_id: Option<UserId>,
    /// The scopes it claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The roles it claimed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What it was let do by the authorization server, by id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
}

/// A caller of GraphGate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A stable name, for journal, audit and rate limits: never a secret.
    pub name: String,
    /// What kind of party it is.
    pub kind: Principal,
    /// The tenant it belongs to, if it proved one.
    pub tenant: Option<String>,
    /// The person's object id; `None` for keys and applications.
    pub object_id: Option<UserId>,
    /// The scopes of a person's token, as they were claimed.
    pub scopes: Vec<String>,
    /// The roles, as they were claimed.
    pub roles: Vec<String>,
    /// The operation it is about, where the audit log is kept.
    pub operation: Option<Arc<Ongoing>>,
    /// What it was let do by the authorization server, by id; `None` where it came another way.
    pub authorization: Option<String>,
    /// When what proved it ends by itself; `None` where that is not known.
    pub ends_at: Option<DateTime<Utc>>,
    /// What it may do.
    pub grant: Grant,
    /// Which plans it may touch.
    pub plan_scope: PlanScope,
    /// As whom Microsoft Graph is called for it, where that is not for the replica, which is the application's.
    pub identity: Identity,
}

impl Caller {
    /// The user of this machine: the command line, standard input, an unprotected loopback server.
    #[must_use]
    pub fn local() -> Self {
        Self::trusted("local", Principal::Local)
    }

    /// A holder of the deployment's key.
    #[must_use]
    pub fn key_holder() -> Self {
        Self::trusted("key", Principal::DeploymentKey)
    }

    /// A caller nobody vouches for: may do nothing.
    #[must_use]
    pub fn nobody() -> Self {
        Self { grant: Grant::nothing(), ..Self::trusted("nobody", Principal::Local) }
    }

    /// A client of the authorization server that acts as itself, with a role of its own.
    #[must_use]
    pub fn client(id: &str, authorization: &str, role: &Role) -> Self {
        Self {
            authorization: Some(authorization.to_owned()),
            grant: role.grant(),
            plan_scope: PlanScope::everywhere().within(role.limit()),
            ..Self::trusted(&format!("client:{id}"), Principal::Client)
        }
    }

    /// A caller who may do everything everywhere.
    fn trusted(name: &str, kind: Principal) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            tenant: None,
            object_id: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            operation: None,
            authorization: None,
            ends_at: None,
            grant: Grant::everything(),
            plan_scope: PlanScope::everywhere(),
            identity: Identity::Application,
        }
    }

    /// Who it is, without what it may do.
    #[must_use]
    pub fn stored(&self) -> StoredCaller {
        StoredCaller {
            name: self.name.clone(),
            kind: self.kind,
            tenant: self.tenant.clone(),
            object_id: self.object_id.clone(),
            scopes: self.scopes.clone(),
            roles: self.roles.clone(),
            authorization: self.authorization.clone(),
        }
    }

    /// Who the limits of callers count for: a person, however many keys that person has made, or the caller itself.
    #[must_use]
    pub fn party(&self) -> &str {
        self.object_id.as_ref().map_or(&*self.name, UserId::as_str)
    }

    /// Whether calls of Microsoft Graph are made in a person's name for it.
    #[must_use]
    pub fn acts_as_person(&self) -> bool {
        self.identity != Identity::Application
    }

    /// Whether the caller may read with the tools of a toolset.
    #[must_use]
    pub fn may_read(&self, toolset: &str) -> bool {
        self.grant.mode(toolset).is_some()
    }

    /// Whether the caller may write with the tools of a toolset.
    #[must_use]
    pub fn may_write(&self, toolset: &str) -> bool {
        self.grant.mode(toolset) == Some(Mode::Write)
    }
}
