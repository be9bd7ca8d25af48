//! Tasks that no replica knows, by Planner's id: which plan they are of.

use std::collections::BTreeSet;

use super::Planner;
use crate::auth::Caller;
use crate::graph::Call;
use crate::ids::{PlanId, PlannerTaskId};
use crate::services::directory::Recent;
use crate::services::{Error, graph_error};

/// The plans of Planner's task ids that were asked for lately; `None` where there is no such task.
pub(super) type UnknownTasks = Recent<PlannerTaskId, Option<PlanId>>;

impl Planner {
    /// The plan of a task that no replica knows, by Planner's id; `None` where there is no such task.
    ///
    /// # Errors
    /// When the caller's budget is used up, or Graph cannot be asked.
    pub(super) async fn plan_of_unknown_task(
        &self,
        caller: &Caller,
        id: &PlannerTaskId,
    ) -> Result<Option<PlanId>, Error> {
        if let Some(known) = self.unknown_tasks.recall(id, self.clock.steady()) {
            return Ok(known);
        }
        self.directory.budget.spend(caller, 1)?;
        let found = self.graph.get_task(&Call::interactive(caller.identity.clone()), id).await;
        let plan = found.map_err(graph_error)?.map(|task| task.plan_id);
        self.unknown_tasks.note(id.clone(), plan.clone(), self.clock.steady());
        Ok(plan)
    }

    /// Asks for many tasks that no replica knows at once, so that [`Self::plan_of_unknown_task`] knows them.
    ///
    /// # Errors
    /// When the caller's budget is used up.
    pub(super) async fn meet_tasks(&self, caller: &Caller, ids: &[String]) -> Result<(), Error> {
        let handles = self.catalog.handles();
        let is_new = |id: &PlannerTaskId| {
            self.unknown_tasks.recall(id, self.clock.steady()).is_none()
                && !handles.iter().any(|handle| handle.id_of(id).is_some())
        };
        let new: BTreeSet<PlannerTaskId> =
            ids.iter().filter_map(|id| PlannerTaskId::parse(id.trim()).ok()).filter(is_new).collect();
        let new: Vec<PlannerTaskId> = new.into_iter().collect();
        if new.len() < 2 {
            return Ok(());
        }
        self.directory.budget.spend(caller, new.len())?;
        let found = self.graph.batch_get_tasks(&Call::interactive(caller.identity.clone()), &new, &|_| ()).await;
        for (id, answer) in new.into_iter().zip(found) {
            // One that could not be asked for is asked for by itself.
            if let Ok(task) = answer {
                self.unknown_tasks.note(id, task.map(|task| task.plan_id), self.clock.steady());
            }
        }
        Ok(())
    }
}
