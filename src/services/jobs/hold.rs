//! Holding a message that fails for a reason that may pass.

use std::time::Duration;

use super::{Consumer, Jobs, Message, Report};
use crate::clock::Clock;
use crate::error::Retry;

/// How long the Functions host may be kept waiting with a message that fails for a reason that may pass: it counts every
/// failure, gives up on the fifth, and renews its hold on a message after five minutes, when a failure gets lost.
pub const HOLD: Duration = Duration::from_mins(4);
/// Pause before a held message is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Jobs {
    /// Holds messages that fail for a reason that may pass, for so long.
    #[must_use]
    pub fn holding(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Works on a message. While the reason of a failure may pass, it is tried again for as long as messages are held; a
    /// message that can never be worked on is noted, so that it is not tried again by itself once it was given up on.
    pub async fn deliver(&self, consumer: &Consumer, clock: &Clock, message: Message) -> Report {
        let ends_at = clock.now() + self.hold;
        let left = || (ends_at - clock.now()).to_std().unwrap_or_default();
        let mut pause = FIRST_PAUSE;
        let mut report = consumer.run(clock, message.clone()).await;
        while let Err(error) = &report {
            if error.code.retry() == Retry::Pointless {
                if let Some(poison) = &self.poison {
                    poison.note_hopeless(consumer.queue.name(), &message.text).await;
                }
                break;
            }
            clock.sleep(error.retry_after.unwrap_or_default().max(pause).min(left())).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            if left().is_zero() {
                break;
            }
            let Some(again) = clock.timeout(left(), consumer.run(clock, message.clone())).await else { break };
            report = again;
        }
        report
    }
}
