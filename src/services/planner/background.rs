//! Requests to Microsoft Graph that continue when callers stop waiting for them.
//!
//! Reads are answered from the replica. While Graph does not answer, or answers slowly, a caller waits a moment for news
//! and then gets what is known; the request continues, and a later caller gets its answer.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use crate::clock::Clock;

/// How long a caller waits for news where something is known already.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// An answer to come; `None` if its task panicked.
type Coming<T> = Shared<BoxFuture<'static, Option<T>>>;

/// A question under way, and when it was asked.
type UnderWay<T> = (Coming<T>, DateTime<Utc>);

/// Questions under way, one at a time for each key.
pub(super) struct Background<K, T> {
    clock: Clock,
    under_way: Mutex<HashMap<K, UnderWay<T>>>,
}

impl<K: Eq + Hash, T: Clone + Send + Sync + 'static> Background<K, T> {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, under_way: Mutex::default() }
    }

    /// Waits for the answer to a question, until the question is `patience` old: `None` says that it is still under way.
    /// A caller that asks what is being asked already shares the answer.
    pub(super) async fn ask<F>(&self, key: K, patience: Duration, question: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let now = self.clock.steady();
        let (coming, asked_at) = {
            let mut under_way = self.under_way.lock();
            under_way.retain(|_, (coming, _)| coming.peek().is_none());
            let ask = || (tokio::spawn(question()).map(Result::ok).boxed().shared(), now);
            under_way.entry(key).or_insert_with(ask).clone()
        };
        let age = (now - asked_at).to_std().unwrap_or_default();
        match patience.saturating_sub(age) {
            Duration::ZERO => coming.now_or_never().flatten(),
            left => self.clock.timeout(left, coming).await.flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn background_query_continues_without_its_caller_and_runs_once() {
        let time = ManualClock::at(DateTime::UNIX_EPOCH);
        let background = Background::new(Clock::from_source(time.clone()));
        let (answered, asked) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let question = || {
            let (answered, asked) = (answered.clone(), asked.clone());
            async move {
                asked.fetch_add(1, Ordering::Relaxed);
                answered.notified().await;
                7
            }
        };
        let mut first = Box::pin(background.ask("plan", PATIENCE, question));
        assert!(futures::poll!(&mut first).is_pending());
        time.advance(PATIENCE);
        assert_eq!(first.await, None);
        assert_eq!(background.ask("plan", PATIENCE, question).await, None, "nobody waits for it once more");
        answered.notify_one();
        let late = background.ask("plan", Duration::from_mins(1), question).await;
        assert_eq!((late, asked.load(Ordering::Relaxed)), (Some(7), 1));
    }
}
