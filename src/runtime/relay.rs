//! The relay: over Redis, instances announce their transactions to each other, so that a listener on another instance
//! is notified at once.
//!
//! Nothing rests on it. Every instance finds the others' transactions by itself within a second; a message only has it
//! read sooner. One that is lost, repeated, late or forged costs at most a read of the store, and carries nothing but a
//! plan's id and a number.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use redis::aio::{MultiplexedConnection, PubSubSink};
use redis::{AsyncCommands, IntoConnectionInfo, Msg, RedisError, RedisResult};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ids::PlanId;
use crate::services::events::{Committed, Events};

/// Pause before the first try to connect again; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How often a quiet connection is asked whether it lives, and how long that and connecting may take.
const PING: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);
/// After a read the relay rests this many times as long as the read took, so that a large plan that changes all the time
/// costs a fifth of a core at most.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// How the relay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayState {
    /// Whether Redis is there.
    pub connected: bool,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// The relay of an instance.
pub struct Relay {
    client: redis::Client,
    channel: String,
    events: Arc<Events>,
    clock: Clock,
    state: Arc<Mutex<RelayState>>,
}

/// Whether an address can be Redis's: `redis://` or, with TLS, `rediss://`.
///
/// # Errors
/// What is wrong with it, without its password.
pub fn check_address(address: &str) -> Result<(), String> {
    address.into_connection_info().map(drop).map_err(|error| error.to_string())
}

impl Relay {
    /// A relay between the instances of one tenant's deployment; nothing is connected yet.
    ///
    /// # Errors
    /// When the address is none of Redis.
    pub fn new(address: &str, tenant: &str, events: Arc<Events>, clock: Clock) -> RedisResult<Self> {
        let state = RelayState { connected: false, since: clock.now() };
        Ok(Self {
            client: redis::Client::open(address)?,
            channel: format!("graphgate|{tenant}|committed"),
            events,
            clock,
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// Tells how the relay stands, for as long as anybody asks.
    pub fn probe(&self) -> impl Fn() -> RelayState + Send + Sync + 'static {
        let state = self.state.clone();
        move || *state.lock()
    }

    /// Sends and receives until stopped; connects again whenever Redis was away.
    pub async fn run(self, stop: CancellationToken) {
        let mut commits = self.events.commits();
        let mut pause = PAUSE;
        loop {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.connected(&mut commits) => ended,
            };
            if self.turn(false) {
                pause = PAUSE;
            }
            let reason = ended.err().map_or_else(|| "the connection was closed".to_owned(), |error| error.to_string());
            tracing::warn!(reason, "Redis is away: listeners are notified of other instances' changes within a second");
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Notes whether Redis is there; answers whether that is new.
    fn turn(&self, connected: bool) -> bool {
        let mut state = self.state.lock();
        let new = state.connected != connected;
        if new {
            *state = RelayState { connected, since: self.clock.now() };
        }
        new
    }

    /// One connection's life.
    async fn connected(&self, commits: &mut broadcast::Receiver<Committed>) -> RedisResult<()> {
        let connect = async {
            let teller = self.client.get_multiplexed_async_connection().await?;
            let (mut control, messages) = self.client.get_async_pubsub().await?.split();
            control.subscribe(&self.channel).await?;
            Ok::<_, RedisError>((teller, control, messages))
        };
        let (teller, control, messages) = self.soon(connect).await?;
        self.turn(true);
        tracing::info!("listeners are notified of other instances' changes over Redis");
        tokio::select! {
            ended = self.publish(teller, commits) => ended,
            ended = self.ping(control) => ended,
            () = self.receive(messages) => Ok(()),
        }
    }

    /// Tells the others of this process's transactions. Those it cannot tell in time they find by themselves.
    async fn publish(
        &self,
        mut connection: MultiplexedConnection,
        commits: &mut broadcast::Receiver<Committed>,
    ) -> RedisResult<()> {
        loop {
            match commits.recv().await {
                Ok(committed) => {
                    let message = format!("{} {}", committed.plan, committed.number);
                    let _listeners: u64 = self.soon(connection.publish(&self.channel, message)).await?;
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            }
        }
    }

    /// Notices a connection that died without a word.
    async fn ping(&self, mut connection: PubSubSink) -> RedisResult<()> {
        loop {
            self.clock.sleep(PING).await;
            let _pong: redis::Value = self.soon(connection.ping()).await?;
        }
    }

    /// Has plans read that others have changed, until there are no more messages.
    async fn receive(&self, mut messages: impl Stream<Item = Msg> + Unpin) {
        while let Some(message) = messages.next().await {
            let Some(committed) = message.get_payload().ok().and_then(|text: String| understood(&text)) else {
                tracing::debug!("a message on Redis that no instance sent");
                continue;
            };
            let started = self.clock.now();
            match self.events.heard(&committed).await {
                Ok(false) => {}
                Ok(true) => {
                    let took = (self.clock.now() - started).to_std().unwrap_or_default();
                    self.clock.sleep((took * REST).min(LONGEST_REST)).await;
                }
                Err(error) => tracing::debug!(%error, "a plan that another instance changed cannot be read"),
            }
        }
    }

    async fn soon<T>(&self, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        self.clock.timeout(PATIENCE, work).await.unwrap_or_else(|| Err(late()))
    }
}

/// A message of another instance: a plan's id and the number of its newest transaction.
fn understood(text: &str) -> Option<Committed> {
    let (plan, number) = text.split_once(' ')?;
    Some(Committed { plan: PlanId::parse(plan).ok()?, number: number.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_messages_parse_and_others_are_ignored() {
        let plan = "xqQg5FS2LkCp935s-FIFm2QAFkHM";
        let committed = understood(&format!("{plan} 118")).unwrap();
        assert_eq!((committed.plan.to_string().as_str(), committed.number), (plan, 118));
        for text in ["", "x", plan, &format!("{plan} "), &format!("{plan} -1"), "../../x 1", &format!("{plan} 1 2")] {
            assert_eq!(understood(text), None, "{text}");
        }
    }

    #[test]
    fn invalid_redis_address_is_refused_without_its_password() {
        check_address("rediss://:s3cret@cache.example:6380").unwrap();
        check_address("redis://127.0.0.1:6379/2").unwrap();
        for address in ["", "cache.example:6379", "https://:s3cret@cache.example", "redis://:s3cret@h:port"] {
            let error = check_address(address).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
