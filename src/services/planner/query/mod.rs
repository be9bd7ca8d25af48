//! `query_tasks`: filter, sort, page and print, all from memory.

mod filter;
mod order;
mod print;

use std::sync::Arc;

use chrono::TimeDelta;

use self::filter::Filters;
pub(super) use self::filter::is_late;
use self::order::{Order, Rank};
pub use self::print::COLUMNS;
use self::print::{Format, Names, columns};
pub(super) use self::print::{bucket_name, category_names, sync_of};
use super::input::QueryTasks;
use super::people::A_FEW;
use super::view::TaskPage;
use super::words::print_time;
use super::{Freshness, Planner, lookup};
use crate::auth::Caller;
use crate::ids::BucketId;
use crate::services::Error;
use crate::sync::PlanHandle;
use crate::sync::model::{PlanRecord, TaskRecord};

/// Rows on a page unless asked otherwise.
const DEFAULT_LIMIT: usize = 200;
/// Most rows on a page.
const MAX_LIMIT: u32 = 1000;
/// Plans refreshed at once when a query names none.
const PARALLEL_PLANS: usize = 8;
/// How long a search in texts waits for descriptions, at the most.
const DETAILS_WAIT: TimeDelta = TimeDelta::seconds(8);

/// A task that matched, with what its row needs.
struct Hit {
    rank: Rank,
    /// The place of its bucket on the plan's board.
    bucket: Option<usize>,
    record: Arc<TaskRecord>,
    plan: Arc<PlanRecord>,
}

impl Planner {
    /// Answers a query from the replica.
    ///
    /// # Errors
    /// Unknown names, malformed dates, a foreign or expired cursor; or Planner does not answer and nothing is known yet.
    pub async fn query(&self, caller: &Caller, input: &QueryTasks) -> Result<TaskPage, Error> {
        let format = Format::parse(input.format.as_deref())?;
        let order = Order::parse(input.sort.as_deref())?;
        let limit = limit(input.limit)?;
        let after = input
            .cursor
            .as_deref()
            .map(|cursor| self.signer.open(&digest(caller, input), cursor, self.now()))
            .transpose()?;
        let handles = self.plans_of(caller, input.plan_id.as_deref()).await?;
        let columns = columns(input.fields.as_deref(), handles.len() > 1)?;
        let mut notes = Vec::new();
        let asked: Vec<_> = {
            use futures::StreamExt;
            let freshness = Freshness::from(input.fresh);
            let mut ready = Vec::with_capacity(handles.len());
            for handle in &handles {
                ready.push(Box::pin(self.ready(handle, freshness)));
            }
            futures::stream::iter(ready).buffered(PARALLEL_PLANS).collect().await
        };
        for note in asked {
            notes.extend(note?);
        }
        let mut unread = 0;
        if input.text.is_some() {
            let until = self.now() + DETAILS_WAIT;
            for handle in &handles {
                let left = (until - self.now()).to_std().unwrap_or_default();
                unread += self.know_all_details(handle, input.fresh == Some(true), left).await?;
            }
        }
        if unread > 0 {
            notes.push(format!(
                "the descriptions of {unread} task(s) could not be read yet: of these only the titles were searched; repeat the call"
            ));
        }
        let filters = self.filters(input).await?;
        let (mut hits, known_places) = collect(&handles, input, &filters, order);
        check_places(input, &known_places)?;
        hits.sort_unstable_by(|left, right| order.compare(left, right));
        let total = hits.len();
        let start = after.map_or(0, |after| hits.partition_point(|hit| !order.is_after(hit, &after)));
        let page: Vec<&Hit> = hits.iter().skip(start).take(limit).collect();
        let last_page = start + page.len() == total;
        let cursor = page
            .last()
            .filter(|_| !last_page)
            .map(|hit| self.signer.seal(&digest(caller, input), order.position(hit), self.now()));
        let mut answer = TaskPage {
            total,
            complete: last_page && unread == 0,
            cursor,
            as_of: handles.iter().filter_map(|handle| handle.as_of()).min().map(print_time),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            ..TaskPage::default()
        };
        if self.print(&mut answer, &page, &columns, format) == Names::Missing {
            // Somebody outside the plan's group: looked up once, then remembered.
            self.people.meet(page.iter().flat_map(|hit| &hit.record.fields.assignees), A_FEW).await;
            self.print(&mut answer, &page, &columns, format);
        }
        Ok(answer)
    }

    async fn plans_of(&self, caller: &Caller, plan: Option<&str>) -> Result<Vec<Arc<PlanHandle>>, Error> {
        if plan.is_some() || self.settings.scope.default_plan.is_some() {
            return Ok(vec![self.catalog.resolve(&caller.reach, plan).await?]);
        }
        let listing = self.catalog.list(&caller.reach, false).await?;
        let mut handles = Vec::with_capacity(listing.plans.len());
        for plan in &listing.plans {
            handles.push(self.catalog.handle(&plan.id).await?);
        }
        Ok(handles)
    }
}

/// The tasks that match, and the buckets and labels that the named ones were found in.
fn collect(handles: &[Arc<PlanHandle>], input: &QueryTasks, filters: &Filters, order: Order) -> (Vec<Hit>, Places) {
    let mut hits = Vec::new();
    let mut places = Places::default();
    for handle in handles {
        let replica = handle.read();
        let Some(plan) = replica.plan.clone() else { continue };
        let bucket = input.bucket.as_deref().map(|text| bucket_of(&plan, text));
        let category = input.category.as_deref().map(|text| lookup::category(&plan, text).ok());
        if let Some(found) = &bucket {
            places.bucket |= found.is_some();
            places.buckets.extend(plan.buckets.iter().map(|bucket| bucket.name.clone()));
        }
        if let Some(found) = &category {
            places.category |= found.is_some();
            places.categories.extend(plan.category_names.values().cloned());
        }
        if matches!(bucket, Some(None)) || matches!(category, Some(None)) {
            continue;
        }
        let (bucket, category) = (bucket.flatten(), category.flatten());
        for record in replica.live() {
            let fields = &record.fields;
            let here = bucket.as_ref().is_none_or(|bucket| fields.bucket.as_ref() == Some(bucket))
                && category.is_none_or(|category| fields.categories.contains(&category));
            if here && filters.match_task(record) {
                let bucket =
                    fields.bucket.as_ref().and_then(|id| plan.buckets.iter().position(|bucket| bucket.id == *id));
                let rank = order.rank(record, bucket);
                hits.push(Hit { rank, bucket, record: record.clone(), plan: plan.clone() });
            }
        }
    }
    (hits, places)
}

/// Which of the named places exist in any of the plans, and what there is.
#[derive(Default)]
struct Places {
    bucket: bool,
    buckets: std::collections::BTreeSet<String>,
    category: bool,
    categories: std::collections::BTreeSet<String>,
}

fn check_places(input: &QueryTasks, places: &Places) -> Result<(), Error> {
    use crate::error::ErrorCode;
    if let Some(bucket) = input.bucket.as_deref().filter(|_| !places.bucket) {
        let known = places.buckets.iter().map(|name| format!("`{name}`"));
        return Err(super::not_found(ErrorCode::BucketNotFound, "bucket", bucket, known));
    }
    if let Some(category) = input.category.as_deref().filter(|_| !places.category) {
        let known = places.categories.iter().map(|name| format!("`{name}`"));
        return Err(super::not_found(ErrorCode::NotFound, "label", category, known));
    }
    Ok(())
}

fn bucket_of(plan: &PlanRecord, text: &str) -> Option<BucketId> {
    let by_id = plan.buckets.iter().find(|bucket| bucket.id.as_str() == text);
    by_id
        .or_else(|| plan.buckets.iter().find(|bucket| super::words::same_name(&bucket.name, text)))
        .map(|bucket| bucket.id.clone())
}

fn limit(limit: Option<u32>) -> Result<usize, Error> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MAX_LIMIT) => Ok(usize::try_from(limit).unwrap_or(DEFAULT_LIMIT)),
        Some(limit) => {
            Err(Error::invalid(format!("`limit` is {limit}")).hint(format!("use 1 to {MAX_LIMIT}; page with `cursor`")))
        }
    }
}

/// What a cursor is bound to: the caller, and everything that decides which rows there are and in which order.
fn digest(caller: &Caller, input: &QueryTasks) -> String {
    use sha2::Digest;
    let QueryTasks { fields: _, format: _, limit: _, cursor: _, fresh: _, .. } = input;
    let bound = QueryTasks { fields: None, format: None, limit: None, cursor: None, fresh: None, ..input.clone() };
    let text = serde_json::to_string(&bound).unwrap_or_default();
    sha2::Sha256::digest(format!("{}\0{text}", caller.name)).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
