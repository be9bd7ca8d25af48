//! Subscriptions as callers see, make and delete them.

use schemars::JsonSchema;
use serde::Serialize;

use super::record::{Origin, Record, Wanted};
use super::target::{Content, Kind, SubscriptionSpec};
use super::{Gap, Subscriptions, changed_by_others};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::print_time;
use crate::services::workflow::Versioned;

/// A subscription as shown.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShownSubscription {
    /// Id.
    pub id: String,
    /// Kind.
    pub kind: Kind,
    /// What is watched, in words.
    pub name: String,
    /// `active`, `pending`, `failing` or `ending`.
    pub state: String,
    /// When it ends unless renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// `settings`, or who made it.
    pub declared_by: String,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All subscriptions.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListedSubscriptions {
    /// The subscriptions.
    pub subscriptions: Vec<ShownSubscription>,
    /// Whether these are all.
    pub complete: bool,
    /// When the list was read.
    pub as_of: String,
}

/// A subscription that was made or deleted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NamedSubscription {
    /// The subscription.
    pub subscription: ShownSubscription,
    /// `created`, `existing` or `deleted`.
    pub outcome: String,
}

/// A gap as shown.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShownGap {
    /// The subscription.
    pub subscription: String,
    /// Why notifications may be missing.
    pub cause: String,
    /// Since when.
    pub began_at: String,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// When what was missed began to be looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resynced_at: Option<String>,
}

impl From<&Gap> for ShownGap {
    fn from(gap: &Gap) -> Self {
        let cause = serde_json::to_value(gap.cause).ok().and_then(|cause| cause.as_str().map(str::to_owned));
        Self {
            subscription: gap.record.clone(),
            cause: cause.unwrap_or_default(),
            began_at: print_time(gap.began_at),
            ended_at: gap.ended_at.map(print_time),
            resynced_at: gap.resynced_at.map(print_time),
        }
    }
}

impl Subscriptions {
    /// Lists what is watched.
    ///
    /// # Errors
    /// When the caller sees only some plans, or the store fails.
    pub async fn list(&self, caller: &Caller) -> Result<ListedSubscriptions, Error> {
        everywhere(caller)?;
        let kept = self.store().all().await?;
        Ok(ListedSubscriptions {
            subscriptions: kept.iter().map(|kept| self.show(&kept.record)).collect(),
            complete: true,
            as_of: print_time(self.clock.now()),
        })
    }

    /// Begins to watch something; what is watched already stays as it is, and what has failed is tried again at once.
    ///
    /// # Errors
    /// When a name is unknown or ambiguous, or the store fails. What Graph refuses is told in the answer.
    pub async fn create(&self, caller: &Caller, spec: &SubscriptionSpec) -> Result<NamedSubscription, Error> {
        everywhere(caller)?;
        self.receiver()?;
        let (target, label) = self.resolve(spec).await?;
        let key = target.key();
        caller.touch("subscription", &key);
        let record = Record::new(target, label, Origin::Caller(caller.name.clone()), self.clock.now());
        let created = self.ensure(Record { maker: Some(caller.stored()), ..record }).await?;
        if created || self.may_be_tried_again(&key).await? {
            self.attend_to(&key).await?;
        }
        let kept = self.kept(&key).await?;
        let outcome = if created { "created" } else { "existing" };
        Ok(NamedSubscription { subscription: self.show(&kept.record), outcome: outcome.to_owned() })
    }

    /// Whether a record's last step failed and nobody is at it now; then it need not wait any longer.
    async fn may_be_tried_again(&self, key: &str) -> Result<bool, Error> {
        let mut kept = self.kept(key).await?;
        let claim = &mut kept.record.claim;
        if claim.failures() == 0 || self.reconciler.leases.is_held(claim) {
            return Ok(false);
        }
        claim.release();
        Ok(self.store().replace(&kept, &[]).await?.is_some())
    }

    /// Ends a subscription that a caller made.
    ///
    /// # Errors
    /// When there is none of that id, or the settings declare it.
    pub async fn delete(&self, caller: &Caller, key: &str) -> Result<NamedSubscription, Error> {
        everywhere(caller)?;
        let mut kept = self.kept(key).await?;
        caller.touch("subscription", key);
        if kept.record.origin == Origin::Settings {
            let error = Error::invalid(format!("`{key}` is declared by the settings"));
            return Err(error.hint("take it out of `SUBSCRIPTIONS`"));
        }
        if !self.give_up(&mut kept).await? {
            return Err(changed_by_others());
        }
        let subscription = self.show(&kept.record);
        self.attend_to(key).await?;
        Ok(NamedSubscription { subscription, outcome: "deleted".to_owned() })
    }

    async fn kept(&self, key: &str) -> Result<Versioned<Record>, Error> {
        self.store().get(key).await?.ok_or_else(|| {
            Error::new(ErrorCode::NotFound, format!("there is no subscription `{key}`"))
                .hint("`list_subscriptions` shows their ids")
        })
    }

    fn show(&self, record: &Record) -> ShownSubscription {
        let now = self.clock.now();
        let state = match (record.wanted, record.is_active(now), record.claim.failures()) {
            (_, false, _) if self.reconciler.is_read_only() => "read_only",
            (Wanted::No, ..) => "ending",
            (_, true, 0) => "active",
            (_, _, 0) => "pending",
            _ => "failing",
        };
        let with = if record.target.content == Content::Included { " (with content)" } else { "" };
        ShownSubscription {
            id: record.target.key(),
            kind: record.target.kind,
            name: format!("{}{with}", record.label),
            state: state.to_owned(),
            expires_at: record.live.as_ref().map(|live| print_time(live.expires_at)),
            declared_by: match &record.origin {
                Origin::Settings => "settings".to_owned(),
                Origin::Caller(name) => name.clone(),
            },
            error: record.claim.reason.clone(),
        }
    }
}

/// Mailboxes, chats and drives belong to no plan: only a caller without limits may watch them.
fn everywhere(caller: &Caller) -> Result<(), Error> {
    if caller.plan_scope.is_everywhere() {
        return Ok(());
    }
    let error = Error::new(ErrorCode::PermissionMissing, "subscriptions are for callers who may see every plan");
    Err(error.hint("use a key or role without limits on plans"))
}
