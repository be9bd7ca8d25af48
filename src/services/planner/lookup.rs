//! Buckets and labels of a plan by name.

use std::collections::BTreeSet;

use super::words::same_name;
use super::{Planner, not_found};
use crate::auth::Reach;
use crate::error::ErrorCode;
use crate::ids::BucketId;
use crate::services::Error;
use crate::sync::model::PlanRecord;

impl Planner {
    /// The bucket of a plan that an id or a name means.
    ///
    /// Of the plan that has a bucket instead, only callers hear who may touch every plan.
    pub(super) fn bucket(&self, reach: &Reach, plan: &PlanRecord, text: &str) -> Result<BucketId, Error> {
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
                    self.catalog.handles().into_iter().filter(|_| reach.is_everywhere()).find_map(|other| {
                        let other = other.read().plan.clone()?;
                        other
                            .buckets
                            .iter()
                            .any(|bucket| bucket.id.as_str() == text.trim())
                            .then(|| other.title.clone())
                    });
                let error = not_found(ErrorCode::BucketNotFound, "bucket", text, known);
                Err(match elsewhere {
                    Some(other) => Error {
                        message: format!(
                            "bucket `{text}` belongs to the plan `{other}`, not to `{}`; nothing was changed",
                            plan.title
                        ),
                        ..error
                    },
                    None => error,
                })
            }
            several => Err(Error::new(
                ErrorCode::AmbiguousName,
                format!("`{text}` is the name of several buckets; nothing was changed"),
            )
            .hint(format!("give the id of one: {}", list(several)))),
        }
    }
}

/// The labels of a plan that names, `category7` or `7` mean.
pub(super) fn categories(plan: &PlanRecord, names: &[String]) -> Result<BTreeSet<u8>, Error> {
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
