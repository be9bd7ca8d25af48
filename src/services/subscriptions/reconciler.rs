//! The reconciler: makes what Graph has agree with what is wanted, and makes up for what was missed.
//!
//! It takes no input and may run on any number of instances at once. A record is claimed in its row before anything is
//! done about it, as every [`workflow`](crate::services::workflow) is; an instance that dies in between leaves a lease that
//! ends by itself, and perhaps a subscription that is adopted. It has no [`Steps`](crate::services::workflow::Steps):
//! what to do is decided from what Graph has at the time, which settles every attempt, and a subscription never is done.
//! Of an attempt only what Graph does not tell is noted: the hash of its secret, which has to outlive it, and whether
//! it may have worked. After every gap what is watched is resynced, beginning after notifications came in again.
//! Long because every action shares the claim.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::decide::{Action, Actual, decide, same_resource};
use super::record::{Cause, Gap, Live, Record, SubscriptionStore, Wanted};
use super::remote::{Found, Receiver, Refusal, Remote};
use super::target::{Content, Target};
use crate::clock::Clock;
use crate::graph::subscriptions::NewSubscription;
use crate::ids::Entropy;
use crate::rows::StoreError;
use crate::services::workflow::{Backoff, Claim, Leases, Versioned};
use crate::services::{Changed, Error};

/// How long an instance may keep a record to itself while it acts on it.
const LEASE: TimeDelta = TimeDelta::seconds(90);
/// When what Graph refuses is tried again: well within any life of a subscription.
const BACKOFF: Backoff = Backoff::new(TimeDelta::minutes(1), TimeDelta::minutes(30));
/// How long Graph repeats a notification nobody takes (Learn: change notifications, delivery).
const REPEATED: TimeDelta = TimeDelta::hours(4);
/// Gaps are remembered this long after they were made up for.
const GAPS_KEPT: TimeDelta = TimeDelta::days(90);
/// A subscription ends this much earlier than the longest life: our clock and Graph's differ.
const MARGIN: TimeDelta = TimeDelta::minutes(2);

/// Refreshes what a target is about, because notifications may be missing.
#[async_trait]
pub trait Resync: Send + Sync + 'static {
    /// Does it.
    async fn resync(&self, target: &Target) -> Result<(), Error>;
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Records checked.
    pub records: usize,
    /// Subscriptions made, made again included.
    pub created: usize,
    /// Subscriptions found that a record did not know.
    pub adopted: usize,
    /// Subscriptions renewed.
    pub renewed: usize,
    /// Subscriptions deleted.
    pub deleted: usize,
    /// Resyncs that made up for something missed.
    pub resynced: usize,
    /// Steps that failed; they are tried again.
    pub failed: usize,
}

/// The reconciler.
pub struct SubscriptionReconciler {
    /// What is remembered.
    pub store: SubscriptionStore,
    remote: Arc<dyn Remote>,
    resync: Arc<dyn Resync>,
    pub(super) leases: Leases,
    clock: Clock,
    entropy: Entropy,
}

impl SubscriptionReconciler {
    /// A reconciler over a store.
    pub fn new(
        store: SubscriptionStore,
        remote: Arc<dyn Remote>,
        resync: Arc<dyn Resync>,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let leases = Leases::new(&store.rows, clock.clone(), entropy.clone(), LEASE);
        Self { store, remote, resync, leases, clock, entropy }
    }

    /// Whether Graph may not be changed, so that subscriptions are neither made nor renewed nor deleted.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.remote.is_read_only()
    }

    /// One run over everything.
    ///
    /// # Errors
    /// When the store fails; what Graph refuses is noted in the record and tried again.
    pub async fn run(&self, receiver: &Receiver) -> Result<Status, Error> {
        let began_at = self.clock.now();
        let checked_at = self.store.checked_at().await?;
        let kept = self.store.all().await?;
        let mut status = Status { records: kept.len(), ..Status::default() };
        if kept.is_empty() {
            self.store.look(began_at).await?;
            return Ok(status);
        }
        let listed = self.remote.list().await;
        let actual = match &listed {
            Ok(found) => Actual::Listed(found),
            Err(error) => {
                tracing::warn!(%error, "subscriptions cannot be listed; only times are checked");
                Actual::Unknown
            }
        };
        for kept in &kept {
            self.attend(kept.clone(), actual, receiver, checked_at, &mut status).await?;
        }
        if let Ok(found) = &listed {
            self.delete_strays(found, &kept, receiver, &mut status).await;
        }
        // Not before everything else is done: a run that broke off counts as none.
        self.store.look(began_at).await?;
        self.store.forget_gaps(began_at - GAPS_KEPT, &self.entropy).await?;
        Ok(status)
    }

    /// Acts on one record: for the worker, when Graph says something about its subscription.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn attend_to(&self, key: &str, receiver: &Receiver) -> Result<Status, Error> {
        let mut status = Status::default();
        if let Some(kept) = self.store.get(key).await? {
            status.records = 1;
            self.attend(kept, Actual::Unknown, receiver, None, &mut status).await?;
        }
        Ok(status)
    }

    async fn attend(
        &self,
        mut kept: Versioned<Record>,
        actual: Actual<'_>,
        receiver: &Receiver,
        checked_at: Option<DateTime<Utc>>,
        status: &mut Status,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        if let Some(renewed) = self.note_outage(&kept, checked_at, now).await? {
            kept = renewed;
        }
        let action = decide(&kept.record, actual, &receiver.url, now);
        if action != Action::Keep && self.leases.is_due(&kept.record.claim) {
            let Some(claimed) = self.claim(kept, &action, checked_at, now).await? else { return Ok(()) };
            let failed = status.failed;
            let Some(done) = self.act(claimed, action, receiver, status).await? else { return Ok(()) };
            kept = done;
            if status.failed > failed {
                return Ok(());
            }
        }
        self.make_up(kept, status).await
    }

    /// When nobody looked for longer than Graph repeats, notifications may be lost though the subscription lives.
    async fn note_outage(
        &self,
        kept: &Versioned<Record>,
        checked_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Versioned<Record>>, Error> {
        let Some(checked_at) = checked_at.filter(|at| now - *at > REPEATED) else { return Ok(None) };
        let record = &kept.record;
        let noted = record.gap.is_some() || record.resynced_at.is_some_and(|at| at > checked_at + REPEATED);
        if noted || record.wanted == Wanted::No || !record.is_active(now) {
            return Ok(None);
        }
        let mut kept = kept.clone();
        kept.record.open_gap(Cause::Outage, checked_at, now, &self.entropy);
        kept.record.end_gap(now);
        let gaps = kept.record.gap.clone();
        self.write(kept, gaps).await
    }

    /// Takes the record for this instance, and notes before anything is done what a crash must not hide: the gap, and the
    /// secret of the attempt.
    async fn claim(
        &self,
        mut kept: Versioned<Record>,
        action: &Action,
        checked_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Versioned<Record>>, Error> {
        let record = &mut kept.record;
        self.leases.take(&mut record.claim);
        if let Action::Recreate(cause) = action
            && let Some(live) = &record.live
        {
            // All was well at the last check, but not after the end.
            let began_at = checked_at.unwrap_or(live.granted_at).max(live.granted_at).min(live.expires_at).min(now);
            record.open_gap(*cause, began_at, now, &self.entropy);
        }
        // A former attempt may have worked, and what it made may have been lost since.
        if matches!(action, Action::Create | Action::Replace(_)) && !record.secrets.is_empty() {
            record.open_gap(Cause::Gone, record.created_at, now, &self.entropy);
        }
        let gaps = record.gap.clone();
        self.write(kept, gaps).await
    }

    /// `None` when another instance was faster.
    async fn write(
        &self,
        kept: Versioned<Record>,
        gap: Option<(String, Gap)>,
    ) -> Result<Option<Versioned<Record>>, Error> {
        Ok(self.store.replace(&kept, gap.as_slice()).await?)
    }

    async fn act(
        &self,
        kept: Versioned<Record>,
        action: Action,
        receiver: &Receiver,
        status: &mut Status,
    ) -> Result<Option<Versioned<Record>>, Error> {
        match action {
            Action::Keep => Ok(Some(kept)),
            Action::Adopt(found) => {
                status.adopted += 1;
                self.settle(kept, Ok(found), receiver, status).await
            }
            Action::Replace(found) => match self.remote.delete(&found.id).await {
                Ok(()) => self.create(kept, receiver, status).await,
                Err(error) => self.fail(kept, &error, status).await,
            },
            Action::Create => self.create(kept, receiver, status).await,
            Action::Recreate(cause) => {
                if cause == Cause::Moved
                    && let Some(live) = &kept.record.live
                    && let Err(error) = self.remote.delete(&live.id).await
                {
                    return self.fail(kept, &error, status).await;
                }
                self.create(kept, receiver, status).await
            }
            Action::Renew => self.renew(kept, receiver, status).await,
            Action::Delete => self.delete(kept, status).await,
        }
    }

    async fn create(
        &self,
        mut kept: Versioned<Record>,
        receiver: &Receiver,
        status: &mut Status,
    ) -> Result<Option<Versioned<Record>>, Error> {
        kept.record.live = None;
        let was_in_doubt = std::mem::replace(&mut kept.record.in_doubt, true);
        let secret = kept.record.make_secret(&self.entropy);
        let Some(mut kept) = self.write(kept, None).await? else { return Ok(None) };
        let target = &kept.record.target;
        let carries = target.content == Content::Included;
        let (id, certificate) = receiver.certificate.clone().filter(|_| carries).unzip();
        if carries && certificate.is_none() {
            let error = Error::invalid("notifications with content need `NOTIFICATION_CERTIFICATE_PATH`");
            kept.record.in_doubt = was_in_doubt;
            return self.fail(kept, &error, status).await;
        }
        let new = NewSubscription {
            resource: target.resource(),
            change_type: target.kind.facts().changes.to_owned(),
            notification_url: receiver.url.clone(),
            lifecycle_notification_url: receiver.lifecycle_url.clone(),
            expires_at: self.clock.now() + lifetime(target),
            client_state: secret,
            include_resource_data: carries.then_some(true),
            encryption_certificate: certificate,
            encryption_certificate_id: id,
        };
        let mut created = self.remote.create(&new).await;
        if matches!(created, Err(Refusal::Exists)) {
            created = self.take_place(was_in_doubt, &new).await;
        }
        let made_none = created.as_ref().is_err_and(|refusal| !refusal.may_have_worked());
        kept.record.in_doubt = created.is_err() && (was_in_doubt || !made_none);
        if made_none {
            kept.record.secrets.pop(); // it opens nothing
        }
        status.created += usize::from(created.is_ok());
        self.settle(kept, created, receiver, status).await
    }

    /// There is one on the same resource. One of ours from an attempt whose answer was lost opens with a secret we
    /// know and is adopted; one that goes to us and opens with none is replaced; any other is somebody else's.
    async fn take_place(&self, was_in_doubt: bool, new: &NewSubscription) -> Result<Found, Refusal> {
        // What fails before another is made has made none.
        let none_made = |error| Refusal::Other(Error { changed: Changed::Nothing, ..error });
        let all = self.remote.list().await.map_err(none_made)?;
        let Some(found) = all.into_iter().find(|found| same_resource(&found.resource, &new.resource)) else {
            return self.remote.create(new).await;
        };
        if found.url != new.notification_url {
            let message = format!("`{}` is watched by another deployment of the same application", new.resource);
            return Err(Refusal::Other(Error::new(crate::error::ErrorCode::Conflict, message)));
        }
        if was_in_doubt && found.expires_at > self.clock.now() {
            return Ok(found);
        }
        self.remote.delete(&found.id).await.map_err(none_made)?;
        self.remote.create(new).await
    }

    /// Notes how making or adopting one ended.
    async fn settle(
        &self,
        mut kept: Versioned<Record>,
        made: Result<Found, Refusal>,
        receiver: &Receiver,
        status: &mut Status,
    ) -> Result<Option<Versioned<Record>>, Error> {
        let found = match made {
            Ok(found) => found,
            Err(refusal) => return self.fail(kept, &refusal.into(), status).await,
        };
        let now = self.clock.now();
        let record = &mut kept.record;
        let Found { id, expires_at, .. } = found;
        record.live = Some(Live { id, url: receiver.url.clone(), granted_at: now, expires_at });
        record.in_doubt = false;
        record.end_gap(now);
        record.claim = Claim::default();
        let gaps = record.gap.clone();
        self.write(kept, gaps).await
    }

    async fn renew(
        &self,
        mut kept: Versioned<Record>,
        receiver: &Receiver,
        status: &mut Status,
    ) -> Result<Option<Versioned<Record>>, Error> {
        let Some(live) = kept.record.live.clone() else { return Ok(Some(kept)) };
        match self.remote.renew(&live.id, self.clock.now() + lifetime(&kept.record.target)).await {
            Ok(expires_at) => {
                status.renewed += 1;
                let granted_at = self.clock.now();
                kept.record.live = Some(Live { granted_at, expires_at, ..live });
                kept.record.reauthorize = false;
                kept.record.claim = Claim::default();
                self.write(kept, None).await
            }
            Err(Refusal::Gone) => {
                let now = self.clock.now();
                kept.record.open_gap(Cause::Gone, live.granted_at.min(now), now, &self.entropy);
                let gaps = kept.record.gap.clone();
                let Some(kept) = self.write(kept, gaps).await? else { return Ok(None) };
                self.create(kept, receiver, status).await
            }
            Err(refusal) => self.fail(kept, &refusal.into(), status).await,
        }
    }

    async fn delete(&self, kept: Versioned<Record>, status: &mut Status) -> Result<Option<Versioned<Record>>, Error> {
        if let Some(live) = &kept.record.live
            && let Err(error) = self.remote.delete(&live.id).await
        {
            return self.fail(kept, &error, status).await;
        }
        status.deleted += 1;
        match self.store.remove(&kept).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn fail(
        &self,
        mut kept: Versioned<Record>,
        error: &Error,
        status: &mut Status,
    ) -> Result<Option<Versioned<Record>>, Error> {
        status.failed += 1;
        let Record { claim, target, .. } = &mut kept.record;
        claim.put_off(self.clock.now(), BACKOFF.at_least(error.retry_after), &error.message);
        tracing::warn!(subscription = %target.key(), failures = claim.failures(), %error, "a subscription step failed");
        self.write(kept, None).await
    }

    /// Resyncs what a record is about whose notifications may be incomplete. It begins after they came in again.
    async fn make_up(&self, mut kept: Versioned<Record>, status: &mut Status) -> Result<(), Error> {
        let Some(since) = kept.record.resync_since else { return Ok(()) };
        let began_at = self.clock.now().max(since);
        if let Err(error) = self.resync.resync(&kept.record.target).await {
            status.failed += 1;
            tracing::warn!(subscription = %kept.record.target.key(), %error, "what was missed cannot be looked up yet");
            return Ok(());
        }
        kept.record.resync_since = None;
        kept.record.resynced_at = Some(began_at);
        let gap = kept.record.gap.take().map(|(key, gap)| (key, Gap { resynced_at: Some(began_at), ..gap }));
        status.resynced += 1;
        self.write(kept, gap).await.map(drop)
    }

    /// Deletes what goes to us and stands in no record.
    async fn delete_strays(
        &self,
        found: &[Found],
        kept: &[Versioned<Record>],
        receiver: &Receiver,
        status: &mut Status,
    ) {
        let known = |found: &Found| {
            kept.iter().any(|kept| {
                kept.record.live.as_ref().is_some_and(|live| live.id == found.id)
                    || same_resource(&kept.record.target.resource(), &found.resource)
            })
        };
        for stray in found.iter().filter(|found| found.url == receiver.url && !known(found)) {
            match self.remote.delete(&stray.id).await {
                Ok(()) => status.deleted += 1,
                Err(error) => {
                    status.failed += 1;
                    tracing::warn!(%error, "a subscription nobody declared cannot be deleted");
                }
            }
        }
    }
}

fn lifetime(target: &Target) -> TimeDelta {
    TimeDelta::from_std(target.lifetime()).unwrap_or_default() - MARGIN
}
