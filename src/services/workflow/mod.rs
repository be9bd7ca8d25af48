//! Work of several steps that ends by itself.
//!
//! A run is a row: what is to be done and how far it has come. Before a step takes effect, that it is *attempted* is
//! committed; after it, that it is *done*. A run that cannot go on turns back and *compensates* what it did, last step
//! first. Whichever process dies when, another one reads the row and goes on where the first one stopped. So each step
//! has to be repeatable, and [`Progress`] alone decides which one is next.
//!
//! [`Runs`] keeps the rows. Claiming a run inserts its row, so of two instances one is first. Who works on it holds a
//! lease with a fencing token in that row, and every note is committed under the version that was read: a holder that
//! was overtaken is refused by the store.

mod runs;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use runs::{Lease, Runs, Taken};

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps that are done and not compensated.
    done: usize,
    /// The step after those may have taken effect.
    #[serde(default)]
    attempted: bool,
    /// The run compensates what it did.
    #[serde(default)]
    back: bool,
}

/// What a run does next. Steps are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Carry a step out, or find out that it was.
    Attempt(usize),
    /// Undo a step that was done or attempted.
    Compensate(usize),
    /// Nothing: all steps are done.
    Done,
    /// Nothing: all steps are undone.
    TakenBack,
}

impl Progress {
    /// The next action of a run of so many steps.
    #[must_use]
    pub const fn next(self, steps: usize) -> Next {
        match self {
            Self { back: false, done, .. } if done >= steps => Next::Done,
            Self { back: false, done, .. } => Next::Attempt(done),
            Self { attempted: true, done, .. } => Next::Compensate(done),
            Self { done: 0, .. } => Next::TakenBack,
            Self { done, .. } => Next::Compensate(done - 1),
        }
    }

    /// Whether the present step may have taken effect.
    #[must_use]
    pub const fn is_attempted(self) -> bool {
        self.attempted
    }

    /// Notes that the present step is about to take effect.
    pub const fn attempt(&mut self) {
        self.attempted = true;
    }

    /// Notes that the present step has taken effect.
    pub const fn done(&mut self) {
        self.done += 1;
        self.attempted = false;
    }

    /// Turns back: from here on steps are compensated.
    pub const fn turn_back(&mut self) {
        self.back = true;
    }

    /// Notes that the step named by [`Next::Compensate`] is undone.
    pub const fn compensated(&mut self) {
        if self.attempted {
            self.attempted = false;
        } else {
            self.done = self.done.saturating_sub(1);
        }
    }
}

/// A run: the value of its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<W> {
    /// What is to be done; it does not change.
    pub work: W,
    /// How far it has come.
    pub progress: Progress,
    /// For whom: the caller's name.
    pub by: String,
    /// When it was claimed.
    pub begun_at: DateTime<Utc>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<DateTime<Utc>>,
    /// What it waits for, or why it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who works on it; nobody while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Grows with every holder.
    #[serde(default)]
    pub token: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: usize = 3;

    /// Runs to the end, turning back before or in the middle of a step; answers what was done and undone, in order.
    fn run(turn: Option<(usize, bool)>) -> (Vec<usize>, Vec<usize>, Next) {
        let (mut progress, mut did, mut undid) = (Progress::default(), Vec::new(), Vec::new());
        loop {
            match progress.next(STEPS) {
                Next::Attempt(step) => {
                    if turn == Some((step, false)) {
                        progress.turn_back();
                        continue;
                    }
                    progress.attempt();
                    did.push(step);
                    if turn == Some((step, true)) {
                        progress.turn_back();
                    } else {
                        progress.done();
                    }
                }
                Next::Compensate(step) => {
                    undid.push(step);
                    progress.compensated();
                }
                end => return (did, undid, end),
            }
        }
    }

    #[test]
    fn workflow_runs_every_step_once_in_order() {
        assert_eq!(run(None), (vec![0, 1, 2], vec![], Next::Done));
    }

    #[test]
    fn workflow_compensates_attempted_steps_in_reverse_order() {
        assert_eq!(run(Some((0, false))), (vec![], vec![], Next::TakenBack));
        assert_eq!(run(Some((2, false))), (vec![0, 1], vec![1, 0], Next::TakenBack));
        assert_eq!(run(Some((2, true))), (vec![0, 1, 2], vec![2, 1, 0], Next::TakenBack));
    }
}
