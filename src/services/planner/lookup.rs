//! Buckets and labels of a plan by name.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Freshness, Planner, known_plan, not_found};
use crate::auth::PlanScope;
use crate::error::ErrorCode;
use crate::ids::BucketId;
use crate::services::names::same_name;
use crate::services::{Changed, Error};
use crate::sync::PlanHandle;
use crate::sync::model::{Few, PlanRecord};

/// Plans read again at most because a name fits nothing in them.
pub(super) const MOST_REFRESHED: usize = 8;

impl Planner {
    /// The zone a call names; the deployment's if it names none.
    pub(super) fn zone(&self, text: Option<&str>) -> Result<chrono_tz::Tz, Error> {
        text.map_or(Ok(self.settings.time_zone), super::days::zone)
    }

    /// Reads a due or start date, in the deployment's zone.
    pub(super) fn date(&self, name: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Error> {
        text.map(|text| super::days::parse_date(name, text, self.settings.time_zone)).transpose()
    }

    /// The plan's row, read again from Planner where it lacks a bucket or a label that is named: either may have been made
    /// since. What was read within ten seconds is believed.
    ///
    /// # Errors
    /// When Planner would have to be asked and does not answer.
    pub(super) async fn plan_with(
        &self,
        handle: &Arc<PlanHandle>,
        plan: Arc<PlanRecord>,
        bucket: Option<&str>,
        labels: Option<&[String]>,
    ) -> Result<Arc<PlanRecord>, Error> {
        let has_bucket = |text: &str| {
            plan.buckets.iter().any(|bucket| bucket.id.as_str() == text.trim() || same_name(&bucket.name, text))
        };
        let known = bucket.is_none_or(has_bucket)
            && labels.unwrap_or_default().iter().all(|name| category(&plan, name).is_ok());
        if known || !self.refresh_plans(std::slice::from_ref(handle)).await? {
            return Ok(plan);
        }
        known_plan(handle.plan())
    }

    /// Reads title, buckets, labels and tasks of plans from Planner, unless that was done within ten seconds; answers
    /// whether any was read.
    ///
    /// # Errors
    /// When Planner does not answer.
    pub(super) async fn refresh_plans(&self, handles: &[Arc<PlanHandle>]) -> Result<bool, Error> {
        let now = self.now();
        let lately = now - Freshness::Lately.age(self.settings.max_age);
        let is_old = |handle: &&Arc<PlanHandle>| self.engine.plan_seen(&handle.id).is_none_or(|seen| seen < lately);
        let old: Vec<&Arc<PlanHandle>> = handles.iter().filter(is_old).collect();
        for handle in &old {
            self.engine.forget_plan(&handle.id);
        }
        let mut reads = Vec::with_capacity(old.len());
        for handle in &old {
            reads.push(Box::pin(self.engine.refresh(handle, now)));
        }
        for read in futures::future::join_all(reads).await {
            read.map_err(|error| {
                let error = Error::from(error);
                let message = format!("Planner could not be asked again ({})", error.message);
                Error { message, changed: Changed::Nothing, ..error }
            })?;
        }
        Ok(!old.is_empty())
    }

    /// The bucket of a plan that an id or a name means.
    ///
    /// Of the plan that has a bucket instead, only callers that may touch every plan get an answer.
    pub(super) fn bucket(&self, plan_scope: &PlanScope, plan: &PlanRecord, text: &str) -> Result<BucketId, Error> {
        if let Some(bucket) = plan.buckets.iter().find(|bucket| bucket.id.as_str() == text.trim()) {
            return Ok(bucket.id.clone());
        }
        let named: Vec<_> = plan.buckets.iter().filter(|bucket| same_name(&bucket.name, text)).collect();
        let list = |buckets: &[&crate::sync::model::Bucket]| {
            buckets.iter().map(|bucket| format!("`{}` ({})", bucket.name, bucket.id)).collect::<Vec<_>>().join(", ")
        };
        match named.as_slice() {
            [only] => Ok(only.id.clone()),
            [] => {
                let known = plan.buckets.iter().map(|bucket| format!("`{}`", bucket.name));
                let elsewhere =
                    self.catalog.handles().into_iter().filter(|_| plan_scope.is_everywhere()).find_map(|other| {
                        let other = other.plan()?;
                        other
                            .buckets
                            .iter()
                            .any(|bucket| bucket.id.as_str() == text.trim())
                            .then(|| other.title.clone())
                    });
                let error = not_found(ErrorCode::BucketNotFound, "bucket", text, known);
                Err(match elsewhere {
                    Some(other) => Error {
                        message: format!("bucket `{text}` belongs to the plan `{other}`, not to `{}`", plan.title),
                        ..error
                    },
                    None => error,
                })
            }
            several => Err(Error::new(ErrorCode::AmbiguousName, format!("`{text}` is the name of several buckets"))
                .hint(format!("give the id of one: {}", list(several)))),
        }
    }
}

/// The labels of a plan that names, `category7` or `7` mean.
pub(super) fn categories(plan: &PlanRecord, names: &[String]) -> Result<Few<u8>, Error> {
    names.iter().map(|name| category(plan, name)).collect()
}

/// The label a name, `category7` or `7` means.
pub(super) fn category(plan: &PlanRecord, name: &str) -> Result<u8, Error> {
    if let Some((number, _)) = plan.category_names.iter().find(|(_, known)| same_name(known, name)) {
        return Ok(*number);
    }
    let number = name.trim().to_lowercase();
    let number = number.strip_prefix("category").unwrap_or(&number).trim().parse::<u8>().ok();
    number.filter(|number| (1..=25).contains(number)).ok_or_else(|| {
        let known = plan.category_names.values().map(|name| format!("`{name}`"));
        not_found(ErrorCode::NotFound, "label", name, known.chain(["category1 to category25".to_owned()]))
    })
}
