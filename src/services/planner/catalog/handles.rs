//! A handle on each plan that is used, and the key that a plan's task ids begin with.

use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::{Catalog, Listing, PlanEntry};
use crate::auth::PlanScope;
use crate::error::ErrorCode;
use crate::ids::{GroupId, PlanId, PlanKey};
use crate::rows::{Row, StoreError, Write};
use crate::services::Error;
use crate::sync::PlanHandle;

#[derive(Serialize, Deserialize)]
pub(super) struct DirectoryRow {
    plan: PlanId,
    key: PlanKey,
    /// The owning group: whether a deployment limited to groups serves the plan is known without asking Planner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<GroupId>,
}

impl Catalog {
    /// The handles of all plans of a list.
    ///
    /// # Errors
    /// When the store fails, or the deployment does not serve one of them.
    pub(in crate::services::planner) async fn handles_of(
        &self,
        listing: &Listing,
    ) -> Result<Vec<Arc<PlanHandle>>, Error> {
        let mut handles = Vec::with_capacity(listing.plans.len());
        for plan in &listing.plans {
            handles.push(self.handle(plan).await?);
        }
        Ok(handles)
    }

    /// The handle on a plan, if it was ever used in this process.
    pub fn known_handle(&self, id: &PlanId) -> Option<Arc<PlanHandle>> {
        self.handles.read().get(id).cloned()
    }

    /// The handles in use by any caller: for the machinery. What a caller may learn of has passed
    /// [`Self::within`]; all are of plans that the deployment serves.
    #[must_use]
    pub fn handles(&self) -> Vec<Arc<PlanHandle>> {
        self.handles.read().values().cloned().collect()
    }

    /// The handles of all plans that were ever used, by any instance, and that the deployment serves.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn used(&self) -> Result<Vec<Arc<PlanHandle>>, Error> {
        let mut used = Vec::new();
        for row in self.rows.scan_prefix("p|").await? {
            used.extend(self.open_known(row.decode()?).await?);
        }
        let ids = used.iter().map(|handle| handle.id.clone()).collect();
        *self.used.lock() = Some((self.clock.now(), ids));
        Ok(used)
    }

    /// As [`Self::used`], by a list that may be as old as `age`, and by what is used in this process.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn used_lately(&self, age: TimeDelta) -> Result<Vec<Arc<PlanHandle>>, Error> {
        let known = self.used.lock().clone();
        let Some((_, ids)) = known.filter(|(at, _)| self.clock.now() - *at < age) else { return self.used().await };
        let mut used = self.handles();
        used.retain(|handle| self.allows(&handle.id));
        for id in ids {
            if !used.iter().any(|handle| handle.id == id) {
                used.extend(self.served(&id).await?);
            }
        }
        Ok(used)
    }

    /// Forgets a plan that is gone.
    pub fn drop_plan(&self, id: &PlanId) {
        self.handles.write().remove(id);
        self.lists.remove(id);
    }

    /// The handle of a plan of the list.
    ///
    /// # Errors
    /// When the store fails, or the deployment does not serve the plan.
    pub async fn handle(&self, plan: &PlanEntry) -> Result<Arc<PlanHandle>, Error> {
        self.open(&plan.id, plan.group.as_ref())
            .await?
            .ok_or_else(|| Error::new(ErrorCode::PlanNotFound, format!("there is no plan `{}` you may use", plan.id)))
    }

    /// As [`Self::served`], for work on a plan that has begun.
    ///
    /// # Errors
    /// When the store fails, or the deployment does not serve the plan any more.
    pub async fn handle_of(&self, id: &PlanId) -> Result<Arc<PlanHandle>, Error> {
        self.served(id).await?.ok_or_else(|| {
            Error::new(ErrorCode::PlanNotFound, format!("this deployment does not serve the plan `{id}` any more"))
        })
    }

    /// The handle of a plan that was used before, by any instance; `None` when it was not, or the deployment does not
    /// serve it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn served(&self, id: &PlanId) -> Result<Option<Arc<PlanHandle>>, Error> {
        if let Some(handle) = self.known_handle(id) {
            return Ok(Some(handle));
        }
        match self.rows.get(&format!("p|{id}")).await? {
            Some(row) => self.open_known(row.decode()?).await,
            None => Ok(None),
        }
    }

    /// The handle of a plan in the directory, if the deployment serves it.
    async fn open_known(&self, row: DirectoryRow) -> Result<Option<Arc<PlanHandle>>, Error> {
        let mut group = row.group;
        if group.is_none() && !self.scope.groups.is_empty() && self.allows(&row.plan) {
            // Without a list that says otherwise, the plan counts as none of the deployment's.
            let listing = self.all(false).await.ok();
            let listed = listing.as_ref().and_then(|listing| listing.plans.iter().find(|plan| plan.id == row.plan));
            group = listed.and_then(|plan| plan.group.clone());
        }
        self.open(&row.plan, group.as_ref()).await
    }

    /// The handle of a plan of a group, if the deployment serves it. There is no other way to a handle, so what the
    /// deployment does not serve is neither read nor refreshed nor written.
    async fn open(&self, id: &PlanId, group: Option<&GroupId>) -> Result<Option<Arc<PlanHandle>>, Error> {
        if !self.allows(id) || !self.scope.allows_group(group) {
            return Ok(None);
        }
        if let Some(handle) = self.known_handle(id) {
            return Ok(Some(handle));
        }
        let key = self.key(id, group).await?;
        let mut handles = self.handles.write();
        let (clock, instance) = (self.clock.clone(), self.instance.clone());
        let new = || {
            let handle = PlanHandle::new(&self.tables, id.clone(), key, clock, instance);
            let handle = handle.telling(self.commits.clone(), self.news.clone()).within(self.memory.clone());
            let handle = Arc::new(handle);
            self.memory.admit(&handle);
            handle
        };
        Ok(Some(handles.entry(id.clone()).or_insert_with(new).clone()))
    }

    /// The handle of the plan whose tasks carry a key.
    ///
    /// # Errors
    /// When the store fails; `Ok(None)` when no plan within reach has the key.
    pub async fn handle_by_key(&self, plan_scope: &PlanScope, key: &PlanKey) -> Result<Option<Arc<PlanHandle>>, Error> {
        if let Some(handle) = self.handles().into_iter().find(|handle| handle.key == *key) {
            return self.within(plan_scope, handle).await;
        }
        let row = self.rows.get(&format!("k|{key}")).await?;
        let Some(found) = row.map(|row| row.decode::<DirectoryRow>()).transpose()? else { return Ok(None) };
        match self.open_known(found).await? {
            Some(handle) => self.within(plan_scope, handle).await,
            None => Ok(None),
        }
    }

    /// The plan's key, given out on first use. Two plans never share one: the key's row can be inserted only once.
    async fn key(&self, id: &PlanId, group: Option<&GroupId>) -> Result<PlanKey, StoreError> {
        let read = |row: Option<Row>| row.map(|row| row.decode::<DirectoryRow>()).transpose();
        if let Some(mut found) = read(self.rows.get(&format!("p|{id}")).await?)? {
            if found.group.is_none() && group.is_some() {
                found.group = group.cloned();
                let key = format!("k|{}", found.key);
                let writes = vec![Write::upsert(format!("p|{id}"), &found)?, Write::upsert(key, &found)?];
                self.rows.commit(writes).await?;
            }
            return Ok(found.key);
        }
        let mut attempt = 0;
        loop {
            let key = PlanKey::derive(id, attempt);
            let row = DirectoryRow { plan: id.clone(), key: key.clone(), group: group.cloned() };
            let writes = vec![Write::insert(format!("p|{id}"), &row)?, Write::insert(format!("k|{key}"), &row)?];
            match self.rows.commit(writes).await {
                Ok(_) => return Ok(key),
                Err(StoreError::Conflict { .. }) => {
                    if let Some(found) = read(self.rows.get(&format!("p|{id}")).await?)? {
                        return Ok(found.key); // another instance was faster
                    }
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
