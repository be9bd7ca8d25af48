//! What a hint from outside causes: the plans of a group are refreshed, and names are read again.

use serde::Serialize;

use super::{Planner, not_found};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::{Call, Identity};
use crate::ids::GroupId;
use crate::services::Error;
use crate::services::graph_error;
use crate::services::planner::catalog::{PlanEntry, is_closed};

/// What refreshing a group's plans came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GroupRefreshed {
    /// Plans compared with Planner.
    pub plans: usize,
    /// Plans that could not be.
    pub failed: usize,
}

impl Planner {
    /// Compares the plans of a group with Planner now. A group that is gone or that nobody here may see has none.
    ///
    /// # Errors
    /// When the group's plans cannot be listed.
    pub async fn refresh_group(&self, group: &GroupId) -> Result<GroupRefreshed, Error> {
        self.directory.forget_group(group).await?;
        if !self.catalog.serves_group(group) {
            return Ok(GroupRefreshed::default());
        }
        let mut listed = match self.graph.list_group_plans(&Call::background(Identity::Application), group).await {
            Ok(listed) => listed,
            Err(error) if is_closed(&error) => Vec::new(),
            Err(error) => return Err(graph_error(error)),
        };
        listed.retain(|plan| self.catalog.allows(&plan.id));
        let listing = self.catalog.all(false).await?;
        let known = listing.plans.iter().filter(|plan| plan.group.as_ref() == Some(group)).count();
        if known != listed.len() || !listed.iter().all(|plan| listing.plans.iter().any(|known| known.id == plan.id)) {
            self.catalog.forget_group(group); // plans have come or gone
        }
        let mut refreshed = GroupRefreshed::default();
        for plan in listed {
            let entry = PlanEntry { id: plan.id, title: plan.title, group: Some(group.clone()), group_name: None };
            let handle = self.catalog.handle(&entry).await?;
            let fine = self.reconcile(handle).await;
            (refreshed.plans, refreshed.failed) =
                (refreshed.plans + usize::from(fine), refreshed.failed + usize::from(!fine));
        }
        Ok(refreshed)
    }

    /// Makes the next question about people and groups ask the directory.
    pub fn forget_names(&self) {
        self.directory.people.forget_everybody();
        self.catalog.forget();
    }

    /// Id and name of the one group an id or a name means.
    ///
    /// # Errors
    /// When there is none, or several are meant.
    pub async fn find_group(&self, text: &str) -> Result<(String, String), Error> {
        let id = self.group(&Caller::local(), text).await?;
        let group = self.graph.get_group(&Call::interactive(Identity::Application), &id).await.map_err(graph_error)?;
        let group = group.ok_or_else(|| not_found(ErrorCode::TeamNotFound, "group", text, std::iter::empty()))?;
        Ok((group.id.to_string(), group.display_name))
    }
}
