//! Working on what was received: a notification is a hint, not data.
//!
//! The worker reads the current state from Microsoft 365, once for many notifications about one subject. It writes down
//! what was done afterwards: a crash repeats a refresh and never leaves one out.

use std::borrow::Cow;
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::Serialize;

use super::Notifications;
use super::body::Notification;
use super::journal::{Entry, Outcome};
use super::receiver::Batch;
use super::sample::SAMPLE;
use crate::ids::{GroupId, UserId};
use crate::services::Error;
use crate::services::subscriptions::{Cause, Kind, Record};
use crate::services::workflow::Versioned;

/// What working on a message came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Worked {
    /// Notifications that led to a refresh.
    pub done: usize,
    /// Notifications that were covered by another one.
    pub merged: usize,
    /// Notifications dealt with before.
    pub repeated: usize,
    /// Notifications that are not from Graph.
    pub refused: usize,
}

/// What a notification is about; it is refreshed once for all notifications about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Group(GroupId),
    Person(UserId),
    /// Something of a subscription, by Graph's id of it: only written down.
    Resource(String, String),
    Lifecycle(String, String),
}

impl Subject {
    /// Whether one refresh serves all notifications: so it is for a person or a group, whose current state is read.
    const fn has_state(&self) -> bool {
        matches!(self, Self::Group(_) | Self::Person(_))
    }
}

/// What this process has refreshed lately, and when each refresh began.
#[derive(Default)]
pub(super) struct Refreshes(Mutex<BTreeMap<Subject, DateTime<Utc>>>);

impl Refreshes {
    /// Refreshes remembered at most.
    const CAPACITY: usize = 10_000;

    fn since(&self, subject: &Subject, time: DateTime<Utc>) -> bool {
        let refreshes = self.0.lock();
        refreshes.get(subject).is_some_and(|began_at| *began_at >= time)
    }

    fn note(&self, subject: &Subject, began_at: DateTime<Utc>) {
        let mut refreshes = self.0.lock();
        if refreshes.len() >= Self::CAPACITY {
            refreshes.clear();
        }
        if subject.has_state() {
            refreshes.insert(subject.clone(), began_at);
        }
    }
}

/// One batch of a subscription at a time: copies of a notification that are worked on together would not see each other.
#[derive(Default)]
pub(super) struct KeyedLocks(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl KeyedLocks {
    async fn take(&self, subscriptions: impl Iterator<Item = &str>) -> Vec<tokio::sync::OwnedMutexGuard<()>> {
        let locks: Vec<_> = {
            let mut known = self.0.lock();
            known.retain(|_, lock| Arc::strong_count(lock) > 1);
            let wanted: BTreeSet<&str> = subscriptions.collect();
            wanted.into_iter().map(|id| known.entry(id.to_owned()).or_default().clone()).collect()
        };
        let mut guards = Vec::with_capacity(locks.len());
        for lock in locks {
            guards.push(lock.lock_owned().await); // in the order of their names, so that two batches never wait for each other
        }
        guards
    }
}

impl Notifications {
    /// Works on a message of the queue, as the queue handed it out.
    ///
    /// # Errors
    /// When the store or Graph fails: then the message has to come again.
    pub async fn work(&self, text: &str) -> Result<Worked, Error> {
        let Some(whole) = self.mailbox.open(text).await? else { return Ok(Worked::default()) };
        let batch: Batch = match serde_json::from_str(&whole) {
            Ok(batch) => batch,
            // It may be of a newer version, which reads it when it is tried again; nothing is dropped.
            Err(error) => return Err(Error::invalid(format!("a message of the queue cannot be read: {error}"))),
        };
        let worked = {
            let _guards = self.locks.take(batch.notifications.iter().map(|one| one.subscription_id.as_str())).await;
            self.work_on(batch).await?
        };
        self.mailbox.discard(text).await?;
        Ok(worked)
    }

    async fn work_on(&self, batch: Batch) -> Result<Worked, Error> {
        let mut worked = Worked::default();
        let (mut identities, mut entries) = (Vec::new(), Vec::new());
        let mut subjects: BTreeMap<Subject, (Versioned<Record>, Notification)> = BTreeMap::new();
        let records = self.subscriptions.store().all().await?;
        let proven = self.proven(&batch).await?;
        for notification in batch.notifications {
            let entry = |subscription: String, outcome, note: &str| Entry {
                received_at: batch.received_at,
                done_at: self.clock.now(),
                subscription,
                change: change(&notification).to_owned(),
                outcome,
                note: note.to_owned(),
            };
            if self.samples.knows(&notification) {
                worked.done += 1;
                identities.extend(notification.identity());
                entries.push(entry(SAMPLE.to_owned(), Outcome::Done, "a sample of ours"));
                continue;
            }
            let Some(found) = find(&records, &notification) else {
                worked.refused += 1;
                entries.push(entry(String::new(), Outcome::Refused, "no subscription opens with its secret"));
                continue;
            };
            let key = found.record.target.key();
            if let (Some(_), Err(why)) = (&notification.encrypted_content, &proven) {
                worked.refused += 1;
                entries.push(entry(key, Outcome::Refused, why));
                continue;
            }
            if let Some(identity) = notification.identity() {
                if identities.contains(&identity) || self.journal.seen(&identity, self.clock.now()).await? {
                    worked.repeated += 1;
                    entries.push(entry(key, Outcome::Repeated, ""));
                    continue;
                }
                identities.push(identity);
            }
            let subject = subject(&found.record, &notification);
            // A refresh that began after this was received has shown the change.
            let shown = self.refreshes.since(&subject, batch.received_at);
            match subjects.entry(subject) {
                _ if shown => {
                    worked.merged += 1;
                    entries.push(entry(key, Outcome::Merged, ""));
                }
                Place::Occupied(_) => {
                    worked.merged += 1;
                    entries.push(entry(key, Outcome::Merged, ""));
                }
                Place::Vacant(place) => {
                    place.insert((found.clone(), notification));
                }
            }
        }
        for (subject, (found, notification)) in subjects {
            let began_at = self.clock.now();
            let note = self.act(&subject, &found, &notification).await?;
            self.refreshes.note(&subject, began_at);
            let record = &found.record;
            worked.done += 1;
            entries.push(Entry {
                received_at: batch.received_at,
                done_at: self.clock.now(),
                subscription: record.target.key(),
                change: change(&notification).to_owned(),
                outcome: Outcome::Done,
                note,
            });
        }
        self.journal.note(&identities, &entries, self.clock.now()).await?;
        Ok(worked)
    }

    /// Whether a batch with encrypted content comes from Graph: every validation token must be genuine, and there must be one.
    async fn proven(&self, batch: &Batch) -> Result<Result<(), Cow<'static, str>>, Error> {
        if batch.notifications.iter().all(|notification| notification.encrypted_content.is_none()) {
            return Ok(Ok(()));
        }
        if batch.tokens.is_empty() {
            return Ok(Err("it carries content and no validation token".into()));
        }
        let Some(checks) = &self.validation_tokens else { return Ok(Err("no validation token can be checked".into())) };
        for token in &batch.tokens {
            if let Err(why) = checks.check(token).await? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }

    async fn act(
        &self,
        subject: &Subject,
        found: &Versioned<Record>,
        notification: &Notification,
    ) -> Result<String, Error> {
        let note = match subject {
            Subject::Group(group) => {
                self.directory.forget_group(group).await?;
                let refreshed = self.planner.refresh_group(group).await?;
                format!("{} plans refreshed", refreshed.plans)
            }
            Subject::Person(user) => {
                self.directory.forget_user(user).await?;
                "names forgotten".to_owned()
            }
            Subject::Resource(..) => match (&notification.encrypted_content, &self.decryptor) {
                (Some(sealed), Some(decryptor)) => match decryptor.open(sealed) {
                    Ok(_) => "content opened".to_owned(),
                    Err(why) => format!("content not opened: {why}"),
                },
                (Some(_), None) => "content not opened: there is no certificate".to_owned(),
                (None, _) => "noted".to_owned(),
            },
            Subject::Lifecycle(_, event) => self.lifecycle(found, event).await?,
        };
        Ok(note)
    }

    /// What Graph says about a subscription itself.
    async fn lifecycle(&self, found: &Versioned<Record>, event: &str) -> Result<String, Error> {
        let key = found.record.target.key();
        let now = self.clock.now();
        let noted = match event {
            "reauthorizationRequired" => self.subscriptions.note(&key, |record| record.reauthorize = true).await?,
            "subscriptionRemoved" => {
                let began_at = found.record.live.as_ref().map_or(now, |live| live.granted_at);
                self.subscriptions.note_gap(&key, Cause::Removed, began_at).await?
            }
            "missed" => {
                let began_at = found.record.live.as_ref().map_or(now, |live| live.granted_at);
                self.subscriptions.note_gap(&key, Cause::Missed, began_at).await?
            }
            other => {
                tracing::warn!(event = other, "an unknown lifecycle event");
                return Ok("unknown to this version".to_owned());
            }
        };
        if !noted {
            return Ok("the subscription is gone".to_owned());
        }
        let status = self.subscriptions.attend_to(&key).await?;
        let done = [(status.renewed, "renewed"), (status.created, "made again"), (status.resynced, "resynced")];
        let done: Vec<&str> = done.iter().filter(|(count, _)| *count > 0).map(|(_, word)| *word).collect();
        Ok(if done.is_empty() { "tried again later".to_owned() } else { done.join(", ") })
    }
}

/// The record a notification belongs to: named by it, or still being made, and in either case opened by its secret.
fn find<'a>(records: &'a [Versioned<Record>], notification: &Notification) -> Option<&'a Versioned<Record>> {
    let named = |kept: &&Versioned<Record>| {
        kept.record.live.as_ref().is_some_and(|live| live.id == notification.subscription_id)
    };
    let found = records.iter().find(named);
    // Former versions queued the secret itself.
    let state = &notification.client_state;
    let proven = |kept: &&Versioned<Record>| kept.record.has(state) || kept.record.opens(state);
    let found = found.or_else(|| records.iter().filter(proven).find(|kept| kept.record.live.is_none()));
    found.filter(proven)
}

/// What a notification is about, by our own record; the id within is parsed before it is used.
fn subject(record: &Record, notification: &Notification) -> Subject {
    let subscription = notification.subscription_id.clone();
    if let Some(event) = &notification.lifecycle_event {
        return Subject::Lifecycle(subscription, event.clone());
    }
    let id = notification.resource_data.as_ref().and_then(|data| data.id.as_deref()).unwrap_or_default();
    let resource = || Subject::Resource(subscription.clone(), id.to_owned());
    match record.target.kind {
        Kind::Group | Kind::Groups => {
            let group = record.target.group().or_else(|| GroupId::parse(id).ok());
            group.map_or_else(resource, Subject::Group)
        }
        Kind::User | Kind::Users => {
            let user = record.target.user().or_else(|| UserId::parse(id).ok());
            user.map_or_else(resource, Subject::Person)
        }
        _ => resource(),
    }
}

/// The change in a word of ours.
fn change(notification: &Notification) -> &'static str {
    const WORDS: &[&str] =
        &["created", "updated", "deleted", "reauthorizationRequired", "subscriptionRemoved", "missed"];
    let word = notification.lifecycle_event.as_deref().or(notification.change_type.as_deref()).unwrap_or_default();
    WORDS.iter().find(|known| **known == word).copied().unwrap_or("other")
}
