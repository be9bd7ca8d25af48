//! A sample: a notification of our own that takes the way of Graph's, from the public address to the worker.
//!
//! It is signed with the deployment's keyring, so that any instance knows it for ours, and for minutes only. Nothing in
//! Microsoft 365 is read or changed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use url::Url;

use super::Notifications;
use super::body::Notification;
use crate::clock::Clock;
use crate::error::ErrorCode;
use crate::keyring::{Keyring, Version};
use crate::services::Error;
use crate::services::subscriptions::NOTIFICATIONS_PATH;

/// Stands where Graph names a subscription, and in the log.
pub const SAMPLE: &str = "sample";
const PURPOSE: &str = "webhook-sample";
/// How long a sample is known for ours.
const LIFE: TimeDelta = TimeDelta::minutes(10);
/// Graph counts a later answer as none.
const IN_TIME: TimeDelta = TimeDelta::seconds(3);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the worker may take: the host polls a queue at least every two seconds.
const WORK: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Posts JSON to an address as a stranger would: status and body of the answer, or why there is none.
pub type PostSelfTest =
    Arc<dyn Fn(Url, String) -> BoxFuture<'static, Result<(StatusCode, String), String>> + Send + Sync>;

/// Makes samples, and knows them.
pub struct Samples {
    keyring: Keyring,
    clock: Clock,
}

impl Samples {
    /// Samples signed with a deployment's keyring.
    #[must_use]
    pub fn new(keyring: Keyring, clock: Clock) -> Self {
        Self { keyring, clock }
    }

    /// A sample that tells of nothing.
    #[must_use]
    pub fn make(&self, id: String) -> Notification {
        let made_at = self.clock.now().timestamp();
        let (version, tag) = self.keyring.sign(PURPOSE, &signed(&id, made_at));
        let tag: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        Notification {
            id: Some(id),
            subscription_id: SAMPLE.to_owned(),
            client_state: format!("{version}.{made_at}.{tag}"),
            tenant_id: None,
            resource: Some(SAMPLE.to_owned()),
            change_type: Some("updated".to_owned()),
            lifecycle_event: None,
            resource_data: None,
            encrypted_content: None,
        }
    }

    /// Whether a notification is a sample of this deployment, made not long ago.
    #[must_use]
    pub fn knows(&self, notification: &Notification) -> bool {
        notification.subscription_id == SAMPLE && self.opens(notification).unwrap_or_default()
    }

    fn opens(&self, notification: &Notification) -> Option<bool> {
        let mut parts = notification.client_state.splitn(3, '.');
        let version: Version = parts.next()?.parse().ok()?;
        let made_at: i64 = parts.next()?.parse().ok()?;
        let tag = bytes(parts.next()?)?;
        let age = self.clock.now() - DateTime::<Utc>::from_timestamp(made_at, 0)?;
        let message = signed(notification.id.as_deref()?, made_at);
        Some(age.abs() <= LIFE && self.keyring.verify(PURPOSE, version, &message, &tag))
    }
}

fn signed(id: &str, made_at: i64) -> Vec<u8> {
    format!("{made_at}|{id}").into_bytes()
}

/// The bytes of a whole tag; a part of one proves too little.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    const TAG: usize = 64;
    let digits =
        hex.as_bytes().chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.collect::<Option<Vec<u8>>>().filter(|_| hex.len() == TAG)
}

/// How a sample fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WebhookTest {
    /// `ok`, `slow` (Graph would count it as late) or `failing`.
    pub status: String,
    /// Where it was sent.
    pub address: String,
    /// What was tried, in order; nothing follows a step that failed.
    pub steps: Vec<TestStep>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TestStep {
    /// `handshake`, `delivery` or `work`.
    pub step: String,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub ms: i64,
    /// What happened.
    pub said: String,
}

impl Notifications {
    /// Sends a sample through the public address and follows it to the worker.
    ///
    /// # Errors
    /// When the public address of this program is not known, or the store fails.
    pub async fn test(&self) -> Result<WebhookTest, Error> {
        let base = self.subscriptions.public_url().ok_or_else(|| {
            Error::new(ErrorCode::Configuration, "the public address of this program is not known")
                .hint("set `PUBLIC_URL` to its https address")
        })?;
        let address = format!("{}{NOTIFICATIONS_PATH}", base.as_str().trim_end_matches('/'));
        let url = Url::parse(&address)
            .map_err(|error| Error::new(ErrorCode::Configuration, format!("`{address}` is no address: {error}")))?;
        let mut test = WebhookTest { status: "failing".to_owned(), address, steps: Vec::new(), hint: None };
        let sender = Sender { post_self_test: &self.post_self_test, clock: &self.clock, url };
        let id = self.entropy.ulid(self.clock.now());
        if !test.note("handshake", sender.greet(&id).await) {
            test.hint = Some("Microsoft Graph must reach this address without a key, from the internet".to_owned());
            return Ok(test);
        }
        let sample = self.samples.make(id);
        let identity = sample.identity().unwrap_or_default();
        if !test.note("delivery", sender.deliver(&sample).await) {
            test.hint = Some("202 means kept; 503 that the store does not take it, see `/health/ready`".to_owned());
            return Ok(test);
        }
        if !test.note("work", self.followed(&identity).await?) {
            let hint = "does `on_notification` run, and is its queue the one the receiver puts into? see `/api/webhook/health`";
            test.hint = Some(hint.to_owned());
            return Ok(test);
        }
        let in_time = |step: &TestStep| step.step == "work" || TimeDelta::milliseconds(step.ms) <= IN_TIME;
        test.status = String::from(if test.steps.iter().all(in_time) { "ok" } else { "slow" });
        Ok(test)
    }

    /// Waits until the worker has noted a notification.
    async fn followed(&self, identity: &str) -> Result<Tried, Error> {
        let began_at = self.clock.now();
        while (self.clock.now() - began_at).to_std().unwrap_or_default() < WORK {
            if self.journal.seen(identity, self.clock.now()).await? {
                return Ok(Tried::new(&self.clock, began_at, Ok("worked on".to_owned())));
            }
            self.clock.sleep(POLL_INTERVAL).await;
        }
        let why = format!("nobody has worked on it within {} s", WORK.as_secs());
        Ok(Tried::new(&self.clock, began_at, Err(why)))
    }
}

impl WebhookTest {
    fn note(&mut self, step: &str, tried: Tried) -> bool {
        let ok = tried.said.is_ok();
        let said = tried.said.unwrap_or_else(|why| why);
        self.steps.push(TestStep { step: step.to_owned(), ok, ms: tried.ms, said });
        ok
    }
}

/// Something that was tried, and what it came to.
struct Tried {
    ms: i64,
    said: Result<String, String>,
}

impl Tried {
    fn new(clock: &Clock, began_at: DateTime<Utc>, said: Result<String, String>) -> Self {
        Self { ms: (clock.now() - began_at).num_milliseconds(), said }
    }
}

/// Posts to our own address, as Graph would.
struct Sender<'a> {
    post_self_test: &'a PostSelfTest,
    clock: &'a Clock,
    url: Url,
}

impl Sender<'_> {
    async fn greet(&self, token: &str) -> Tried {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("validationToken", token);
        self.post(url, String::new(), |status, body| match (status, body) {
            (StatusCode::OK, body) if body == token => Ok("the token came back".to_owned()),
            (StatusCode::OK, _) => Err("something else answers at this address".to_owned()),
            (status, _) => Err(format!("it answered {status}")),
        })
        .await
    }

    async fn deliver(&self, sample: &Notification) -> Tried {
        let body = json!({ "value": [sample] }).to_string();
        self.post(self.url.clone(), body, |status, _| match status {
            StatusCode::ACCEPTED => Ok("taken".to_owned()),
            status => Err(format!("it answered {status}")),
        })
        .await
    }

    async fn post(&self, url: Url, body: String, judge: impl Fn(StatusCode, &str) -> Result<String, String>) -> Tried {
        let began_at = self.clock.now();
        let answered = self.clock.timeout(PATIENCE, (self.post_self_test)(url, body)).await;
        let said = match answered {
            Some(Ok((status, text))) => judge(status, &text),
            Some(Err(why)) => Err(why),
            None => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        Tried::new(self.clock, began_at, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::ids::Entropy;
    use crate::keyring;

    #[test]
    fn self_test_sample_is_valid_for_minutes_and_unchanged_only() {
        let source = ManualClock::at(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
        let clock = Clock::from_source(source.clone());
        let ring = |tenant: &str, text: &str| Samples::new(Keyring::parse(text, tenant).unwrap(), clock.clone());
        let text = keyring::generate(&Entropy::system());
        let samples = ring("tenant", &text);
        let sample = samples.make("s1".to_owned());
        assert!(samples.knows(&sample));
        for (id, state) in [
            ("s2", sample.client_state.clone()),
            ("s1", sample.client_state.replace("1.", "2.")),
            ("s1", sample.client_state.get(..40).unwrap().to_owned()),
            ("s1", format!("{}00", sample.client_state)),
            ("s1", String::new()),
            ("s1", "1.9223372036854775807.00".to_owned()),
        ] {
            let forged = Notification { id: Some(id.to_owned()), client_state: state, ..sample.clone() };
            assert!(!samples.knows(&forged), "{forged:?}");
        }
        assert!(!ring("another", &text).knows(&sample), "of another tenant");
        assert!(!ring("tenant", &keyring::generate(&Entropy::system())).knows(&sample), "of another deployment");
        source.advance(Duration::from_secs(601));
        assert!(!samples.knows(&sample), "it is old");
    }
}
