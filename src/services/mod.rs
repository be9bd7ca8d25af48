//! The rules and the public vocabulary: what a caller may ask for, and what it means.
//!
//! Services are between the interfaces (MCP, REST, triggers) and the machinery (`sync`, `graph`, the store). An interface
//! converts; a rule lives here. Every failure is an [`Error`]: a stable code, what happened, whether anything was changed,
//! and a hint that says what to do next. [`Members`] are its one rendering.

pub mod arguments;
pub mod audit;
pub mod directory;
pub mod events;
mod graph_error;
pub mod jobs;
pub mod names;
pub mod notifications;
pub mod planner;
pub mod poison;
mod rendering;
pub mod reports;
pub mod subscriptions;
pub mod transfer;
pub mod workflow;

use std::sync::Arc;
use std::time::Duration;

pub use self::graph_error::graph_error;
pub use self::rendering::{Details, IntoJson, Members, print_time};

use self::audit::Audit;
use self::directory::Directory;
use self::events::Events;
use self::notifications::Notifications;
use self::planner::Planner;
use self::poison::Poison;
use self::reports::Reports;
use self::subscriptions::Subscriptions;
use crate::auth::AuthorizationServer;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::graph;
use crate::ids::Entropy;
use crate::keyring::Keyring;
use crate::rows::{StoreError, TenantTables};
use crate::sync::RefreshError;
use crate::sync::ports::{RemoteError, RemoteErrorKind};
use crate::telemetry::metrics::{Lookups, Metrics};

/// What services are built over: the tenant's rows, time, randomness, what signs, and Microsoft Graph. Cheap to clone.
#[derive(Clone)]
pub struct Environment {
    /// The tenant's rows.
    pub tables: TenantTables,
    /// The program's clock.
    pub clock: Clock,
    /// The program's randomness.
    pub entropy: Entropy,
    /// What signs cursors and links.
    pub keyring: Keyring,
    /// Microsoft Graph as the deployment may use it.
    pub graph: graph::Client,
}

/// The services of a deployment. Cheap to clone: each interface holds one.
#[derive(Clone)]
pub struct Services {
    /// Plans, buckets and tasks.
    pub planner: Arc<Planner>,
    /// Reports, on demand and by schedule.
    pub reports: Arc<Reports>,
    /// What is watched in Microsoft 365.
    pub subscriptions: Arc<Subscriptions>,
    /// Change notifications that arrive.
    pub notifications: Arc<Notifications>,
    /// What has happened to plans.
    pub events: Arc<Events>,
    /// People, groups, memberships.
    pub directory: Arc<Directory>,
    /// Messages that were given up on.
    pub poison: Arc<Poison>,
    /// Where people sign in, if they do.
    pub authorization_server: Option<AuthorizationServer>,
    /// Who did what.
    pub audit: Audit,
    /// Microsoft Graph, for services that keep nothing: functions over a live call, in the caller's name.
    pub graph: graph::Client,
    /// The program's clock.
    pub clock: Clock,
    /// The program's randomness.
    pub entropy: Entropy,
}

impl Services {
    /// Registers what they count.
    pub fn register(&self, metrics: &Metrics) {
        let people = ("people", self.directory.people.lookups().clone());
        let (metadata, replica) =
            (("metadata", self.directory.metadata.lookups().clone()), ("replica", self.planner.lookups().clone()));
        Lookups::register(vec![people, metadata, replica], metrics);
        self.notifications.receiver.counts.register(metrics);
    }
}

/// Whether a failed call changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Nothing was changed.
    Nothing,
    /// It cannot be known here; the hint says how to find out.
    Unknown,
}

/// A failure, as callers get it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable code.
    pub code: ErrorCode,
    /// What happened; lower case, names in backticks, no full stop. Whether anything was changed is said by
    /// [`Self::sentence`].
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether anything was changed.
    pub changed: Changed,
    /// When a repetition makes sense at the earliest.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// A failure that changed nothing.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, changed: Changed::Nothing, retry_after: None }
    }

    /// A wrong argument.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    /// Says that something may have been changed all the same.
    #[must_use]
    pub fn perhaps_changed(mut self) -> Self {
        self.changed = Changed::Unknown;
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        let (message, hint, changed) = match &error {
            StoreError::ReadOnly { reason } => (
                format!("the store takes no writes: {reason}"),
                "free space or make the data folder writable, then repeat the call",
                Changed::Nothing,
            ),
            StoreError::Broken { reason, remedy } => {
                (format!("the store cannot be used: {reason}"), *remedy, Changed::Nothing)
            }
            StoreError::TooLarge { .. } => {
                let message = "the change is too large for one transaction".to_owned();
                return Self::new(ErrorCode::LimitExceeded, message).hint("shorten the text or split the call");
            }
            StoreError::Conflict { .. } => {
                ("other writers kept changing the same plan".to_owned(), "repeat the call", Changed::Nothing)
            }
            _ => (
                "the store failed".to_owned(),
                "repeat the call; `get_task` tells whether it was applied",
                Changed::Unknown,
            ),
        };
        Self { code: ErrorCode::StoreFailed, message, hint: Some(hint.into()), changed, retry_after: None }
    }
}

impl From<RemoteError> for Error {
    fn from(error: RemoteError) -> Self {
        let (code, retry_after, hint) = match error.kind {
            RemoteErrorKind::Stale => {
                (ErrorCode::Conflict, None, Some("somebody changed it at the same time: repeat the call"))
            }
            RemoteErrorKind::Gone => (ErrorCode::NotFound, None, None),
            RemoteErrorKind::Refused => (ErrorCode::GraphRefused, None, None),
            RemoteErrorKind::Forbidden => (
                ErrorCode::PermissionMissing,
                None,
                Some(
                    "an administrator grants the application the permission named; `graphgate doctor` lists what is missing",
                ),
            ),
            RemoteErrorKind::NotNow(after) => (
                ErrorCode::GraphUnreachable,
                Some(after),
                Some("reads without `fresh` are answered from the replica meanwhile"),
            ),
            RemoteErrorKind::Unknown => {
                (ErrorCode::GraphFailed, None, Some("check whether it happened before repeating it"))
            }
        };
        let changed = if error.kind == RemoteErrorKind::Unknown { Changed::Unknown } else { Changed::Nothing };
        Self { code, message: error.message, hint: hint.map(str::to_owned), changed, retry_after }
    }
}

impl From<RefreshError> for Error {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Remote(error) => error.into(),
            RefreshError::PlanGone => Self::new(ErrorCode::PlanNotFound, "the plan does not exist in Planner any more")
                .hint("list the plans with `list_plans`"),
            RefreshError::Held => Self::new(ErrorCode::Conflict, "another instance is working on the plan")
                .hint("repeat the call in a moment"),
            RefreshError::Store(error) => error.into(),
        }
    }
}
