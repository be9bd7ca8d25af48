//! Questions over several plans: answered in a bounded time from what is known of each, however many there are.
//!
//! Planner is asked about many plans at once, and waited for as if it were one question. What it has not answered by then
//! goes on being asked; the answer says how many plans it shows as they were, and how many are missing.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;

use super::background::PATIENCE;
use super::words::print_time;
use super::{Freshness, Planner};
use crate::error::ErrorCode;
use crate::services::Error;
use crate::sync::PlanHandle;

/// Plans asked about at once.
const PARALLEL: usize = 32;
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
    /// Makes plans answerable.
    ///
    /// # Errors
    /// When none of them is.
    pub(super) async fn ready_all(
        &self,
        handles: Vec<Arc<PlanHandle>>,
        freshness: Freshness,
    ) -> Result<Several, Error> {
        if let [handle] = handles.as_slice() {
            let notes = self.ready(handle, freshness).await?.into_iter().collect();
            return Ok(Several { handles, missing: 0, gone: None, notes });
        }
        let now = self.clock.steady();
        let after = |wait: Duration| now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        let deadlines = Deadlines { known: after(PATIENCE), unknown: after(LONGEST_WAIT) };
        let mut questions = Vec::with_capacity(handles.len());
        for handle in &handles {
            questions.push(Box::pin(self.ready_until(handle, freshness, Some(deadlines))));
        }
        let answers: Vec<_> = futures::stream::iter(questions).buffered(PARALLEL).collect().await;
        let (mut known, mut told, mut failed) = (Vec::with_capacity(handles.len()), Vec::new(), Vec::new());
        let mut gone = None;
        for (handle, answer) in handles.into_iter().zip(answers) {
            match answer {
                Ok(note) => {
                    told.extend(note.map(|note| (handle.clone(), note)));
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
        let notes = old(&told, known.len()).into_iter().chain(absent(&failed)).collect();
        Ok(Several { handles: known, missing: failed.len(), gone, notes })
    }
}

/// What is said of plans that are shown otherwise than Planner has them.
fn old(told: &[(Arc<PlanHandle>, String)], of: usize) -> Option<String> {
    let (first, why) = told.first()?;
    let title = |handle: &PlanHandle| handle.read().plan.as_ref().map(|plan| format!("`{}`", plan.title));
    if told.len() == 1 {
        return Some(format!("plan {}: {why}", title(first).unwrap_or_default()));
    }
    let oldest = told.iter().filter_map(|(handle, _)| handle.as_of()).min().map(print_time);
    let since = oldest.map_or_else(String::new, |oldest| format!(", the oldest as of {oldest}"));
    let names: Vec<String> = told.iter().filter_map(|(handle, _)| title(handle)).take(NAMED).collect();
    Some(format!("{} of {of} plans are not fresh{since}; such as {}: {why}", told.len(), names.join(", ")))
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
