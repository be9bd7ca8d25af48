//! Moving a task: within its plan a change like any other, to another plan a copy and a deletion.
//!
//! Moving to another plan is a run of a [`workflow`](crate::services::workflow), named by the task: so it ends by itself
//! no matter which process dies, one destination wins, and a repeated call gets how it ended. [`steps`] has what it does,
//! [`carry`] what it takes along.

mod carry;
mod steps;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::carry::{Carried, Plans};
use super::input::UpdateTask;
use super::task::Found;
use super::view::{SyncOutcome, TaskReceipt};
use super::words::Status;
use super::{Freshness, Planner, known_plan};
use crate::auth::{Caller, PlanScope};
use crate::clock::Clock;
use crate::crash;
use crate::error::ErrorCode;
use crate::ids::{BucketId, Entropy, PlanId, TaskId};
use crate::rows::{Expect, TenantTables, Write};
use crate::services::Error;
use crate::services::workflow::{Backoff, Next, Run, Runs, Steps, Taken};
use crate::sync::{Outcome, PlanHandle, Step, lease};

/// Leases of a plan that one of a move is long: a step may wait for several calls.
const LEASES: i32 = 3;
/// When a move that waits is tried again by itself.
const BACKOFF: Backoff = Backoff::new(TimeDelta::seconds(2), TimeDelta::minutes(5));
/// How long a call that finds another one at the same move sleeps before it checks again.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often moves that ended long ago are swept.
const SWEEP: TimeDelta = TimeDelta::hours(1);

/// A move to another plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    original: TaskId,
    from: PlanId,
    to: PlanId,
    /// Where it goes; a plan may have no bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<BucketId>,
    copy: TaskId,
    #[serde(default)]
    steps: Steps<MoveStep>,
}

/// The steps of a move; see [`steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MoveStep {
    /// Makes the copy.
    Copy,
    /// Deletes the original.
    Delete,
}

impl Move {
    fn next(&self) -> Next<MoveStep> {
        self.steps.next(&[MoveStep::Copy, MoveStep::Delete])
    }
}

/// The moves of the deployment.
pub(super) struct Moves {
    runs: Runs<Move>,
    swept_at: Mutex<Option<DateTime<Utc>>>,
}

impl Moves {
    pub(super) fn new(tables: &TenantTables, clock: Clock, entropy: Entropy) -> Self {
        let kind = ("move", lease::length() * LEASES);
        Self { runs: Runs::new(tables, clock, entropy, kind), swept_at: Mutex::default() }
    }
}

/// What came of working on a move.
enum Driven {
    /// It has ended: its row says how.
    Ended,
    /// It continues by itself later.
    Waits(String),
    /// Somebody else is at it.
    Held,
}

impl Planner {
    /// Moves a task to another bucket of its plan, or to another plan: there it is created again, with everything
    /// Planner lets an application copy, and the original is deleted once the copy has arrived and has every later edit.
    ///
    /// # Errors
    /// As [`Self::update_task`]; when the copy is refused the original stays.
    pub async fn move_task(
        &self,
        caller: &Caller,
        id: &str,
        bucket: Option<&str>,
        plan: Option<&str>,
    ) -> Result<TaskReceipt, Error> {
        let target = match plan {
            Some(plan) => Some(self.catalog.resolve(&caller.plan_scope, Some(plan)).await?),
            None => None,
        };
        if let Some(target) = &target
            && let Ok(original) = TaskId::parse(id.trim())
            && let Some(run) = self.moves.runs.read(original.as_str()).await?
            && run.work.to == target.id
            && (run.ended_at.is_none() || self.has_moved(&run).await?)
        {
            // The call is repeated. A caller that may not touch the original's plan must not learn of it.
            let from = self.catalog.handle_of(&run.work.from).await?;
            if self.catalog.within(&caller.plan_scope, from).await?.is_some() {
                return self.finish_move(run, target).await;
            }
        }
        let found = self.find(caller, id, Freshness::Usual).await?;
        match target.filter(|target| target.id != found.handle.id) {
            Some(target) => self.move_to_plan(caller, &found, &target, bucket).await,
            None => {
                let Some(bucket) = bucket else {
                    return Err(
                        Error::invalid("`bucket_id` is missing").hint("name the bucket, or another plan in `plan_id`")
                    );
                };
                let input = UpdateTask {
                    task_id: found.record.id.to_string(),
                    bucket_id: Some(bucket.to_owned()),
                    ..UpdateTask::default()
                };
                self.update_task(caller, &input).await
            }
        }
    }

    async fn move_to_plan(
        &self,
        caller: &Caller,
        found: &Found,
        target: &Arc<PlanHandle>,
        bucket: Option<&str>,
    ) -> Result<TaskReceipt, Error> {
        let id = &found.record.id;
        let age = Freshness::Usual.age(self.settings.max_age);
        if let Err(error) = self.engine.refresh_details(&found.handle, id, self.now() - age).await
            && found.record.fields.details.is_none()
        {
            return Err(error.into());
        }
        let (_, plan) = self.for_write(caller, Some(target.id.as_str())).await?;
        let plan = self.plan_with(target, plan, bucket, None).await?;
        let bucket = match bucket {
            Some(text) => Some(self.bucket(&caller.plan_scope, &plan, text)?),
            None => plan.buckets.first().map(|bucket| bucket.id.clone()),
        };
        let work = Move {
            original: id.clone(),
            from: found.handle.id.clone(),
            to: target.id.clone(),
            bucket,
            copy: TaskId::random(&target.key, &self.entropy),
            steps: Steps::default(),
        };
        // A move that was taken back may be tried again, and so may one whose original is back.
        let begun = self.moves.runs.begin(id.as_str(), work, &caller.name, |_| false).await?;
        match begun {
            Some(mut run) => {
                crash::point("move.begun");
                let driven = self.drive(&mut run).await;
                let driven = driven.map_err(|error| {
                    let error = error.perhaps_changed();
                    error.hint(format!("the move of `{id}` continues by itself; `sync_status` shows it"))
                })?;
                match driven {
                    Driven::Held => self.finish_move(run.record, target).await,
                    driven => self.answer(run.record, target, driven).await,
                }
            }
            None => match self.moves.runs.read(id.as_str()).await? {
                Some(run) if run.work.to == target.id => self.finish_move(run, target).await,
                Some(_) => {
                    let message = format!("task `{id}` is being moved to another plan");
                    Err(Error::new(ErrorCode::Conflict, message)
                        .hint("move it from there once `sync_status` shows no move any more"))
                }
                None => Err(Error::new(ErrorCode::Conflict, "the move has just ended").hint("repeat the call")),
            },
        }
    }

    /// Whether a run has ended with the task in its new plan, and the original is still gone.
    async fn has_moved(&self, run: &Run<Move>) -> Result<bool, Error> {
        let from = self.catalog.handle_of(&run.work.from).await?;
        from.ensure_current().await?;
        let gone = from.read().task(&run.work.original).is_none_or(|record| record.deleted);
        Ok(gone && run.work.next() == Next::Done)
    }

    /// Goes on with a move another call began, and waits for it as long as a write waits.
    async fn finish_move(&self, run: Run<Move>, target: &Arc<PlanHandle>) -> Result<TaskReceipt, Error> {
        let id = run.work.original.clone();
        let until = self.clock.steady() + TimeDelta::from_std(self.settings.write_wait).unwrap_or(TimeDelta::MAX);
        let driven = loop {
            match self.go_on(id.as_str()).await? {
                Driven::Held if self.clock.steady() < until => self.clock.sleep(POLL_INTERVAL).await,
                driven => break driven,
            }
        };
        let run = self.moves.runs.read(id.as_str()).await?.unwrap_or(run);
        self.answer(run, target, driven).await
    }

    async fn go_on(&self, id: &str) -> Result<Driven, Error> {
        match self.moves.runs.take(id).await? {
            Taken::Mine(mut run) => self.drive(&mut run).await,
            Taken::Held => Ok(Driven::Held),
            Taken::Ended | Taken::Absent => Ok(Driven::Ended),
        }
    }

    /// Goes on with every move that waits and is due, of one plan or of all; answers how many have not ended.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn resume_moves(&self, plan: Option<&PlanId>) -> Result<usize, Error> {
        if let Err(error) = self.sweep_moves().await {
            tracing::warn!(%error, "moves that ended long ago cannot be swept");
        }
        let mut open = 0;
        for id in self.moves.runs.open().await? {
            let run = match self.moves.runs.read(&id).await {
                Ok(Some(run)) => run,
                Ok(None) => continue,
                // One that cannot be read must not stop the others.
                Err(error) => {
                    tracing::warn!(task = id, %error, "a move cannot be read");
                    continue;
                }
            };
            if plan.is_some_and(|plan| *plan != run.work.from) {
                continue;
            }
            // Settings may have been narrowed since it was begun.
            if !self.catalog.allows(&run.work.from) || !self.catalog.allows(&run.work.to) {
                continue;
            }
            if self.moves.runs.is_due(&run) {
                match self.go_on(&id).await {
                    Ok(Driven::Ended) => continue,
                    Ok(Driven::Held) => {}
                    Ok(Driven::Waits(reason)) => tracing::debug!(task = id, reason, "a move waits"),
                    Err(error) => tracing::warn!(task = id, %error, "a move cannot continue"),
                }
            }
            open += 1;
        }
        Ok(open)
    }

    /// Forgets moves that ended long ago.
    async fn sweep_moves(&self) -> Result<(), Error> {
        let now = self.now();
        {
            let mut swept_at = self.moves.swept_at.lock();
            if swept_at.is_some_and(|at| now - at < SWEEP) {
                return Ok(());
            }
            *swept_at = Some(now);
        }
        for run in self.moves.runs.sweep().await? {
            let target = self.catalog.handle_of(&run.work.to).await?;
            let row = Write::delete(Carried::row(&run.work.original), Expect::Anything);
            target.transact(|_| Ok::<_, Error>((Step { rows: vec![row.clone()], ..Step::default() }, ()))).await?;
        }
        Ok(())
    }

    /// The moves that have not ended, by the plan they begin in, with the time each was begun.
    pub(super) async fn open_moves(&self) -> Result<HashMap<PlanId, Vec<DateTime<Utc>>>, Error> {
        let mut moves: HashMap<PlanId, Vec<DateTime<Utc>>> = HashMap::new();
        for id in self.moves.runs.open().await? {
            if let Some(run) = self.moves.runs.read(&id).await?.filter(|run| run.ended_at.is_none()) {
                moves.entry(run.work.from).or_default().push(run.begun_at);
            }
        }
        Ok(moves)
    }

    /// Where a task that is not there any more was moved to, if it was and the caller may know.
    pub(super) async fn moved_to(&self, plan_scope: &PlanScope, id: &TaskId) -> Option<TaskId> {
        let run = self.moves.runs.read(id.as_str()).await.ok()??;
        let target = self.catalog.handle_of(&run.work.to).await.ok()?;
        self.catalog.within(plan_scope, target).await.ok()??;
        (run.work.next() != Next::TakenBack).then_some(run.work.copy)
    }

    async fn answer(&self, run: Run<Move>, target: &Arc<PlanHandle>, driven: Driven) -> Result<TaskReceipt, Error> {
        let Move { original, from, copy, bucket, .. } = &run.work;
        let from = self.catalog.handle_of(from).await?;
        if matches!(driven, Driven::Ended) && run.work.next() == Next::TakenBack {
            let reason = run.claim.reason.unwrap_or_else(|| "Planner refused the copy".to_owned());
            let stays = from.read().task(original).is_some_and(|record| !record.deleted);
            return Err(if stays {
                Error::new(ErrorCode::GraphRefused, format!("the move was taken back: {reason}"))
                    .hint("correct what Planner refuses, then repeat the call")
            } else {
                Error::new(ErrorCode::TaskNotFound, format!("the move was taken back: {reason}"))
                    .hint("find the task with `query_tasks`")
            });
        }
        target.ensure_current().await?;
        let waits = match driven {
            Driven::Waits(reason) => Some(reason),
            Driven::Held => Some("another call is at it".to_owned()),
            Driven::Ended => None,
        };
        if let Some(reason) = waits {
            let made = target.read().task(copy).cloned(); // the rows of one plan at a time
            let task = made.or_else(|| from.read().task(original).cloned());
            let plan = known_plan(target.plan())?;
            let fields = task.as_ref().map(|record| &record.fields);
            return Ok(TaskReceipt {
                id: copy.to_string(),
                planner_id: target.read().task(copy).and_then(|copy| copy.planner_id().map(ToString::to_string)),
                title: fields.map(|fields| fields.title.clone()).unwrap_or_default(),
                bucket: plan
                    .buckets
                    .iter()
                    .find(|known| Some(&known.id) == bucket.as_ref())
                    .map(|known| known.name.clone()),
                status: Status::of(fields.map_or(0, |fields| fields.percent_complete)).word().to_owned(),
                sync: SyncOutcome::Pending,
                note: Some(format!(
                    "the move continues by itself: the original `{original}` is deleted once its copy has everything ({reason})"
                )),
            });
        }
        let mut receipt = Self::receipt(target, copy, Some(Outcome::Synced { overruled: 0 }))?;
        let mut notes =
            vec![format!("moved from task `{original}`; Planner gives a moved task a new id and creation time")];
        if let Some(row) = target.row(&Carried::row(original)).await? {
            let (left, right) = (known_plan(from.plan()), known_plan(target.plan())?);
            let carried: Carried = row.decode()?;
            let lost = left.map(|left| Plans { from: &left, to: &right }.left_behind(&carried.fields));
            if let Ok(lost) = lost
                && !lost.is_empty()
            {
                notes.push(format!("labels the target plan does not have were left behind: {}", lost.join(", ")));
            }
        }
        receipt.note = Some(notes.join("; "));
        Ok(receipt)
    }
}
