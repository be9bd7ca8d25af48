//! Notifications on their way: what is due is sent, again where the receiver does not answer in time, and receivers are
//! judged by how long they take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use serde_json::Value;

use super::super::simulator::Simulator;
use super::{Answers, Pending, odd, reauthorize};

/// An answer within this time counts as delivered.
const IN_TIME: Duration = Duration::from_secs(3);
/// An answer later than this counts as very slow.
const VERY_SLOW: Duration = Duration::from_secs(10);
/// The time over which slow answers are counted, and the time a slow receiver is left alone.
pub(super) const WINDOW: TimeDelta = TimeDelta::minutes(10);
/// How long a notification is sent again.
const PATIENCE: TimeDelta = TimeDelta::hours(4);
/// Answers that must be known before a receiver is judged.
const JUDGED: usize = 10;
/// POSTs under way at once.
const PARALLEL: usize = 16;
/// How often expiry is checked, in real time.
const EXPIRY_CHECK: Duration = Duration::from_millis(250);

/// How a receiver that was slow is treated.
pub(super) enum Late {
    No,
    Slow,
    VerySlow,
}

/// How a receiver is treated for its answers of the last ten minutes.
pub(super) fn late(answers: Option<&Answers>, now: DateTime<Utc>) -> Late {
    let recent: Vec<Duration> =
        answers.into_iter().flatten().filter(|(at, _)| now - *at < WINDOW).map(|(_, took)| *took).collect();
    if recent.len() < JUDGED {
        return Late::No;
    }
    let part = |limit: Duration| recent.iter().filter(|took| **took > limit).count() as f64 / recent.len() as f64;
    if part(VERY_SLOW) > 0.15 {
        Late::VerySlow
    } else if part(IN_TIME) > 0.1 {
        Late::Slow
    } else {
        Late::No
    }
}

/// Sends what is due, for as long as the tenant runs.
pub async fn work(simulator: Arc<Simulator>) {
    let mut checked: Option<Instant> = None;
    loop {
        if checked.is_none_or(|at| at.elapsed() >= EXPIRY_CHECK) {
            checked = Some(Instant::now());
            reauthorize(&simulator).await;
        }
        let due = take_due(&simulator);
        if due.is_empty() {
            tokio::select! {
                () = simulator.post.changed.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            continue;
        }
        futures::stream::iter(due).for_each_concurrent(PARALLEL, |pending| send(&simulator, pending)).await;
    }
}

fn take_due(simulator: &Simulator) -> Vec<Pending> {
    let now = simulator.clock.now();
    let mut inner = simulator.post.lock();
    if inner.knobs.paused {
        return Vec::new();
    }
    let (mut due, later): (Vec<_>, Vec<_>) = inner.pending.drain(..).partition(|pending| pending.due <= now);
    inner.pending = later;
    due.sort_by_key(|pending| pending.due);
    join(due, inner.knobs.batch)
}

/// Puts first deliveries of one receiver together, up to `batch` in a POST.
fn join(due: Vec<Pending>, batch: usize) -> Vec<Pending> {
    let mut posts: Vec<Pending> = Vec::new();
    for pending in due {
        let post = posts.iter_mut().find(|post| {
            post.url == pending.url && post.attempts == 0 && pending.attempts == 0 && items(&post.body) < batch
        });
        match post {
            Some(post) => append(&mut post.body, pending.body),
            None => posts.push(pending),
        }
    }
    posts
}

fn items(body: &Value) -> usize {
    body.get("value").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Adds the notifications of another body, and its proofs where it has some.
fn append(body: &mut Value, other: Value) {
    let (Value::Object(body), Value::Object(other)) = (body, other) else { return };
    for (name, value) in other {
        match (body.get_mut(&name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more),
            (Some(_), _) => {}
            (None, value) => {
                body.insert(name, value);
            }
        }
    }
}

async fn send(simulator: &Simulator, mut pending: Pending) {
    let started = Instant::now();
    let Ok(client) = simulator.client() else { return };
    let odd = simulator.post.lock().knobs.odd.clone();
    let call = client.post(&pending.url).json(&odd::beside(&odd, &pending.body)).timeout(VERY_SLOW);
    let fine = call.send().await.is_ok_and(|answer| answer.status().is_success());
    let took = started.elapsed();
    let now = simulator.clock.now();
    let mut inner = simulator.post.lock();
    inner.counts.posts += 1;
    let answers = inner.answers.entry(pending.url.clone()).or_default();
    answers.push_back((now, took));
    while answers.front().is_some_and(|(at, _)| now - *at >= WINDOW) {
        answers.pop_front();
    }
    if fine && took <= IN_TIME {
        inner.counts.delivered += 1;
        return;
    }
    inner.counts.failed_posts += 1;
    pending.attempts += 1;
    let wait = inner.knobs.retry_ms.saturating_mul(1 << (pending.attempts - 1).min(10));
    pending.due = now + TimeDelta::milliseconds(wait as i64);
    if pending.due - pending.published > PATIENCE {
        inner.counts.given_up += 1;
    } else {
        inner.pending.push(pending);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(slow: usize, very_slow: usize, all: usize) -> Answers {
        let now = DateTime::UNIX_EPOCH;
        let took = |place: usize| {
            Duration::from_secs(if place < very_slow {
                11
            } else if place < very_slow + slow {
                4
            } else {
                0
            })
        };
        (0..all).map(|place| (now, took(place))).collect()
    }

    #[test]
    fn notifications_of_one_receiver_share_a_post_up_to_the_batch() {
        let pending = |url: &str, id: u64, attempts| Pending {
            url: url.to_owned(),
            body: json!({ "value": [{ "id": id }], "validationTokens": [format!("token {id}")] }),
            due: DateTime::UNIX_EPOCH,
            published: DateTime::UNIX_EPOCH,
            attempts,
        };
        let due =
            vec![pending("a", 1, 0), pending("b", 2, 0), pending("a", 3, 0), pending("a", 4, 1), pending("a", 5, 0)];
        let posts: Vec<(String, Value)> = join(due, 2).into_iter().map(|post| (post.url, post.body)).collect();
        let body = |ids: &[u64]| {
            let tokens: Vec<String> = ids.iter().map(|id| format!("token {id}")).collect();
            json!({ "value": ids.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(), "validationTokens": tokens })
        };
        let wanted = [("a", body(&[1, 3])), ("b", body(&[2])), ("a", body(&[4])), ("a", body(&[5]))];
        assert_eq!(posts, wanted.map(|(url, body)| (url.to_owned(), body)));
    }

    #[test]
    fn slow_receiver_is_delayed_and_very_slow_one_dropped() {
        let judge =
            |answers: &Answers, minutes| late(Some(answers), DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes));
        assert!(matches!(judge(&answers(1, 0, 10), 1), Late::No), "a tenth is not more than a tenth");
        assert!(matches!(judge(&answers(2, 0, 10), 1), Late::Slow));
        assert!(matches!(judge(&answers(0, 2, 10), 1), Late::VerySlow));
        assert!(matches!(judge(&answers(0, 2, 10), 11), Late::No), "it is forgotten after ten minutes");
    }
}
