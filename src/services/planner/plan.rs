//! Plans: list, show, create, rename. Long because what is shown of a plan and what may be done to it are one part.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use chrono_tz::Tz;
use serde_json::{Map, Value};

use super::bucket::{TRIES, checked_name};
use super::catalog::Listing;
use super::days::today;
use super::query::is_late;
use super::view::{PlanCounts, PlanItem, PlanList, PlanView};
use super::words::Status;
use super::{Freshness, PlanEntry, Planner, known_plan, not_found};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::graph::plans::Plan;
use crate::graph::{Call, Category, Identity};
use crate::ids::{GroupId, PlanId};
use crate::services::Error;
use crate::services::graph_error;
use crate::services::names::same_name;
use crate::services::print_time;
use crate::sync::PlanHandle;
use crate::sync::model::{Bucket, PlanRecord};

/// The name for the tasks in no bucket, as in reports.
const NO_BUCKET: &str = "No bucket";

/// The bucket Planner's own application gives a new plan.
const FIRST_BUCKET: &str = "To do";

/// What came of adding a plan.
enum Added {
    /// It was made.
    New(PlanId),
    /// There is one of that title.
    Known(PlanId),
}

impl Planner {
    /// Lists the plans of the deployment, by title; `group` keeps those of one group.
    ///
    /// # Errors
    /// When the groups or their plans cannot be read.
    pub async fn list_plans(
        &self,
        caller: &Caller,
        group: Option<&str>,
        fresh: Option<bool>,
    ) -> Result<PlanList, Error> {
        if fresh == Some(true) {
            self.directory.budget.spend(caller, 1 + self.catalog.groups_listed())?;
        }
        let listing = match self.catalog.list(&caller.plan_scope, fresh == Some(true)).await {
            Err(_) if fresh == Some(true) => self.catalog.list(&caller.plan_scope, false).await?,
            listed => listed?,
        };
        let note = self.catalog.why_old(&listing);
        let old = note.map(|why| format!("Planner could not be asked ({why}): these are the plans last known"));
        let group = group.map(|group| group_of(&listing, group)).transpose()?;
        let (zone, now) = (self.settings.time_zone, self.now());
        let item = |plan: &PlanEntry| PlanItem {
            id: plan.id.to_string(),
            title: plan.title.clone(),
            group: plan.group_name.clone(),
            group_id: plan.group.as_ref().map(ToString::to_string),
            counts: self.catalog.known_handle(&plan.id).and_then(|handle| counts(&handle, today(now, zone), zone)),
        };
        let of_group = |plan: &&PlanEntry| group.as_ref().is_none_or(|group| plan.group.as_ref() == Some(group));
        let plans: Vec<PlanItem> = listing.plans.iter().filter(of_group).map(item).collect();
        let unread = plans.iter().filter(|plan| plan.counts.is_none()).count();
        let unread = (unread > 0).then(|| {
            format!("{unread} plan(s) have no counts: their tasks have not been read yet; `get_plan` reads them")
        });
        let notes: Vec<String> = old.into_iter().chain(unread).collect();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(PlanList { plans, complete: true, as_of: print_time(listing.as_of), note })
    }

    /// Shows the state of a plan.
    ///
    /// # Errors
    /// When no plan or several are meant, or Planner does not answer and nothing is known yet.
    pub async fn get_plan(&self, caller: &Caller, plan: Option<&str>, fresh: Option<bool>) -> Result<PlanView, Error> {
        self.get_plan_in(caller, plan, fresh, None).await
    }

    /// As [`Self::get_plan`], with the days of a zone.
    ///
    /// # Errors
    /// As [`Self::get_plan`], and when no zone is called so.
    pub async fn get_plan_in(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        fresh: Option<bool>,
        zone: Option<&str>,
    ) -> Result<PlanView, Error> {
        let zone = self.zone(zone)?;
        let handle = self.catalog.resolve(&caller.plan_scope, plan).await?;
        let note = self.ready(&handle, Freshness::from(fresh)).await?;
        let today = today(self.now(), zone);
        let listing = self.catalog.list(&caller.plan_scope, false).await.ok();
        let group = listing.and_then(|listing| {
            listing.plans.iter().find(|plan| plan.id == handle.id).and_then(|plan| plan.group_name.clone())
        });
        let replica = handle.read();
        let plan = known_plan(replica.plan.clone())?;
        let mut by_status: BTreeMap<&'static str, usize> = Status::WORDS.iter().map(|word| (*word, 0)).collect();
        // By the place of the bucket on the board; names need not be unique. Behind them those in none.
        let mut open = vec![0_usize; plan.buckets.len() + 1];
        let (mut tasks, mut late) = (0, 0);
        for record in replica.live() {
            tasks += 1;
            late += usize::from(is_late(record, today, zone));
            let status = Status::of(record.fields.percent_complete);
            *by_status.entry(status.word()).or_default() += 1;
            if status != Status::Completed {
                let bucket = record.fields.bucket.as_ref();
                let place = bucket.and_then(|id| plan.buckets.iter().position(|bucket| bucket.id == *id));
                if let Some(count) = open.get_mut(place.unwrap_or(plan.buckets.len())) {
                    *count += 1;
                }
            }
        }
        let open_by_bucket = open_by_bucket(&plan, &open);
        Ok(PlanView {
            id: plan.id.to_string(),
            title: plan.title.clone(),
            group,
            tasks,
            by_status,
            late,
            open_by_bucket,
            labels: plan.category_names.values().cloned().collect(),
            as_of: super::as_of(&handle),
            note,
        })
    }

    /// Creates a plan in a group, with buckets; where none is named, with the one Planner itself gives a plan. A plan of
    /// the same title in the group is answered instead of a second one, as it is: Planner itself would make twins, and a
    /// repeated call must not.
    ///
    /// # Errors
    /// When no group or several are meant, or Planner refuses.
    pub async fn create_plan(
        &self,
        caller: &Caller,
        title: &str,
        group: &str,
        buckets: &[String],
    ) -> Result<PlanView, Error> {
        let title = title.trim();
        if title.is_empty() {
            return Err(Error::invalid("`title` is empty").hint("give the plan a title"));
        }
        if self.catalog.is_fixed() {
            let message = "this deployment serves the plans of `PLANNER_PLAN_IDS` alone";
            return Err(Error::new(ErrorCode::PermissionMissing, message)
                .hint("an administrator can open whole groups with `PLANNER_GROUP_IDS` instead"));
        }
        let mut wanted: Vec<&str> = Vec::new();
        for name in buckets {
            let name = checked_name(name).map_err(|error| error.hint("choose one of `buckets`"))?;
            if !wanted.iter().any(|known| same_name(known, name)) {
                wanted.push(name);
            }
        }
        let group = self.group(caller, group).await?;
        if wanted.is_empty() {
            wanted.push(FIRST_BUCKET);
        }
        let entry = |plan: &PlanId| PlanEntry {
            id: plan.clone(),
            title: title.to_owned(),
            group: Some(group.clone()),
            group_name: None,
        };
        let plan = match self.add_plan(&group, title).await? {
            Added::New(plan) => plan,
            Added::Known(plan) => {
                self.catalog.forget_group(&group);
                self.catalog.handle(&entry(&plan)).await?;
                let mut view = self.get_plan(caller, Some(plan.as_str()), Some(true)).await?;
                let note = "the plan exists already; nothing was changed; `create_bucket` adds a bucket".to_owned();
                view.note = super::task::joined(Some(note), view.note);
                return Ok(view);
            }
        };
        // From here on there is a plan, even if a later step fails.
        let halfway = |error: Error| {
            error.perhaps_changed().hint(format!(
                "the plan `{plan}` is there: see `list_buckets`, and add what is missing with `create_bucket`"
            ))
        };
        self.catalog.forget_group(&group);
        caller.touch("plan_id", plan.as_str());
        let handle = self.catalog.handle(&entry(&plan)).await.map_err(halfway)?;
        self.ready(&handle, Freshness::Now).await.map_err(halfway)?;
        for name in wanted {
            self.add_bucket(&handle, name).await.map_err(halfway)?;
        }
        self.engine.forget_plan(&plan);
        self.get_plan(caller, Some(plan.as_str()), Some(true)).await.map_err(halfway)
    }

    /// The plan of a title in a group, made where there is none. Of several calls at a time, on any instance, one makes
    /// it.
    async fn add_plan(&self, group: &GroupId, title: &str) -> Result<Added, Error> {
        let call = Call::interactive(Identity::Application);
        let turn = self.once.turn("plan", group.as_str(), title).await?;
        // A list may be older than what was made a moment ago.
        if let Some(id) = turn.made().and_then(|id| PlanId::parse(id).ok()) {
            turn.pass().await;
            return Ok(Added::Known(id));
        }
        let named = |plans: Vec<Plan>| plans.into_iter().find(|plan| same_name(&plan.title, title)).map(|plan| plan.id);
        let existing = match self.graph.list_group_plans(&call, group).await {
            Ok(existing) => existing,
            Err(error) => {
                turn.pass().await;
                return Err(graph_error(error));
            }
        };
        if let Some(id) = named(existing) {
            turn.pass().await;
            return Ok(Added::Known(id));
        }
        let turn = turn.may_create().await?;
        let error = match self.graph.create_plan(&call, title, group).await {
            Ok(plan) => {
                turn.made_it(plan.id.as_str()).await;
                return Ok(Added::New(plan.id));
            }
            Err(error) => error,
        };
        if !error.is_ambiguous() {
            turn.pass().await;
            return Err(graph_error(error));
        }
        // A creation that was answered with an error may have happened: read before saying so.
        match self.graph.list_group_plans(&call, group).await.map(named) {
            Ok(Some(id)) => {
                turn.made_it(id.as_str()).await;
                Ok(Added::New(id))
            }
            Ok(None) => {
                turn.lost_answer().await;
                Err(graph_error(error))
            }
            Err(error) => {
                turn.lost_answer().await;
                Err(graph_error(error).perhaps_changed())
            }
        }
    }

    /// Renames a plan and names its labels, in Planner at once; an empty name takes a label's name away.
    ///
    /// # Errors
    /// When no plan or several are meant, nothing is named that should change, or Planner refuses.
    pub async fn update_plan(
        &self,
        caller: &Caller,
        plan: Option<&str>,
        title: Option<&str>,
        labels: &[(u8, String)],
    ) -> Result<PlanView, Error> {
        let title = title.map(str::trim);
        if title == Some("") {
            return Err(Error::invalid("`title` is empty").hint("give the plan a title"));
        }
        if title.is_none() && labels.is_empty() {
            return Err(Error::invalid("no field is named that should change")
                .hint("give a `title`, or `labels` with their numbers and names"));
        }
        let mut names: BTreeMap<Category, Option<String>> = BTreeMap::new();
        for (number, name) in labels {
            let category = Category::new(*number)
                .ok_or_else(|| Error::invalid(format!("there is no label {number}")).hint("labels are 1 to 25"))?;
            names.insert(category, Some(name.trim().to_owned()).filter(|name| !name.is_empty()));
        }
        let (handle, mut plan) = self.for_write(caller, plan).await?;
        let call = Call::interactive(Identity::Application);
        let mut renamed = title.is_none_or(|title| title == plan.title);
        for _ in 0..TRIES {
            let outcome = match title.filter(|_| !renamed) {
                Some(title) => self.graph.update_plan(&call, &handle.id, &plan.etag, title).await.map(drop),
                None if names.is_empty() => Ok(()),
                None => self.graph.update_plan_details(&call, &handle.id, &plan.details_etag, &names).await.map(drop),
            };
            match outcome {
                Ok(()) if !renamed => renamed = true,
                Ok(()) => {
                    names.clear();
                    break;
                }
                Err(error) if error.is_stale() => plan = self.read_again(&handle).await?,
                Err(error) if title.is_some() && renamed => {
                    return Err(graph_error(error)
                        .perhaps_changed()
                        .hint("the plan has its new title; repeat the call"));
                }
                Err(error) => return Err(graph_error(error)),
            }
        }
        if !renamed || !names.is_empty() {
            return Err(Error::new(ErrorCode::Conflict, "the plan keeps changing")
                .perhaps_changed()
                .hint("repeat the call"));
        }
        self.catalog.forget();
        let _stale = self.read_again(&handle).await; // the next refresh shows it
        self.get_plan(caller, Some(handle.id.as_str()), None).await
    }

    /// The group an id or a name means.
    pub(super) async fn group(&self, caller: &Caller, text: &str) -> Result<GroupId, Error> {
        let call = Call::interactive(caller.identity.clone());
        if let Ok(id) = GroupId::parse(text.trim()) {
            let unknown = || not_found(ErrorCode::TeamNotFound, "group", text, std::iter::empty());
            if !self.catalog.reaches_group(&caller.plan_scope, &id).await? {
                return Err(unknown());
            }
            let found = self.graph.get_group(&call, &id).await.map_err(graph_error)?;
            return found.map(|group| group.id).ok_or_else(unknown);
        }
        let mut groups = Vec::new();
        for group in self.graph.list_groups(&call).await.map_err(graph_error)? {
            if self.catalog.reaches_group(&caller.plan_scope, &group.id).await? {
                groups.push(group);
            }
        }
        let named: Vec<_> = groups.iter().filter(|group| same_name(&group.display_name, text)).collect();
        match named.as_slice() {
            [only] => Ok(only.id.clone()),
            [] => {
                let known = groups.iter().map(|group| format!("`{}`", group.display_name));
                Err(not_found(ErrorCode::TeamNotFound, "group", text, known))
            }
            several => Err(ambiguous_group(
                text,
                several.iter().map(|group| {
                    let mail = group.mail.as_deref().or(group.description.as_deref()).unwrap_or("without an address");
                    format!("`{}` ({}, {mail})", group.display_name, group.id)
                }),
            )),
        }
    }
}

/// The group of some plan of a list that an id or a name means.
///
/// # Errors
/// When none or several are meant; those are told apart by their plans.
pub(in crate::services) fn group_of(listing: &Listing, text: &str) -> Result<GroupId, Error> {
    let text = text.trim();
    if let Some(by_id) = listing.plans.iter().filter_map(|plan| plan.group.as_ref()).find(|id| id.as_str() == text) {
        return Ok(by_id.clone());
    }
    let mut named: BTreeMap<&str, (&PlanEntry, Vec<&str>)> = BTreeMap::new();
    for plan in &listing.plans {
        if let (Some(id), Some(name)) = (&plan.group, &plan.group_name)
            && same_name(name, text)
        {
            named.entry(id.as_str()).or_insert((plan, Vec::new())).1.push(&plan.title);
        }
    }
    let unknown = || {
        let known: BTreeSet<_> = listing.plans.iter().filter_map(|plan| plan.group_name.clone()).collect();
        not_found(ErrorCode::TeamNotFound, "group with plans called", text, known.into_iter())
    };
    if named.len() > 1 {
        let list = named.iter().map(|(id, (plan, titles))| {
            let titles: Vec<String> = titles.iter().take(5).map(|title| format!("`{title}`")).collect();
            let name = plan.group_name.as_deref().unwrap_or_default();
            format!("`{name}` ({id}, plans: {})", titles.join(", "))
        });
        return Err(ambiguous_group(text, list));
    }
    let only = named.into_values().next().and_then(|(plan, _)| plan.group.clone());
    only.ok_or_else(unknown)
}

fn ambiguous_group(text: &str, candidates: impl Iterator<Item = String>) -> Error {
    Error::new(ErrorCode::AmbiguousName, format!("`{text}` is the name of several groups"))
        .hint(format!("give the id of one: {}", candidates.collect::<Vec<_>>().join(", ")))
}

/// How far a plan is; `None` where its tasks have not been read.
fn counts(handle: &PlanHandle, today: NaiveDate, zone: Tz) -> Option<PlanCounts> {
    handle.plan()?;
    let (mut tasks, mut open, mut late) = (0, 0, 0);
    for record in handle.tasks_in_passing() {
        tasks += 1;
        open += usize::from(record.fields.percent_complete < 100);
        late += usize::from(is_late(&record, today, zone));
    }
    let percent_completed = (100 * (tasks - open)).checked_div(tasks);
    Some(PlanCounts { tasks, open, late, percent_completed, counted: super::as_of(handle) })
}

/// Open tasks by the name of their bucket. The last of the counts is that of tasks in none.
fn open_by_bucket(plan: &PlanRecord, open: &[usize]) -> Map<String, Value> {
    let twins = |name: &str| plan.buckets.iter().filter(|bucket| bucket.name == name).count() > 1;
    let name = |bucket: &Bucket| {
        if twins(&bucket.name) || bucket.name == NO_BUCKET {
            format!("{} ({})", bucket.name, bucket.id)
        } else {
            bucket.name.clone()
        }
    };
    let named = plan.buckets.iter().map(name).zip(open.iter().copied());
    let without = open.last().copied().filter(|count| *count > 0).map(|count| (NO_BUCKET.to_owned(), count));
    named.chain(without).map(|(name, count)| (name, Value::from(count))).collect()
}
