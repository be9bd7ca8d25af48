//! The tail: one poll a second for all listeners of this process, of all plans together.
//!
//! Listeners wait in memory; only the tail asks the store. It runs while anybody listens.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::notices::Recent;
use super::{Events, PARALLEL};
use crate::rows::{RowVersion, StoreError};
use crate::sync::Committed;

/// How soon what another instance committed is found.
const TAIL: Duration = Duration::from_secs(1);
/// Every so many polls one plan itself is read: an instance may have ended before it could say what it did.
const CHECK: usize = 10;
/// Transactions of this instance that happen within this time are announced together.
const TOGETHER: Duration = Duration::from_millis(200);
/// Pause after a row could not be written.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Held by everybody who listens.
pub(super) struct Listening(());

/// What the tail remembers between two polls.
#[derive(Default)]
struct Seen {
    rows: HashMap<String, RowVersion>,
    polls: usize,
    /// The last poll failed: what was announced meanwhile may be swept by now.
    blind: bool,
}

impl Events {
    /// Joins those who listen; the first one starts the tail.
    pub(super) fn join(self: &Arc<Self>) -> Arc<Listening> {
        let mut listening = self.listening.lock();
        if let Some(known) = listening.upgrade() {
            return known;
        }
        let new = Arc::new(Listening(()));
        *listening = Arc::downgrade(&new);
        tokio::spawn(follow(Arc::downgrade(self), Arc::downgrade(&new), self.clock.clone()));
        new
    }

    async fn poll(&self, seen: &mut Seen) -> Result<(), StoreError> {
        let catalog = self.planner.catalog();
        let mut followed = catalog.handles();
        followed.retain(|handle| handle.is_listened_to());
        let Some(notices) = self.notices.as_ref().filter(|_| !seen.blind) else {
            return stream::iter(followed)
                .map(|handle| async move { handle.poll().await })
                .buffer_unordered(PARALLEL)
                .try_collect()
                .await;
        };
        for committed in notices.read(&mut seen.rows).await? {
            if let Some(handle) = catalog.known_handle(&committed.plan) {
                handle.heard(committed.number).await?;
            }
        }
        if seen.polls.is_multiple_of(CHECK) && !followed.is_empty() {
            let place = seen.polls / CHECK % followed.len();
            followed.sort_by(|one, other| one.id.cmp(&other.id));
            if let Some(handle) = followed.get(place) {
                handle.poll().await?;
            }
        }
        Ok(())
    }

    /// Announces to other instances which plans this one changes, where the store is far away; until it is stopped.
    pub async fn tell_others(self: Arc<Self>, stop: CancellationToken) {
        let Some(notices) = &self.notices else { return };
        let (mut commits, mut recent) = (self.commits(), Recent::default());
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => return,
                first = commits.recv() => first,
            };
            let mut missed = first.is_err();
            for committed in first.into_iter().chain(std::iter::from_fn(|| match commits.try_recv() {
                Ok(committed) => Some(committed),
                Err(error) => {
                    missed |= matches!(error, tokio::sync::broadcast::error::TryRecvError::Lagged(_));
                    None
                }
            })) {
                recent.note(committed, self.clock.now());
            }
            if missed {
                for handle in self.planner.catalog().handles() {
                    let number = handle.sequence();
                    recent.note(Committed { plan: handle.id.clone(), number }, self.clock.now());
                }
            }
            while let Err(error) = notices.write(&recent).await {
                tracing::debug!(%error, "changes cannot be announced to other instances yet");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.clock.sleep(AFTER_FAILURE) => {}
                }
            }
            self.clock.sleep(TOGETHER).await;
        }
    }
}

/// Polls once a second for as long as anybody listens.
async fn follow(events: Weak<Events>, listening: Weak<Listening>, clock: crate::clock::Clock) {
    let mut seen = Seen::default();
    loop {
        clock.sleep(TAIL).await;
        if listening.strong_count() == 0 {
            return;
        }
        let Some(events) = events.upgrade() else { return };
        seen.polls += 1;
        let polled = events.poll(&mut seen).await;
        if let Err(error) = &polled
            && !seen.blind
        {
            tracing::warn!(%error, "listeners are notified of other instances' changes later: the store cannot be read");
        }
        seen.blind = polled.is_err();
    }
}
