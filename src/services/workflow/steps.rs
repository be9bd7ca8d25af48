//! How far a run has come: which steps were attempted, which are done, and what is next.

use serde::{Deserialize, Serialize};

/// The steps of a run that were begun, in that order. A step has an id `K`, and a note `N`: of an attempt what finds out
/// whether it happened, or undoes it; of a step that is done its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps<K, N = ()> {
    begun: Vec<Step<K, N>>,
    /// The run undoes what it did.
    back: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Step<K, N> {
    id: K,
    done: bool,
    note: N,
}

/// What is known of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a, N> {
    /// It has not happened.
    Ahead,
    /// It may have happened.
    Attempted(&'a N),
    /// It has happened.
    Done(&'a N),
}

/// What a run does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<K> {
    /// Carry a step out, or find out that it was.
    Attempt(K),
    /// Undo a step that was done or attempted.
    Compensate(K),
    /// Nothing: all steps are done.
    Done,
    /// Nothing: all steps are undone.
    TakenBack,
}

impl<K, N> Default for Steps<K, N> {
    fn default() -> Self {
        Self { begun: Vec::new(), back: false }
    }
}

impl<K: PartialEq + Clone, N> Steps<K, N> {
    /// What is known of a step.
    #[must_use]
    pub fn state(&self, id: &K) -> State<'_, N> {
        match self.begun.iter().find(|step| step.id == *id) {
            None => State::Ahead,
            Some(Step { done: false, note, .. }) => State::Attempted(note),
            Some(Step { note, .. }) => State::Done(note),
        }
    }

    /// What is next of a plan's steps.
    #[must_use]
    pub fn next(&self, plan: &[K]) -> Next<K> {
        if self.back {
            return self.begun.last().map_or(Next::TakenBack, |step| Next::Compensate(step.id.clone()));
        }
        let left = plan.iter().find(|id| !matches!(self.state(id), State::Done(_)));
        left.map_or(Next::Done, |id| Next::Attempt(id.clone()))
    }

    /// Notes that a step is about to happen. To be stored before its call goes out.
    pub fn attempt(&mut self, id: K, note: N) {
        self.put(Step { id, done: false, note });
    }

    /// Notes that a step has happened.
    pub fn done(&mut self, id: K, note: N) {
        self.put(Step { id, done: true, note });
    }

    fn put(&mut self, step: Step<K, N>) {
        match self.begun.iter_mut().find(|known| known.id == step.id) {
            Some(known) => *known = step,
            None => self.begun.push(step),
        }
    }

    /// Turns back: from here on what was done or attempted is undone, the last step first.
    pub const fn turn_back(&mut self) {
        self.back = true;
    }

    /// Notes that the step named by [`Next::Compensate`] is undone.
    pub fn compensated(&mut self) {
        self.begun.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs to the end, turning back before or in the middle of a step; answers what was done and undone, in order.
    fn run(turn: Option<(usize, bool)>) -> (Vec<usize>, Vec<usize>, Next<usize>) {
        let (mut steps, mut did, mut undid) = (Steps::default(), Vec::new(), Vec::new());
        loop {
            match steps.next(&[0, 1, 2]) {
                Next::Attempt(step) => {
                    if turn == Some((step, false)) {
                        steps.turn_back();
                        continue;
                    }
                    steps.attempt(step, ());
                    did.push(step);
                    if turn == Some((step, true)) {
                        steps.turn_back();
                    } else {
                        steps.done(step, ());
                    }
                }
                Next::Compensate(step) => {
                    undid.push(step);
                    steps.compensated();
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

    #[test]
    fn noted_step_results_survive_a_restart() {
        let mut steps = Steps::<String, Option<String>>::default();
        steps.attempt("mail".to_owned(), Some("draft 1".to_owned()));
        let stored = serde_json::to_string(&steps).unwrap();
        let mut steps: Steps<String, Option<String>> = serde_json::from_str(&stored).unwrap();
        assert_eq!(steps.state(&"mail".to_owned()), State::Attempted(&Some("draft 1".to_owned())));
        assert_eq!(steps.state(&"card".to_owned()), State::Ahead);
        steps.done("mail".to_owned(), None);
        assert_eq!(steps.state(&"mail".to_owned()), State::Done(&None));
    }
}
