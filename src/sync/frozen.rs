//! Frozen plans: what cannot be read is not followed, what may not be written waits, and nothing of it is given up.
//!
//! A plan whose permission to write is gone is still read; every half minute one task tries to write for all of them. A
//! plan that is gone, with its group perhaps, or may not be read, is thawed by the next pass that gets through. Something
//! that is not found says nothing by itself: before a task counts as gone its plan has to be there, and after that it must
//! not be found again.

use std::collections::BTreeMap;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Engine;
use super::fold::{Progress, UNKNOWN_PAUSE};
use super::handle::{PlanHandle, Work};
use super::lease::{Then, WorkError};
use super::model::{Frozen, FrozenBecause, PlanState};
use super::ports::RemoteErrorKind;
use super::push::{Cause, Outcome};
use super::replica::Replica;
use super::step::Step;
use crate::ids::TaskId;

/// How long the tasks of a frozen plan wait before they are tried again.
const FROZEN_PAUSE: Duration = Duration::from_secs(30);

/// How long ago a write must have succeeded to show that the permission to write is there.
const WRITTEN_LATELY: TimeDelta = TimeDelta::seconds(30);

/// What this process knows of writing to a plan.
#[derive(Default)]
pub(super) struct Writing {
    /// When a write last succeeded.
    written_at: Option<DateTime<Utc>>,
    /// When a task of a plan that may not be written last tried for all.
    tried_at: Option<DateTime<Utc>>,
}

impl Progress {
    /// Its plan may not be written: it waits for that and no longer, no matter what was tried before.
    pub(super) fn waits_for_thaw(&mut self, words: &str) {
        let (retry_after, reason) = (FROZEN_PAUSE, words.to_owned());
        self.outcome = Some(Outcome::Pending { retry_after, cause: Cause::Settling, reason });
    }
}

impl PlanHandle {
    /// What this process knows of writing to the plan.
    fn writing<T>(&self, with: impl FnOnce(&mut Writing) -> T) -> T {
        with(&mut self.writing.lock())
    }

    pub(super) fn note_written(&self, now: DateTime<Utc>) {
        self.writing(|writing| *writing = Writing { written_at: Some(now), tried_at: None });
    }

    /// Whether a write of the plan has succeeded since shortly before `requested_at`: then it is one task that may not be
    /// written, for reasons of its own.
    pub(super) fn has_written(&self, requested_at: DateTime<Utc>) -> bool {
        self.writing(|writing| writing.written_at.is_some_and(|at| at + WRITTEN_LATELY > requested_at))
    }

    /// Whether a task may try to write for all; the next one may half a minute later.
    fn may_try(&self, now: DateTime<Utc>) -> bool {
        let pause = TimeDelta::from_std(FROZEN_PAUSE).unwrap_or(TimeDelta::MAX);
        self.writing(|writing| {
            let may = writing.tried_at.is_none_or(|tried| now >= tried + pause || now < tried);
            if may {
                writing.tried_at = Some(now);
            }
            may
        })
    }
}

impl Engine {
    /// Whether nothing of the group may be sent now, for its plan is frozen. Where only writing is denied, one task is left
    /// to try.
    pub(super) fn is_frozen(&self, handle: &PlanHandle, group: &mut BTreeMap<TaskId, Progress>) -> bool {
        let Some(frozen) = handle.read().state.frozen.clone() else { return false };
        let trying = group.values().any(|progress| progress.tries);
        let tries = frozen.why == FrozenBecause::WritesDenied && (trying || handle.may_try(self.clock.now()));
        let reason = format!("{}: {}", frozen.why, frozen.reason);
        let mut chosen = !tries || trying;
        for progress in group.values_mut().filter(|progress| progress.outcome.is_none()) {
            if !chosen {
                (chosen, progress.tries) = (true, true);
            }
            if !tries || !progress.tries {
                progress.waits_for_thaw(&reason);
            }
        }
        !tries
    }

    /// Freezes the plan, unless it is frozen for the same reason.
    pub(super) async fn freeze(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        why: FrozenBecause,
        reason: &str,
        since: DateTime<Utc>,
    ) -> Result<(), WorkError> {
        if why == FrozenBecause::WritesDenied {
            handle.writing(|writing| writing.tried_at = Some(since));
        }
        let frozen = Frozen { why, reason: reason.to_owned(), since };
        self.set_frozen(handle, work, |known| {
            let same = known.is_some_and(|known| known.why == why);
            if same { known.cloned() } else { Some(frozen.clone()) }
        })
        .await
    }

    /// The plan can be written again.
    pub(super) async fn thaw(&self, handle: &PlanHandle, work: &Work<'_>) -> Result<(), WorkError> {
        self.set_frozen(handle, work, |known| known.filter(|known| known.why != FrozenBecause::WritesDenied).cloned())
            .await
    }

    /// Sets what keeps the plan from being followed to what `decide` makes of it. A plan nobody has ever seen has nothing
    /// to protect.
    pub(super) async fn set_frozen(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        decide: impl Fn(Option<&Frozen>) -> Option<Frozen>,
    ) -> Result<(), WorkError> {
        handle
            .follow_up(work, Then::Rests, |replica: &Replica| {
                let known = &replica.state.frozen;
                let frozen = decide(known.as_ref());
                let nothing = frozen == *known || replica.plan.is_none();
                let state = (!nothing).then(|| PlanState { frozen, ..replica.state.clone() });
                (Step { state, ..Step::default() }, ())
            })
            .await
    }

    /// Asks whether the plan is there, for tasks of which something was not found. If it is, they are tried once more, and
    /// what is not found again is gone; if not, they wait with the plan.
    pub(super) async fn find_plan(
        &self,
        handle: &PlanHandle,
        work: &Work<'_>,
        group: &mut BTreeMap<TaskId, Progress>,
        asks: &[TaskId],
    ) -> Result<(), WorkError> {
        if asks.is_empty() {
            return Ok(());
        }
        let requested_at = self.clock.now();
        let found = self.planner.plan(&handle.id).await;
        let (retry_after, cause, reason) = match found {
            Ok(Some(_)) => {
                group.iter_mut().filter(|(id, _)| asks.contains(id)).for_each(|(_, progress)| progress.alive = true);
                return Ok(());
            }
            Ok(None) => {
                self.freeze(handle, work, FrozenBecause::PlanGone, "404", requested_at).await?;
                (FROZEN_PAUSE, Cause::Settling, FrozenBecause::PlanGone.to_string())
            }
            Err(error) => match error.kind {
                RemoteErrorKind::Forbidden => {
                    self.freeze(handle, work, FrozenBecause::PermissionLost, &error.message, requested_at).await?;
                    (FROZEN_PAUSE, Cause::Settling, error.message)
                }
                RemoteErrorKind::NotNow(pause) => (pause, Cause::Failure, error.message),
                _ => (UNKNOWN_PAUSE, Cause::Failure, error.message),
            },
        };
        for (_, progress) in group.iter_mut().filter(|(id, _)| asks.contains(id)) {
            progress.outcome = Some(Outcome::Pending { retry_after, cause, reason: reason.clone() });
        }
        Ok(())
    }
}
