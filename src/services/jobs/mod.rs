//! Work that nobody asks for: timers and queues, in one table.
//!
//! The Functions host calls a job through its envelope (`triggers`), the standalone scheduler by its own clock
//! (`runtime`), a test directly: always the same function, which learns only *that* it is time, never what has changed. Every
//! entry has a folder of its name in `functions/`; a contract test compares the two. Long because the table and its
//! tests are together.

mod hold;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tracing::field::Empty;
use tracing::{Instrument, Span};

pub use hold::HOLD;

use super::planner::Queues;
use super::poison::Poison;
use super::{Error, Services};
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::host::HostMode;
use crate::queue::Queue;
use crate::telemetry::traces;

/// The longest a job may take. The host's `functionTimeout` is longer: when that passes, the host kills the process and
/// with it everybody else's work.
pub const DEADLINE: Duration = Duration::from_mins(8);

/// What a job reports: a small JSON object, for the log and for people.
pub type Report = Result<Value, Error>;

/// A job that is due every so often.
pub struct Timer {
    /// Its name: the function's, and the one in logs.
    pub name: &'static str,
    /// How often it is due.
    pub every: Duration,
    /// How often it is due where our own scheduler runs it; `None` never.
    pub standalone: Option<Duration>,
    /// Runs that our own scheduler has under way at a time.
    pub together: usize,
    work: Box<dyn Fn() -> BoxFuture<'static, Report> + Send + Sync>,
}

impl Timer {
    /// A timer over an async function that reports something serialisable.
    pub fn new<W, F, S>(name: &'static str, every: Duration, work: W) -> Self
    where
        W: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Serialize,
    {
        let work = move || {
            let done = work();
            async move { report(done.await?) }.boxed()
        };
        Self { name, every, standalone: Some(every), together: 1, work: Box::new(work) }
    }

    /// Another pace where our own scheduler runs it.
    #[must_use]
    pub fn standalone(mut self, every: Option<Duration>) -> Self {
        self.standalone = every;
        self
    }

    /// Has our own scheduler begin runs while earlier ones, up to so many in all, have not ended.
    #[must_use]
    pub fn together(mut self, together: usize) -> Self {
        self.together = together;
        self
    }

    /// Does the work now. A panic and an endless wait are failures like any other.
    pub async fn run(&self, clock: &Clock) -> Report {
        let span = tracing::info_span!(
            "timer",
            otel.name = format!("timer {}", self.name),
            otel.kind = "internal",
            otel.status_code = Empty,
            error.r#type = Empty,
            graphgate.timer = self.name,
        );
        guarded(span, self.name, clock, (self.work)()).await
    }
}

/// A message taken from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its text: JSON that one of us wrote.
    pub text: String,
    /// How often it has been taken, this time included.
    pub attempt: u32,
}

/// The names of all consumers.
pub const CONSUMERS: [&str; 3] = ["on_outbox", "on_reconcile", "on_notification"];

/// A job for every message of a queue. A failure puts the message back; after five it goes to the poison queue.
pub struct Consumer {
    /// Its name: the function's, and the one in logs.
    pub name: &'static str,
    /// The queue it empties.
    pub queue: Arc<dyn Queue>,
    work: Box<dyn Fn(Message) -> BoxFuture<'static, Report> + Send + Sync>,
}

impl Consumer {
    /// A consumer over an async function that reports something serialisable.
    pub fn new<W, F, S>(name: &'static str, queue: Arc<dyn Queue>, work: W) -> Self
    where
        W: Fn(Message) -> F + Send + Sync + 'static,
        F: Future<Output = Result<S, Error>> + Send + 'static,
        S: Serialize,
    {
        let work = move |message| {
            let done = work(message);
            async move { report(done.await?) }.boxed()
        };
        Self { name, queue, work: Box::new(work) }
    }

    /// Works on a message now. A panic and an endless wait are failures like any other.
    pub async fn run(&self, clock: &Clock, message: Message) -> Report {
        let span = tracing::info_span!(
            "message",
            otel.name = format!("process {}", self.name),
            otel.kind = "consumer",
            otel.status_code = Empty,
            error.r#type = Empty,
            messaging.operation.r#type = "process",
        );
        guarded(span, self.name, clock, (self.work)(message)).await
    }
}

fn report(status: impl Serialize) -> Report {
    serde_json::to_value(status)
        .map_err(|error| Error::new(ErrorCode::Internal, format!("the status cannot be written: {error}")))
}

async fn guarded(span: Span, name: &str, clock: &Clock, work: BoxFuture<'static, Report>) -> Report {
    let span = traces::begin(span, None);
    let work = AssertUnwindSafe(work).catch_unwind().instrument(span.clone());
    let report = match clock.timeout(DEADLINE, work).await {
        Some(Ok(report)) => report,
        Some(Err(_)) => Err(Error::new(ErrorCode::Internal, format!("`{name}` panicked"))),
        None => Err(Error::new(ErrorCode::TimedOut, format!("`{name}` took longer than {} s", DEADLINE.as_secs()))),
    };
    if let Err(error) = &report {
        traces::fail(&span, error.code.as_str());
    }
    report
}

/// How often our own scheduler checks which plans are due.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Rounds over the plans under way at a time: one that waits for a plan that hangs holds up no other.
const ROUNDS: usize = 16;

/// Every job of the program.
#[derive(Default)]
pub struct Jobs {
    /// What is due every so often.
    pub timers: Vec<Timer>,
    /// What waits for messages.
    pub consumers: Vec<Consumer>,
    /// How long a message is held that fails for a reason that may pass.
    hold: Duration,
    /// Where messages are noted that can never be worked on.
    poison: Option<Arc<Poison>>,
}

impl Jobs {
    /// The table, for the Functions host or for our own scheduler.
    #[must_use]
    pub fn new(services: &Services, queues: &Queues, host: HostMode) -> Self {
        let Services { planner, reports, subscriptions, notifications, events, poison, audit, .. } = services.clone();
        let (minutes, hour) = (Duration::from_mins, Duration::from_hours(1));
        let ours = |every: Duration| (!host.is_functions()).then_some(every);
        let (plans, names, pushes, due) = (planner.clone(), planner.clone(), planner.clone(), planner);
        let (swept, received) = (notifications.clone(), notifications.clone());
        let given_up = poison.clone();
        let server = services.authorization_server.clone();
        Self {
            timers: vec![
                Timer::new("reconcile_plans", minutes(5), move || {
                    let planner = plans.clone();
                    async move { planner.run_plan_timer().await }
                })
                .standalone(ours(POLL_INTERVAL))
                .together(ROUNDS),
                Timer::new("refresh_metadata", minutes(30), move || {
                    let planner = names.clone();
                    async move { planner.refresh_names().await }
                }),
                Timer::new("renew_subscriptions", minutes(15), move || {
                    let (subscriptions, notifications) = (subscriptions.clone(), swept.clone());
                    async move {
                        notifications.sweep().await?;
                        subscriptions.renew().await
                    }
                }),
                Timer::new("run_reports", minutes(5), move || {
                    let reports = reports.clone();
                    async move { reports.run_due().await }
                })
                .standalone(ours(minutes(1))),
                Timer::new("sweep_events", hour, move || {
                    let events = events.clone();
                    async move { events.sweep().await }
                }),
                Timer::new("sweep_audit", hour, move || {
                    let audit = audit.clone();
                    async move { audit.sweep().await }
                }),
                Timer::new("sweep_poison", minutes(15), move || {
                    let poison = given_up.clone();
                    async move { poison.sweep().await }
                }),
                Timer::new("sweep_sign_ins", hour, move || {
                    let server = server.clone();
                    async move {
                        let swept = match server {
                            Some(server) => server.sweep().await?,
                            None => 0,
                        };
                        Ok(serde_json::json!({ "deleted": swept }))
                    }
                }),
            ],
            consumers: vec![
                Consumer::new("on_outbox", queues.outbox.clone(), move |message: Message| {
                    let planner = pushes.clone();
                    async move { planner.push_noted(&message.text).await }
                }),
                Consumer::new("on_reconcile", queues.reconcile.clone(), move |message: Message| {
                    let planner = due.clone();
                    async move { planner.reconcile_noted(&message.text).await }
                }),
                Consumer::new("on_notification", notifications.mailbox().queue().clone(), move |message: Message| {
                    let notifications = received.clone();
                    async move { notifications.work(&message.text).await }
                }),
            ],
            hold: Duration::ZERO,
            poison: Some(poison),
        }
    }

    /// Leaves the timer of plans out of our own scheduler.
    #[must_use]
    pub fn without_reconciling(mut self) -> Self {
        for timer in self.timers.iter_mut().filter(|timer| timer.name == "reconcile_plans") {
            timer.standalone = None;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::clock::ManualClock;
    use crate::queue::{Message as Queued, Poisoned, QueueState, Wanted};
    use crate::rows::StoreError;

    struct Nowhere;

    #[async_trait::async_trait]
    impl Queue for Nowhere {
        fn name(&self) -> &'static str {
            "nowhere"
        }
        async fn send(&self, _: &str, _: Duration) -> Result<(), StoreError> {
            Ok(())
        }
        async fn receive(&self, _: usize, _: Duration) -> Result<Vec<Queued>, StoreError> {
            Ok(Vec::new())
        }
        async fn delete(&self, _: &Queued) -> Result<(), StoreError> {
            Ok(())
        }
        async fn postpone(&self, _: &Queued, _: Duration) -> Result<(), StoreError> {
            Ok(())
        }
        async fn state(&self) -> Result<QueueState, StoreError> {
            Ok(QueueState::default())
        }
        async fn poisoned(&self, _: usize) -> Result<Vec<Poisoned>, StoreError> {
            Ok(Vec::new())
        }
        async fn redrive(&self, _: usize, _: Wanted<'_>) -> Result<usize, StoreError> {
            Ok(0)
        }
    }

    #[tokio::test]
    async fn panic_of_a_job_is_a_named_failure() {
        let timer = Timer::new("explode", DEADLINE, || async {
            assert!(DEADLINE.is_zero(), "boom");
            Ok(())
        });
        let error = timer.run(&Clock::system()).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Internal, "`explode` panicked"));
    }

    #[tokio::test]
    async fn job_deadline_is_before_the_function_timeout() {
        let source = ManualClock::at(DateTime::UNIX_EPOCH);
        let clock = Clock::from_source(source.clone());
        let timer = Timer::new("wait", DEADLINE, || async {
            std::future::pending::<()>().await;
            Ok(())
        });
        let run = timer.run(&clock);
        tokio::pin!(run);
        assert!(futures::poll!(&mut run).is_pending());
        source.advance(DEADLINE);
        assert_eq!(run.await.unwrap_err().code, ErrorCode::TimedOut);
    }

    /// A consumer that meets an outage of so many seconds; answers how often it was tried.
    async fn held(outage: i64, code: ErrorCode) -> (Report, u32, i64) {
        let source = ManualClock::at(DateTime::UNIX_EPOCH);
        let clock = Clock::from_source(source.clone());
        let (tries, now) = (Arc::new(std::sync::atomic::AtomicU32::new(0)), clock.clone());
        let counted = tries.clone();
        let consumer = Consumer::new("on_test", Arc::new(Nowhere), move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let over = (now.now() - DateTime::UNIX_EPOCH).num_seconds() >= outage;
            async move { if over { Ok("done") } else { Err(Error::new(code, "not now")) } }
        });
        let jobs = Jobs::default().holding(HOLD);
        let run = jobs.deliver(&consumer, &clock, Message { text: "{}".into(), attempt: 1 });
        tokio::pin!(run);
        let report = loop {
            match futures::poll!(&mut run) {
                std::task::Poll::Ready(report) => break report,
                std::task::Poll::Pending => source.advance(Duration::from_secs(1)),
            }
        };
        let took = (clock.now() - DateTime::UNIX_EPOCH).num_seconds();
        (report, tries.load(std::sync::atomic::Ordering::SeqCst), took)
    }

    #[tokio::test]
    async fn message_during_an_outage_is_held_and_fails_before_its_visibility_timeout() {
        let (report, tries, _) = held(100, ErrorCode::GraphUnreachable).await;
        assert!(report.is_ok() && tries > 1, "{report:?} after {tries}");
        let (report, _, took) = held(3_600, ErrorCode::StoreFailed).await;
        assert!(report.is_err() && (230..=240).contains(&took), "{took} s");
        let (report, tries, took) = held(3_600, ErrorCode::InvalidArgument).await;
        assert!(report.is_err() && (tries, took) == (1, 0), "holding cannot help: {tries} tries, {took} s");
    }

    #[tokio::test]
    async fn consumer_gets_the_message_and_returns_json() {
        let consumer =
            Consumer::new("on_test", Arc::new(Nowhere), |message: Message| async move { Ok(message.attempt) });
        let message = Message { text: "{}".into(), attempt: 3 };
        assert_eq!(consumer.run(&Clock::system(), message).await.unwrap(), 3);
    }
}
