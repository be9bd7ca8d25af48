//! The steps of a move to another plan, each of which can be repeated.
//!
//! 1. The copy is journalled, together with the row that says what of the original it has, and arrives in Planner.
//! 2. The original is read again, and what is new is carried to the copy, until nothing is new. Then it is deleted, in a
//!    transaction that happens only if nothing is new. What a person changed in the last moment is in the conflict
//!    log, and is carried from there.
//!
//! If the original is deleted by somebody else before that, the copy goes too; if the copy is refused or deleted, the
//! original stays.

use std::sync::Arc;

use super::carry::{Carried, Later, Plans, for_creation, later};
use super::{BACKOFF, Driven, Move, MoveStep};
use crate::crash;
use crate::ids::{TaskId, digest};
use crate::rows::{Expect, RowVersion, StoreError, Write};
use crate::services::Error;
use crate::services::planner::{Planner, known_plan};
use crate::services::workflow::{Next, Run, State, Versioned};
use crate::sync::field_value::field_values;
use crate::sync::journal::{self, Edit};
use crate::sync::model::{
    ConflictKind, ConflictRecord, Disputed, Field, FieldValue, OfField, PlanRecord, Restored, Side, TaskFields,
    TaskRecord,
};
use crate::sync::{Outcome, PlanHandle, Replica, Step};

/// How often the original is read again before the move waits: somebody keeps changing it.
const ROUNDS: usize = 8;

/// How a step ended.
enum Ended {
    /// It is done, or undone where the run turned back.
    Done,
    /// It is tried again later.
    Waits(String),
    /// It can never be done.
    Back(String),
    /// Another instance has taken over.
    Overtaken,
}

/// A move under way, with its plans.
struct Course<'a> {
    run: &'a mut Versioned<Run<Move>>,
    from: Arc<PlanHandle>,
    to: Arc<PlanHandle>,
}

impl Course<'_> {
    fn work(&self) -> &Move {
        &self.run.record.work
    }

    /// The original, if it is there and not deleted.
    fn original(&self) -> Option<Arc<TaskRecord>> {
        self.from.read().task(&self.work().original).filter(|record| !record.deleted).cloned()
    }

    /// The copy, if it is there and not deleted.
    fn copy(&self) -> Option<Arc<TaskRecord>> {
        self.to.read().task(&self.work().copy).filter(|record| !record.deleted).cloned()
    }

    fn plans(&self) -> Result<(Arc<PlanRecord>, Arc<PlanRecord>), Error> {
        Ok((known_plan(self.from.plan())?, known_plan(self.to.plan())?))
    }

    /// An original's fields in the words of the copy's plan.
    fn translated(&self, fields: &TaskFields) -> Result<TaskFields, Error> {
        let (from, to) = self.plans()?;
        Ok(Plans { from: &from, to: &to }.translated(fields, self.work().bucket.as_ref()))
    }

    /// What the copy has of the original; an earlier move of the task may have left a row about another copy.
    async fn carried(&self) -> Result<Option<(Carried, RowVersion)>, StoreError> {
        let row = self.to.row(&Carried::row(&self.work().original)).await?;
        let row = row.map(|row| Ok::<_, StoreError>((row.decode::<Carried>()?, row.version))).transpose()?;
        Ok(row.filter(|(carried, _)| carried.copy == self.work().copy))
    }
}

impl Planner {
    /// Works on a move until it has ended or has to wait.
    ///
    /// # Errors
    /// When the store fails; another call or the timer continues.
    pub(super) async fn drive(&self, run: &mut Versioned<Run<Move>>) -> Result<Driven, Error> {
        let from = self.catalog.handle_of(&run.record.work.from).await?;
        let to = self.catalog.handle_of(&run.record.work.to).await?;
        from.ensure_current().await?;
        to.ensure_current().await?;
        let mut course = Course { run, from, to };
        loop {
            let next = course.work().next();
            let ended = match next {
                Next::Done | Next::TakenBack => {
                    let fine = self.moves.runs.end(course.run).await?;
                    crash::point("move.ended");
                    return Ok(if fine { Driven::Ended } else { Driven::Held });
                }
                Next::Attempt(MoveStep::Copy) => self.make_copy(&mut course).await,
                Next::Attempt(MoveStep::Delete) => self.remove_original(&mut course).await,
                Next::Compensate(MoveStep::Copy) => self.take_copy_back(&course).await,
                Next::Compensate(MoveStep::Delete) => Ok(Ended::Done), // an original that is deleted comes back by no step of ours
            };
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) => {
                    // Best effort: the store may be what failed, and then the lease runs out.
                    let backoff = BACKOFF.at_least(error.retry_after);
                    let _ = self.moves.runs.put_off(course.run, backoff, &error.message).await;
                    return Err(error);
                }
            };
            let run = &mut course.run.record;
            match (ended, next) {
                (Ended::Done, Next::Attempt(step)) => {
                    run.work.steps.done(step, ());
                    run.claim.succeed();
                }
                (Ended::Done, _) => run.work.steps.compensated(),
                (Ended::Back(reason), _) => {
                    run.work.steps.turn_back();
                    run.claim.reason = Some(reason);
                }
                (Ended::Waits(reason), _) => {
                    self.moves.runs.put_off(course.run, BACKOFF, &reason).await?;
                    self.remember(&course.from).await;
                    return Ok(Driven::Waits(reason));
                }
                (Ended::Overtaken, _) => return Ok(Driven::Held),
            }
            if !self.moves.runs.note(course.run).await? {
                return Ok(Driven::Held);
            }
        }
    }

    fn edit_of_move(&self, run: &Versioned<Run<Move>>) -> Edit {
        let at = self.now();
        Edit { operation: self.entropy.ulid(at), at, by: run.record.by.clone(), rows: Vec::new() }
    }

    /// Notes that a step is about to take effect; `false` when another instance has taken over.
    async fn attempt(&self, course: &mut Course<'_>, step: MoveStep) -> Result<bool, Error> {
        course.run.record.work.steps.attempt(step, ());
        Ok(self.moves.runs.note(course.run).await?)
    }

    async fn make_copy(&self, course: &mut Course<'_>) -> Result<Ended, Error> {
        let (original, copy) = (course.work().original.clone(), course.work().copy.clone());
        if course.carried().await?.is_none() {
            let Some(record) = course.original() else { return Ok(Ended::Back(deleted(&original))) };
            if !self.attempt(course, MoveStep::Copy).await? {
                return Ok(Ended::Overtaken);
            }
            let carried = Carried::of(&record, &copy);
            let fields = for_creation(course.translated(&carried.fields)?);
            let key = Carried::row(&original);
            let before = course.to.row(&key).await?.map_or(Expect::Absent, |row| Expect::Version(row.version));
            let row = Write::put(key, before, &carried)?;
            let edit = self.edit_of_move(course.run);
            let made = course
                .to
                .transact(|_| {
                    let mut step = journal::create(copy.clone(), fields.clone(), edit.clone());
                    step.rows.push(row.clone());
                    Ok::<_, StoreError>((step, ()))
                })
                .await;
            match made {
                Ok(()) => {}
                Err(error) if error.is_conflict() => return Ok(Ended::Overtaken),
                Err(error) => return Err(error.into()),
            }
        }
        crash::point("move.copied");
        self.arrive(&course.to, &copy).await.map(|arrived| match arrived {
            Ended::Done if course.copy().is_none() => Ended::Back(gone(&copy)),
            arrived => arrived,
        })
    }

    /// Has a task pushed.
    async fn arrive(&self, handle: &Arc<PlanHandle>, id: &TaskId) -> Result<Ended, Error> {
        if handle.read().task(id).is_none_or(|record| !record.is_dirty()) {
            return Ok(Ended::Done);
        }
        Ok(match self.push(handle, id).await {
            Some(Outcome::Synced { .. }) => Ended::Done,
            Some(Outcome::Pending { reason, .. }) => Ended::Waits(reason),
            Some(Outcome::Failed { reason, .. }) => Ended::Back(reason),
            None => Ended::Waits("Planner has not answered yet".to_owned()),
        })
    }

    async fn remove_original(&self, course: &mut Course<'_>) -> Result<Ended, Error> {
        let id = course.work().original.clone();
        for _ in 0..ROUNDS {
            course.from.ensure_current().await?;
            if course.original().is_none() {
                return self.follow_deletion(course).await;
            }
            if let Err(error) = self.read_original(course).await {
                return Ok(Ended::Waits(error.message));
            }
            let Some(record) = course.original() else { continue };
            let Some((carried, version)) = course.carried().await? else {
                return Ok(Ended::Waits("what was copied is not known".to_owned()));
            };
            if !carried.is_all_of(&record) {
                let next = Carried::of(&record, &carried.copy);
                match self.carry(course, &carried, &version, &next).await? {
                    Ended::Done => continue,
                    ended => return Ok(ended),
                }
            }
            course.to.ensure_current().await?;
            if course.copy().is_none() {
                return Ok(Ended::Back(gone(&carried.copy)));
            }
            if !self.attempt(course, MoveStep::Delete).await? {
                return Ok(Ended::Overtaken);
            }
            crash::point("move.removing");
            let edit = self.edit_of_move(course.run);
            course
                .from
                .transact(|replica: &Replica| {
                    let unchanged = replica.task(&id).filter(|record| carried.is_all_of(record));
                    let step = unchanged.map(|record| journal::delete(record, edit.clone()));
                    Ok::<_, StoreError>((step.unwrap_or_default(), ()))
                })
                .await?;
            // If it was changed in the last moment it is still there, and the next round carries the change.
        }
        Ok(Ended::Waits(format!("the original `{id}` keeps changing")))
    }

    /// Reads the original as it is in Planner now.
    async fn read_original(&self, course: &Course<'_>) -> Result<(), Error> {
        let now = self.now();
        self.engine.refresh(&course.from, now).await?;
        self.engine.refresh_details(&course.from, &course.work().original, now).await?;
        Ok(())
    }

    /// The original is deleted or gone: by this move, or by somebody else.
    async fn follow_deletion(&self, course: &mut Course<'_>) -> Result<Ended, Error> {
        let id = course.work().original.clone();
        if course.work().steps.state(&MoveStep::Delete) == State::Ahead {
            return Ok(Ended::Back(deleted(&id)));
        }
        match self.arrive(&course.from, &id).await? {
            Ended::Done => {}
            // It may not be deleted now, so it is there again: the move continues when it may.
            Ended::Back(reason) => return Ok(Ended::Waits(reason)),
            ended => return Ok(ended),
        }
        crash::point("move.removed");
        if course.original().is_some() {
            return Ok(Ended::Waits(format!("the original `{id}` is there again")));
        }
        for conflict in course.from.conflicts().await? {
            let last_moment = conflict.task == id
                && conflict.kind == ConflictKind::DeletedWhileEdited
                && conflict.winner == Side::Agent
                && conflict.restored.is_none()
                && conflict.at >= course.run.record.begun_at;
            if last_moment
                && let Disputed::Task(sides) = &conflict.disputed
                && let Some(found) = &sides.planner
            {
                match self.carry_from_log(course, &conflict, found.clone()).await? {
                    Ended::Done => {}
                    ended => return Ok(ended),
                }
            }
        }
        Ok(Ended::Done)
    }

    async fn carry_from_log(
        &self,
        course: &mut Course<'_>,
        conflict: &ConflictRecord,
        found: TaskFields,
    ) -> Result<Ended, Error> {
        let Some((carried, version)) = course.carried().await? else { return Ok(Ended::Done) };
        let details = found.details.clone().or_else(|| carried.fields.details.clone());
        let next = Carried { fields: TaskFields { details, ..found }, ..carried.clone() };
        match self.carry(course, &carried, &version, &next).await? {
            Ended::Done => {}
            Ended::Back(_) => return Ok(Ended::Done), // the copy is gone: the value stays in the log
            ended => return Ok(ended),
        }
        let key = format!("c|{}", conflict.id);
        if let Some(row) = course.from.row(&key).await? {
            let edit = self.edit_of_move(course.run);
            let restored = Restored { at: edit.at, by: edit.by, task: course.work().copy.clone() };
            let noted = ConflictRecord { restored: Some(restored), ..conflict.clone() };
            let write = Write::replace(&key, &row.version, &noted)?;
            let step = || Step { rows: vec![write.clone()], ..Step::default() };
            course.from.transact(|_| Ok::<_, StoreError>((step(), ()))).await?;
        }
        Ok(Ended::Done)
    }

    /// Brings the copy from what was carried to `next`.
    async fn carry(
        &self,
        course: &mut Course<'_>,
        carried: &Carried,
        version: &RowVersion,
        next: &Carried,
    ) -> Result<Ended, Error> {
        let (was, now) = (course.translated(&carried.fields)?, course.translated(&next.fields)?);
        let row = Write::put(Carried::row(&course.work().original), Expect::Version(version.clone()), next)?;
        let (edit, id) = (self.edit_of_move(course.run), carried.copy.clone());
        let written = course
            .to
            .transact(|replica: &Replica| {
                let Some(copy) = replica.task(&id).filter(|copy| !copy.deleted) else {
                    return Ok((Step::default(), false));
                };
                let Later { set, clashes } = later(&was, &now, &copy.fields);
                let mut step = journal::update(copy, &set, edit.clone()).unwrap_or_default();
                step.conflicts.extend(clashes.into_iter().map(|(field, sides)| ConflictRecord {
                    id: conflict_id(&id, &field, &edit),
                    task: id.clone(),
                    title: copy.fields.title.clone(),
                    kind: ConflictKind::BothChanged,
                    disputed: Disputed::Field(field, Box::new(sides)),
                    winner: Side::Planner,
                    reason: "the task was changed in its former plan while it was moved, and in its new one".into(),
                    at: edit.at,
                    restored: None,
                }));
                step.rows.push(row.clone());
                Ok::<_, StoreError>((step, true))
            })
            .await;
        match written {
            Ok(true) => {}
            Ok(false) => return Ok(Ended::Back(gone(&id))),
            Err(error) if error.is_conflict() => return Ok(Ended::Overtaken),
            Err(error) => return Err(error.into()),
        }
        crash::point("move.carried");
        match self.arrive(&course.to, &id).await? {
            // What Planner refuses of a later edit is in the conflict log.
            Ended::Back(_) if course.copy().is_some() => Ok(Ended::Done),
            ended => Ok(ended),
        }
    }

    /// Deletes the copy, unless somebody has worked on it: then it stays.
    async fn take_copy_back(&self, course: &Course<'_>) -> Result<Ended, Error> {
        let Some((carried, _)) = course.carried().await? else { return Ok(Ended::Done) };
        let (made, edit) = (field_values(&course.translated(&carried.fields)?), self.edit_of_move(course.run));
        let deleted = course
            .to
            .transact(|replica: &Replica| {
                // Planner may have taken a part of it alone; what else it has is somebody's work.
                let is_made = |value: &FieldValue| made.get(value.field()) == Some(value);
                let untouched = replica.task(&carried.copy).filter(|copy| !copy.deleted);
                let untouched = untouched.filter(|copy| field_values(&copy.fields).iter().all(is_made));
                let step = untouched.map(|copy| journal::delete(copy, edit.clone()));
                let found = step.is_some();
                Ok::<_, StoreError>((step.unwrap_or_default(), found))
            })
            .await?;
        if deleted {
            let _journalled = self.push(&course.to, &carried.copy).await;
        }
        Ok(Ended::Done)
    }
}

/// Conflict rows sort by time and name their task.
fn conflict_id(task: &TaskId, field: &Field, edit: &Edit) -> String {
    let suffix = digest(&[&edit.operation, &field.to_string()]) & 0xffff_ffff_ffff;
    format!("{:013}-{task}-{suffix:012x}", edit.at.timestamp_millis())
}

fn deleted(original: &TaskId) -> String {
    format!("the original `{original}` was deleted while it was moved, so its copy is deleted too")
}

fn gone(copy: &TaskId) -> String {
    format!("the copy `{copy}` was deleted before the original was, so the original stays")
}
