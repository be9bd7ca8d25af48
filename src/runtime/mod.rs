//! The standalone scheduler: runs the jobs that the Functions host would call, by our own clock.

mod relay;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

pub use relay::{Relay, RelayState, check_address};

use crate::clock::Clock;
use crate::queue::Message;
use crate::services::jobs::{self, Consumer, Jobs, Timer};

/// Messages of one queue worked on at once: what `host.json` says to the Functions host.
const TOGETHER: usize = 8;
/// Nobody else gets a message for as long as its job may take.
const VISIBILITY: Duration = Duration::from_mins(10);
/// Pause after an empty poll of a queue; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two polls of a queue.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a message whose job failed waits, times the number of failures.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// How long after the start every timer works for the first time: the first callers go first.
const AT_START: Duration = Duration::from_secs(1);

/// How long jobs under way may run on after the scheduler was stopped; then their messages are given back.
const GRACE: Duration = Duration::from_secs(5);

/// Runs every job until stopped.
pub async fn run(jobs: Arc<Jobs>, clock: Clock, stop: CancellationToken) {
    let timers = join_all(jobs.timers.iter().map(|timer| tick(timer, &clock, &stop)));
    let queues = join_all(jobs.consumers.iter().map(|consumer| pump(&jobs, consumer, &clock, &stop)));
    tokio::join!(timers, queues);
}

/// One timer: it works, pauses, works, so that what is due is done in a process that does not live long, too. A run that
/// takes long delays the next, unless the timer allows several together.
async fn tick(timer: &Timer, clock: &Clock, stop: &CancellationToken) {
    let Some(every) = timer.standalone else { return };
    let mut runs = FuturesUnordered::new();
    let mut pause = clock.sleep(AT_START.min(every));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = &mut pause, if runs.len() < timer.together => {
                runs.push(timer.run(clock));
                pause = clock.sleep(every);
            }
            Some(done) = runs.next() => {
                tell(timer, done);
                if timer.together == 1 {
                    pause = clock.sleep(every);
                }
            }
        }
    }
    // What is under way ends in good order.
    while let Some(done) = runs.next().await {
        tell(timer, done);
    }
}

fn tell(timer: &Timer, done: jobs::Report) {
    match done {
        Ok(status) => tracing::debug!(job = timer.name, %status, "done"),
        Err(error) => tracing::warn!(job = timer.name, code = error.code.as_str(), %error, "failed"),
    }
}

/// One queue: takes messages while there are any, polls less often while there are none.
async fn pump(jobs: &Jobs, consumer: &Consumer, clock: &Clock, stop: &CancellationToken) {
    let mut pause = PAUSE;
    while !stop.is_cancelled() {
        let messages = match consumer.queue.receive(TOGETHER, VISIBILITY).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(job = consumer.name, %error, "the queue cannot be read");
                Vec::new()
            }
        };
        if messages.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep(pause) => {}
            }
            pause = LONGEST_PAUSE.min(pause * 2);
            continue;
        }
        pause = PAUSE;
        let out_of_time = async {
            stop.cancelled().await;
            clock.sleep(GRACE).await;
        };
        tokio::select! {
            _ = join_all(messages.iter().map(|message| work(jobs, consumer, clock, message))) => {}
            () = out_of_time => {
                for message in &messages {
                    let _ = consumer.queue.postpone(message, Duration::ZERO).await; // those that are done are gone
                }
                return;
            }
        }
    }
}

async fn work(jobs: &Jobs, consumer: &Consumer, clock: &Clock, message: &Message) {
    let given = jobs::Message { text: message.text.clone(), attempt: message.dequeue_count };
    let settled = match jobs.deliver(consumer, clock, given).await {
        Ok(status) => {
            tracing::debug!(job = consumer.name, %status, "done");
            consumer.queue.delete(message).await
        }
        Err(error) => {
            let attempt = message.dequeue_count;
            tracing::warn!(job = consumer.name, attempt, code = error.code.as_str(), %error, "failed");
            consumer.queue.postpone(message, AFTER_FAILURE * attempt).await
        }
    };
    if let Err(error) = settled {
        tracing::warn!(job = consumer.name, %error, "a message cannot be settled; it will come again");
    }
}
