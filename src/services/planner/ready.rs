//! Making plans answerable: refreshed when they are too old, and waited for no longer than an answer is worth.
//!
//! Planner is asked about several plans at once, and waited for as if it were one question. What it has not answered by then
//! is still asked; the answer says how many plans it shows as they were, and how many are missing.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::future::join;

use super::background::PATIENCE;
use super::{Freshness, Planner};
use crate::auth::PlanScope;
use crate::error::ErrorCode;
use crate::ids::TaskId;
use crate::services::Error;
use crate::services::print_time;
use crate::sync::{PlanHandle, RefreshError, Refreshed};

/// How far ahead of ours the clock of another instance may be.
const AHEAD: TimeDelta = TimeDelta::minutes(1);
/// Plans asked about at once.
const PARALLEL: usize = 32;
/// How long Planner is waited for where all that is asked about is known, from when the question began: which plans there
/// are is found out in the same time.
const KNOWN_WAIT: Duration = Duration::from_secs(1);
/// How long Planner is waited for where nothing is known of a plan, or its own state is asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// So many plans are named in a note.
const NAMED: usize = 3;

/// Until when Planner is waited for, by the steady clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// Where something is known of the plan.
    pub known: DateTime<Utc>,
    /// Where nothing is, or what is known is not wanted.
    pub unknown: DateTime<Utc>,
}

/// The plans that a question can be answered of.
pub(super) struct Several {
    /// Those of which something is known.
    pub handles: Vec<Arc<PlanHandle>>,
    /// How many others there are.
    pub missing: usize,
    /// What is said of the first that is gone.
    pub gone: Option<Error>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

impl Planner {
    /// Makes a plan's replica answerable; returns a note when it is older than asked for because Planner did not answer.
    ///
    /// # Errors
    /// When the plan is gone, or Planner does not answer and nothing is known of the plan yet.
    pub(super) async fn ready(&self, handle: &Arc<PlanHandle>, freshness: Freshness) -> Result<Option<String>, Error> {
        let note = self.ready_until(handle, freshness, None).await?;
        handle.note_asked_for();
        Ok(note)
    }

    /// As [`Self::ready`], for one of several plans, which must be answered in time together.
    ///
    /// # Errors
    /// As [`Self::ready`], and when time ran out and nothing is known of the plan yet.
    async fn ready_until(
        &self,
        handle: &Arc<PlanHandle>,
        freshness: Freshness,
        deadlines: Option<Deadlines>,
    ) -> Result<Option<String>, Error> {
        handle.ensure_current().await?;
        let now = self.clock.now();
        self.note_use(handle).await;
        let oldest = now - freshness.age(self.settings.max_age);
        let first = handle.as_of().is_none();
        // An instant that has yet to come was noted before the machine's time was set back, and says nothing.
        if handle.as_of().is_some_and(|as_of| (oldest..=now + AHEAD).contains(&as_of)) {
            self.lookups.hit();
            return Ok(None);
        }
        self.lookups.miss();
        if freshness == Freshness::Now {
            self.engine.forget_plan(&handle.id); // title, buckets and labels are part of the answer
        }
        // What is known is answered soon; only where nothing is, or Planner's own state is asked for, is Planner waited for.
        let known = handle.plan().is_some() && freshness != Freshness::Now;
        let left = |until: DateTime<Utc>| (until - self.clock.steady()).to_std().unwrap_or_default();
        let patience = match self.last_errors.of(&handle.id) {
            Some(_) if known => Duration::ZERO,
            _ => deadlines.map_or(PATIENCE, |deadlines| left(deadlines.known).min(PATIENCE)),
        };
        let refreshed = match deadlines {
            _ if known => self.refresh_since(handle, oldest, patience).await,
            Some(deadlines) => self.refresh_since(handle, oldest, left(deadlines.unknown)).await,
            None => Some(self.start_refresh(handle, oldest).await),
        };
        if first {
            self.pusher.resume(handle); // what a former process left behind
        }
        self.meet_members(handle, patience).await;
        let Some(refreshed) = refreshed else {
            let why = self.last_errors.of(&handle.id).unwrap_or_else(|| "it has not answered yet".to_owned());
            if handle.plan().is_none() {
                return Err(Error::new(ErrorCode::GraphUnreachable, format!("Planner could not be asked ({why})")));
            }
            return Ok(Some(format!("Planner could not be asked ({why}): this is the replica's last state")));
        };
        match refreshed {
            Ok(refreshed) if refreshed.held_back > 0 => {
                let guard = handle.read().state.guard.as_ref().map(ToString::to_string).unwrap_or_default();
                Ok(Some(format!("{guard}; that is not followed until somebody confirms it")))
            }
            Ok(_) => Ok(None),
            Err(RefreshError::PlanGone) => {
                self.catalog.drop_plan(&handle.id);
                Err(RefreshError::PlanGone.into())
            }
            Err(error) if handle.plan().is_some() => {
                tracing::warn!(plan = %handle.id, %error, "a plan cannot be refreshed");
                let error = Error::from(error);
                Ok(Some(format!("Planner could not be asked ({}): this is the replica's last state", error.message)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Has a plan refreshed unless that was done since `oldest`; `None` while Planner has yet to answer.
    pub(super) async fn refresh_since(
        &self,
        handle: &Arc<PlanHandle>,
        oldest: DateTime<Utc>,
        patience: Duration,
    ) -> Option<Result<Refreshed, RefreshError>> {
        let answer = self.join_refresh(handle, oldest, patience).await;
        if matches!(answer, Some(Ok(_))) && handle.as_of().is_none_or(|as_of| as_of < oldest) {
            return self.join_refresh(handle, oldest, patience).await; // that was the answer to an earlier question
        }
        answer
    }

    /// As [`Self::refresh_since`], or joins the refresh that is under way.
    async fn join_refresh(
        &self,
        handle: &Arc<PlanHandle>,
        oldest: DateTime<Utc>,
        patience: Duration,
    ) -> Option<Result<Refreshed, RefreshError>> {
        self.refreshing.ask(handle.id.clone(), patience, || self.start_refresh(handle, oldest)).await
    }

    /// Refreshes a plan, and notes whether that went well.
    fn start_refresh(
        &self,
        handle: &Arc<PlanHandle>,
        oldest: DateTime<Utc>,
    ) -> impl Future<Output = Result<Refreshed, RefreshError>> + Send + use<> {
        let (engine, last_errors, handle) = (self.engine.clone(), self.last_errors.clone(), handle.clone());
        async move {
            let refreshed = engine.refresh(&handle, oldest).await;
            last_errors.note(&handle.id, &refreshed);
            refreshed
        }
    }

    /// Has a task's details read unless that was done since `not_before`; `None` while Planner has yet to answer.
    pub(super) async fn refresh_details(
        &self,
        handle: &Arc<PlanHandle>,
        id: &TaskId,
        not_before: DateTime<Utc>,
        patience: Duration,
    ) -> Option<Result<(), RefreshError>> {
        let question = || {
            let (engine, handle, id) = (self.engine.clone(), handle.clone(), id.clone());
            async move { engine.refresh_details(&handle, &id, not_before).await }
        };
        self.reading.ask(id.clone(), patience, question).await
    }

    /// Makes sure that the members of a plan's group are known by name.
    pub(super) async fn meet_members(&self, handle: &PlanHandle, patience: Duration) {
        let group = handle.plan().and_then(|plan| plan.group.clone());
        if let Some(group) = group.filter(|group| !self.directory.people.has_met_group(group)) {
            let directory = self.directory.clone();
            let question = || {
                let group = group.clone();
                async move { directory.people.meet_group(&group).await }
            };
            self.meeting.ask(group.clone(), patience, question).await;
        }
    }

    /// All plans within a caller's scope of plans, and a note where Planner has not listed them as lately as it should have. While it
    /// lists them, those that are stored are read from the store.
    ///
    /// # Errors
    /// When there is no list yet and Planner does not answer, or the store fails.
    pub(super) async fn every_plan(
        &self,
        plan_scope: &PlanScope,
    ) -> Result<(Vec<Arc<PlanHandle>>, Option<String>), Error> {
        let listing = Box::pin(self.catalog.list_soon(plan_scope));
        let (listing, stored) = join(listing, Box::pin(self.read_stored(plan_scope))).await;
        if let Err(error) = stored {
            tracing::warn!(%error, "stored plans could not be read beforehand");
        }
        let listing = listing?;
        let note = self
            .catalog
            .why_old(&listing)
            .map(|why| format!("which plans there are is as of {}: {why}", print_time(listing.as_of)));
        Ok((self.catalog.handles_of(&listing).await?, note))
    }

    /// Reads the plans that are stored and not yet in memory.
    async fn read_stored(&self, plan_scope: &PlanScope) -> Result<(), Error> {
        let mut reads = Vec::new();
        for handle in self.catalog.kept(plan_scope).await?.into_iter().filter(|handle| !handle.is_loaded()) {
            reads.push(async move { handle.ensure_current().await });
        }
        // One that cannot be read says so where it is asked for.
        let _: Vec<_> = futures::stream::iter(reads).buffer_unordered(PARALLEL).collect().await;
        Ok(())
    }

    /// Makes plans answerable. What is known is answered soon after the question `began`, by the steady clock.
    ///
    /// # Errors
    /// When none of them is.
    pub(super) async fn ready_all(
        &self,
        handles: Vec<Arc<PlanHandle>>,
        freshness: Freshness,
        began: DateTime<Utc>,
    ) -> Result<Several, Error> {
        if let [handle] = handles.as_slice() {
            let notes = self.ready(handle, freshness).await?.into_iter().collect();
            return Ok(Several { handles, missing: 0, gone: None, notes });
        }
        let after = |at: DateTime<Utc>, wait: Duration| at + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        let unknown = after(self.clock.steady(), LONGEST_WAIT);
        let deadlines = Deadlines { known: after(began, KNOWN_WAIT), unknown };
        let mut questions = Vec::with_capacity(handles.len());
        for handle in &handles {
            questions.push(Box::pin(self.ready_until(handle, freshness, Some(deadlines))));
        }
        let answers: Vec<_> = futures::stream::iter(questions).buffered(PARALLEL).collect().await;
        let (mut known, mut stale, mut failed) = (Vec::with_capacity(handles.len()), Vec::new(), Vec::new());
        let mut gone = None;
        for (handle, answer) in handles.into_iter().zip(answers) {
            match answer {
                Ok(note) => {
                    stale.extend(note.map(|note| (handle.clone(), note)));
                    known.push(handle);
                }
                Err(error) if error.code == ErrorCode::PlanNotFound => drop(gone.get_or_insert(error)),
                Err(error) => failed.push((handle, error)),
            }
        }
        if let Some((_, error)) = failed.first()
            && known.is_empty()
        {
            return Err(error.clone());
        }
        let notes = old(&stale, known.len()).into_iter().chain(absent(&failed)).collect();
        Ok(Several { handles: known, missing: failed.len(), gone, notes })
    }
}

/// What is said of plans that are shown otherwise than Planner has them.
fn old(stale: &[(Arc<PlanHandle>, String)], of: usize) -> Option<String> {
    let (first, why) = stale.first()?;
    let title = |handle: &PlanHandle| handle.plan().map(|plan| format!("`{}`", plan.title));
    if stale.len() == 1 {
        return Some(format!("plan {}: {why}", title(first).unwrap_or_default()));
    }
    let oldest = stale.iter().filter_map(|(handle, _)| handle.as_of()).min().map(print_time);
    let since = oldest.map_or_else(String::new, |oldest| format!(", the oldest as of {oldest}"));
    let names: Vec<String> = stale.iter().filter_map(|(handle, _)| title(handle)).take(NAMED).collect();
    Some(format!("{} of {of} plans are not fresh{since}; such as {}: {why}", stale.len(), names.join(", ")))
}

/// What is said of plans that the answer lacks.
fn absent(failed: &[(Arc<PlanHandle>, Error)]) -> Option<String> {
    let (_, error) = failed.first()?;
    let ids: Vec<String> = failed.iter().take(NAMED).map(|(handle, _)| format!("`{}`", handle.id)).collect();
    Some(format!(
        "{} plan(s) are missing, as nothing is known of them yet, such as {}: {}; repeat the call in a while",
        failed.len(),
        ids.join(", "),
        error.message
    ))
}
