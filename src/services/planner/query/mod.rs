//! `query_tasks`: filter, sort, page and print, all from memory.

mod filter;
mod order;
mod print;

use std::sync::Arc;

use chrono::TimeDelta;
use chrono_tz::Tz;

use self::filter::Filters;
pub(super) use self::filter::is_late;
use self::order::{Order, Picked, Rank};
pub use self::print::COLUMNS;
use self::print::{Format, Names, columns};
pub(super) use self::print::{bucket_name, category_names, link, sync_of};
use super::input::QueryTasks;
use super::ready::Several;
use super::view::TaskPage;
use super::{Freshness, Planner, lookup};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::directory::A_FEW;
use crate::services::names::same_name;
use crate::services::print_time;
use crate::sync::PlanHandle;
use crate::sync::model::{Bucket, PlanRecord, TaskRecord};

/// Rows on a page unless asked otherwise.
const DEFAULT_LIMIT: usize = 200;
/// Most rows on a page.
const MAX_LIMIT: u32 = 1000;
/// How long a search in texts waits for descriptions, at the most.
const DETAILS_WAIT: TimeDelta = TimeDelta::seconds(8);
/// What a time of change means: Planner keeps none.
const CHANGED: &str = "`changed` is when GraphGate saw a task change; of what was there when it first read the plan, when Planner says it was created or completed";

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
        let zone = self.zone(input.time_zone.as_deref())?;
        let after = input
            .cursor
            .as_deref()
            .map(|cursor| self.signer.open(&digest(caller, input), cursor, self.now()))
            .transpose()?;
        let began = self.clock.steady();
        let (handles, old_list) = self.plans_of(caller, input.plan_id.as_deref()).await?;
        let columns = columns(input.fields.as_deref(), handles.len() > 1)?;
        if input.text.is_some() {
            for handle in &handles {
                handle.note_details_wanted(self.now());
            }
        }
        let Several { handles, missing, mut notes, .. } =
            self.ready_all(handles, Freshness::from(input.fresh), began).await?;
        notes.extend(old_list);
        let lacked = after.as_ref().is_some_and(|after| after.lacking);
        if lacked && missing == 0 {
            notes.push("an earlier page lacked plans: for all of them start again without `cursor`".to_owned());
        }
        let lacking = missing > 0 || lacked;
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
        if input.changed_since.is_some() {
            notes.push(CHANGED.to_owned());
        }
        let filters = self.filters(caller, input, zone).await?;
        let picked = || Picked::new(order, limit, after.as_ref());
        let (mut hits, known_places) = collect(&handles, input, &filters, picked(), zone);
        if let Err(unknown) = check_places(input, &known_places) {
            // A bucket or label made a moment ago: Planner is asked once before it is said not to exist.
            if missing > 0 {
                let message = format!("{}; and {}", unknown.message, notes.join("; "));
                return Err(Error::new(ErrorCode::GraphUnreachable, message).hint("repeat the call in a while"));
            }
            if handles.len() > lookup::MOST_REFRESHED {
                return Err(
                    unknown.hint("name the plan in `plan_id`: then Planner is asked whether it is there by now")
                );
            }
            if !self.refresh_plans(&handles).await? {
                return Err(unknown);
            }
            let found = collect(&handles, input, &filters, picked(), zone);
            check_places(input, &found.1)?;
            hits = found.0;
        }
        let (total, before) = (hits.total, hits.before);
        let page = hits.page();
        let last_page = before + page.len() == total;
        let cursor = page
            .last()
            .filter(|_| !last_page)
            .map(|hit| self.signer.seal(&digest(caller, input), order.position(hit, lacking), self.now()));
        let mut answer = TaskPage {
            total,
            complete: last_page && unread == 0 && !lacking,
            cursor,
            as_of: handles.iter().filter_map(|handle| handle.as_of()).min().map(print_time),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            ..TaskPage::default()
        };
        if self.print(&mut answer, &page, &columns, format, zone) == Names::Missing {
            // Somebody outside the plan's group: looked up once, then remembered.
            self.directory.people.meet(page.iter().flat_map(|hit| &hit.record.fields.assignees), A_FEW).await;
            self.print(&mut answer, &page, &columns, format, zone);
        }
        Ok(answer)
    }

    async fn plans_of(
        &self,
        caller: &Caller,
        plan: Option<&str>,
    ) -> Result<(Vec<Arc<PlanHandle>>, Option<String>), Error> {
        if plan.is_some() || self.settings.scope.default_plan.is_some() {
            return Ok((vec![self.catalog.resolve(&caller.plan_scope, plan).await?], None));
        }
        self.every_plan(&caller.plan_scope).await
    }
}

/// Picks from the tasks that match; answers the buckets and labels too that the named ones were found in.
fn collect<'a>(
    handles: &[Arc<PlanHandle>],
    input: &QueryTasks,
    filters: &Filters,
    mut picked: Picked<'a>,
    zone: Tz,
) -> (Picked<'a>, Places) {
    let mut places = Places::default();
    for handle in handles {
        let Some(plan) = handle.plan() else { continue };
        let wanted = input.bucket.as_ref().filter(|names| !names.is_empty());
        let bucket = wanted.map(|names| BucketFilter::of(&plan, names, &mut places.found));
        let category = input.category.as_deref().map(|text| lookup::category(&plan, text).ok());
        if bucket.is_some() {
            places.buckets.extend(plan.buckets.iter().map(|bucket| bucket.name.clone()));
        }
        if let Some(found) = &category {
            places.category |= found.is_some();
            places.categories.extend(plan.category_names.values().cloned());
        }
        if bucket.as_ref().is_some_and(BucketFilter::is_empty) || matches!(category, Some(None)) {
            continue;
        }
        let category = category.flatten();
        for record in handle.tasks_in_passing() {
            let fields = &record.fields;
            let place =
                || fields.bucket.as_ref().and_then(|id| plan.buckets.iter().position(|bucket| bucket.id == *id));
            let here = bucket.as_ref().is_none_or(|bucket| bucket.has(place()))
                && category.is_none_or(|category| fields.categories.contains(&category));
            if here && filters.match_task(&record) {
                let place = place();
                let rank = picked.order.rank(&record, place, zone);
                picked.see(Hit { rank, bucket: place, record, plan: plan.clone() });
            }
        }
    }
    (picked, places)
}

/// Which of the named places exist in any of the plans, and what there is.
#[derive(Default)]
struct Places {
    /// The names of buckets that some plan has.
    found: std::collections::BTreeSet<String>,
    buckets: std::collections::BTreeSet<String>,
    category: bool,
    categories: std::collections::BTreeSet<String>,
}

fn check_places(input: &QueryTasks, places: &Places) -> Result<(), Error> {
    use crate::error::ErrorCode;
    if let Some(bucket) = input.bucket.iter().flatten().find(|name| !places.found.contains(*name)) {
        let known = places.buckets.iter().map(|name| format!("`{name}`"));
        return Err(super::not_found(ErrorCode::BucketNotFound, "bucket", bucket, known));
    }
    if let Some(category) = input.category.as_deref().filter(|_| !places.category) {
        let known = places.categories.iter().map(|name| format!("`{name}`"));
        return Err(super::not_found(ErrorCode::NotFound, "label", category, known));
    }
    Ok(())
}

/// Which buckets of a plan are meant.
struct BucketFilter {
    /// Tasks in no bucket, or in one that is gone.
    none: bool,
    /// Places on the board: of two buckets with one name both are meant.
    places: Vec<usize>,
}

impl BucketFilter {
    /// The buckets of a plan that ids and names mean; those found are noted.
    fn of(plan: &PlanRecord, names: &[String], found: &mut std::collections::BTreeSet<String>) -> Self {
        let mut filter = Self { none: false, places: Vec::new() };
        for name in names {
            let by_id = plan.buckets.iter().position(|bucket| bucket.id.as_str() == name.trim());
            let named = |(_, bucket): &(usize, &Bucket)| same_name(&bucket.name, name);
            let places: Vec<usize> = match by_id {
                Some(place) => vec![place],
                None => plan.buckets.iter().enumerate().filter(named).map(|(place, _)| place).collect(),
            };
            let none = places.is_empty() && name.trim() == "none";
            if none || !places.is_empty() {
                found.insert(name.clone());
            }
            filter.none |= none;
            filter.places.extend(places);
        }
        filter
    }

    fn is_empty(&self) -> bool {
        !self.none && self.places.is_empty()
    }

    fn has(&self, place: Option<usize>) -> bool {
        place.map_or(self.none, |place| self.places.contains(&place))
    }
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
