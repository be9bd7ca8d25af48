//! The reconciler's view of Graph, narrow enough for a simulation to stand in.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::error::ErrorCode;
use crate::graph::subscriptions::NewSubscription;
use crate::graph::{self, Call, Identity};
use crate::services::graph_error;
use crate::services::{Changed, Error};

/// A subscription Graph has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Graph's id.
    pub id: String,
    /// What is watched.
    pub resource: String,
    /// Where notifications go.
    pub url: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// Where Graph sends, and what it encrypts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Where notifications go.
    pub url: String,
    /// Where lifecycle notifications go.
    pub lifecycle_url: String,
    /// Id and base64 of the certificate for notifications with content.
    pub certificate: Option<(String, String)>,
}

/// Why Graph did not do it.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// There is no such subscription.
    Gone,
    /// This application has one on the same resource and changes.
    Exists,
    /// Anything else.
    Other(Error),
}

impl Refusal {
    /// Whether Graph may have done it all the same. What it denies it has not.
    #[must_use]
    pub fn may_have_worked(&self) -> bool {
        matches!(self, Self::Other(error) if error.changed == Changed::Unknown && error.code != ErrorCode::PermissionMissing)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Other(error) => error,
            Refusal::Gone => Self::new(ErrorCode::NotFound, "the subscription does not exist any more"),
            Refusal::Exists => Self::new(ErrorCode::Conflict, "such a subscription exists already"),
        }
    }
}

/// Graph's subscriptions.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// All of this application.
    async fn list(&self) -> Result<Vec<Found>, Error>;
    /// Creates one.
    async fn create(&self, new: &NewSubscription) -> Result<Found, Refusal>;
    /// Renews one until an instant; answers until when it lives.
    async fn renew(&self, id: &str, until: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal>;
    /// Deletes one; one that is gone is fine.
    async fn delete(&self, id: &str) -> Result<(), Error>;
    /// Whether nothing may be changed there.
    fn is_read_only(&self) -> bool {
        false
    }
}

/// The real one.
pub struct GraphSubscriptions(pub graph::Client);

impl From<graph::subscriptions::Subscription> for Found {
    fn from(found: graph::subscriptions::Subscription) -> Self {
        Self { id: found.id, resource: found.resource, url: found.notification_url, expires_at: found.expires_at }
    }
}

fn refusal(error: graph::Error) -> Refusal {
    match error.context.status {
        Some(404) => Refusal::Gone,
        Some(409) => Refusal::Exists,
        _ => Refusal::Other(graph_error(error)),
    }
}

#[async_trait]
impl Remote for GraphSubscriptions {
    async fn list(&self) -> Result<Vec<Found>, Error> {
        let found = self.0.list_subscriptions(&Call::background(Identity::Application)).await.map_err(graph_error)?;
        Ok(found.into_iter().map(Found::from).collect())
    }

    async fn create(&self, new: &NewSubscription) -> Result<Found, Refusal> {
        self.0
            .create_subscription(&Call::background(Identity::Application), new)
            .await
            .map(Found::from)
            .map_err(refusal)
    }

    async fn renew(&self, id: &str, until: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal> {
        let renewed = self.0.renew_subscription(&Call::background(Identity::Application), id, until).await;
        renewed.map(|found| found.expires_at).map_err(refusal)
    }

    async fn delete(&self, id: &str) -> Result<(), Error> {
        self.0.delete_subscription(&Call::background(Identity::Application), id).await.map_err(graph_error)
    }

    fn is_read_only(&self) -> bool {
        self.0.access() == graph::Access::ReadOnly
    }
}
