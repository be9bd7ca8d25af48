//! Plans as reports count them: plain values with names in place of ids, taken from the replica at one moment.

mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;

use crate::auth::Caller;
use crate::ids::{PlanId, UserId};
use crate::rows::StoreError;
use crate::services::Error;
use crate::services::directory::{MANY, Names};
use crate::services::planner::background::PATIENCE;
use crate::services::planner::catalog::{Listing, Scope};
use crate::services::planner::checklist::in_order;
use crate::services::planner::query::category_names;
use crate::services::planner::ready::Several;
use crate::services::planner::{Freshness, Planner, known_plan};
use crate::sync::event::{Change, ChangeKind};
use crate::sync::model::{ConflictRecord, PlanRecord, Side, TaskRecord};
use crate::sync::{PlanHandle, Replica};

pub use values::{ConflictFacts, Move, PlanFacts, Step, TaskFacts};

/// Plans read at once.
const PARALLEL: usize = 8;
/// How long a report waits for descriptions and checklists, for any number of plans.
const DETAILS_WAIT: TimeDelta = TimeDelta::seconds(30);
/// Rows of the journal read at once.
const ROWS: usize = 500;

/// Which plans a caller may see what was said of.
pub(in crate::services) enum Visibility {
    /// All that the deployment serves.
    Served(Scope),
    /// These.
    Plans(Arc<Listing>),
}

impl Visibility {
    /// Whether a plan is visible.
    pub(in crate::services) fn reaches(&self, plan: &str) -> bool {
        match self {
            Self::Served(scope) => scope.allows(plan),
            Self::Plans(listing) => listing.plans.iter().any(|listed| listed.id.as_str() == plan),
        }
    }
}

impl Planner {
    /// The facts of the plans named, or of the default plan, or with `all` of every plan; by title.
    ///
    /// # Errors
    /// When a name fits no plan or several, or Planner does not answer and nothing is known of a plan yet.
    pub async fn facts(&self, caller: &Caller, plans: &[String], all: bool) -> Result<Vec<PlanFacts>, Error> {
        let mut began = self.clock.steady();
        let (mut handles, mut old_list) = (Vec::new(), None);
        if plans.is_empty() && all {
            (handles, old_list) = self.every_plan(&caller.plan_scope).await?;
        } else if plans.is_empty() {
            // Reports call the argument by another name.
            let named = |error: Error| Error { message: error.message.replace("`plan_id`", "`plans`"), ..error };
            handles.push(self.catalog.resolve(&caller.plan_scope, None).await.map_err(named)?);
        }
        for name in plans {
            let handle = self.catalog.resolve(&caller.plan_scope, Some(name)).await?;
            if handles.iter().all(|known: &Arc<PlanHandle>| known.id != handle.id) {
                handles.push(handle);
            }
        }
        if !plans.is_empty() {
            began = self.clock.steady(); // they were asked about one after another
        }
        let Several { handles, mut notes, gone, .. } = self.ready_all(handles, Freshness::Usual, began).await?;
        if let Some(gone) = gone.filter(|_| !plans.is_empty()) {
            return Err(gone); // of all plans it has only left the list
        }
        notes.extend(old_list);
        let until = self.clock.steady() + DETAILS_WAIT;
        let mut read = Vec::with_capacity(handles.len());
        for handle in &handles {
            read.push(Box::pin(self.facts_of(handle, until)));
        }
        let read: Vec<Result<_, Error>> = futures::stream::iter(read).buffered(PARALLEL).collect().await;
        let (mut found, unread): (Vec<PlanFacts>, Vec<usize>) = read.into_iter().collect::<Result<_, _>>()?;
        found.sort_by_key(|plan| (plan.title.to_lowercase(), plan.id.clone()));
        let unread: usize = unread.iter().sum();
        if unread > 0 {
            notes
                .push(format!("descriptions and checklists of {unread} task(s) could not be read yet and are missing"));
        }
        if let Some(first) = found.first_mut() {
            first.note = (!notes.is_empty()).then(|| notes.join("; "));
        }
        Ok(found)
    }

    /// Which plans a caller may see what was said of: those that are gone too, if nothing limits them and the deployment is
    /// not limited to groups. `fresh` asks Planner which there are.
    ///
    /// # Errors
    /// When the caller's plans cannot be read.
    pub(in crate::services) async fn visibility(&self, caller: &Caller, fresh: bool) -> Result<Visibility, Error> {
        let scope = &self.settings.scope;
        // Whose a plan was that is gone, nobody can tell.
        if caller.plan_scope.is_everywhere() && scope.groups.is_empty() {
            return Ok(Visibility::Served(scope.clone()));
        }
        Ok(Visibility::Plans(self.catalog.list(&caller.plan_scope, fresh).await?))
    }

    /// The facts of every plan whose replica is stored, as it is stored: what is recorded day by day. Planner is
    /// not asked about tasks, so it may be called often and on any instance.
    pub(in crate::services) async fn stored_facts(&self) -> Result<Vec<PlanFacts>, Error> {
        let mut found = Vec::new();
        for plan in &self.catalog.list(&Caller::local().plan_scope, false).await?.plans {
            let Some(handle) = self.catalog.served(&plan.id).await? else { continue };
            handle.ensure_current().await?;
            if handle.plan().is_none() {
                continue; // nobody has used it yet
            }
            match self.snapshot(&handle).await {
                Ok(facts) => found.push(facts),
                Err(error) => tracing::warn!(plan = %handle.id, %error, "a plan cannot be read"),
            }
        }
        Ok(found)
    }

    /// What became of a plan's tasks behind a transaction, up to the one the facts are as of, as far as events are kept.
    pub(in crate::services) fn moves<'a>(
        &'a self,
        plan: &'a PlanFacts,
        after: u64,
    ) -> BoxFuture<'a, Result<Vec<Move>, StoreError>> {
        Box::pin(async move {
            let Ok(id) = PlanId::parse(&plan.id) else { return Ok(Vec::new()) };
            // A plan of which there are facts is in the catalogue; should it have gone, the recorded days alone tell its story.
            let Ok(Some(handle)) = self.catalog.served(&id).await else { return Ok(Vec::new()) };
            let (mut after, mut moves) = (after, Vec::new());
            while after < plan.sequence {
                let rows = handle.events(after, plan.sequence, ROWS).await?;
                let Some((newest, _)) = rows.last() else { break };
                after = *newest;
                let record = handle.plan();
                for (number, event) in rows {
                    let steps = event.changes.iter().filter_map(|change| step(record.as_deref(), change));
                    moves.extend(steps.map(|(task, step)| Move { number, at: event.at, task, step }));
                }
            }
            Ok(moves)
        })
    }

    /// The facts of a plan, with the details that are read by `until`, and of how many tasks they were not.
    async fn facts_of(&self, handle: &Arc<PlanHandle>, until: DateTime<Utc>) -> Result<(PlanFacts, usize), Error> {
        let left = (until - self.clock.steady()).to_std().unwrap_or_default();
        let unread = self.know_all_details(handle, false, left).await?;
        Ok((self.snapshot(handle).await?, unread))
    }

    async fn snapshot(&self, handle: &PlanHandle) -> Result<PlanFacts, Error> {
        let group = match self.catalog.list(&Caller::local().plan_scope, false).await {
            Ok(listing) => {
                listing.plans.iter().find(|plan| plan.id == handle.id).and_then(|plan| plan.group_name.clone())
            }
            Err(_) => None, // an unnamed group is no reason to have no report
        };
        self.meet_members(handle, PATIENCE).await;
        let mut people: BTreeSet<UserId> = BTreeSet::new();
        for record in handle.read().live() {
            let makers = record.facts.created_by.iter().chain(&record.facts.completed_by);
            people.extend(record.fields.assignees.iter().chain(makers).cloned());
        }
        self.directory.people.meet(&people, MANY).await;
        let conflicts = handle.conflicts().await?;
        let replica = handle.read();
        let plan = known_plan(replica.plan.clone())?;
        let conflicts = conflicts.into_iter().map(|record| conflict(&replica, record)).collect();
        let tasks =
            self.directory.people.with_names(|names| replica.live().map(|record| task(&plan, record, names)).collect());
        let mut facts = PlanFacts {
            id: plan.id.to_string(),
            title: plan.title.clone(),
            group,
            buckets: plan.buckets.iter().map(|bucket| bucket.name.clone()).collect(),
            tasks,
            as_of: handle.as_of(),
            pending: replica.records().map(|record| record.pending.len()).sum(),
            conflicts,
            note: None,
            sequence: replica.sequence(),
        };
        facts.set_zone(self.settings.time_zone);
        Ok(facts)
    }
}

/// What a change did to its task's progress or place; `None` for all that reports do not count.
fn step(plan: Option<&PlanRecord>, change: &Change) -> Option<(String, Step)> {
    let task = change.task.as_ref()?.to_string();
    let bucket = change.bucket.as_ref().map(|(_, after)| {
        let known = plan?.buckets.iter().find(|bucket| Some(&bucket.id) == after.as_ref());
        known.map(|bucket| bucket.name.clone())
    });
    let percent = change.percent_complete.map(|(_, after)| after);
    match change.kind {
        ChangeKind::Deleted => Some((task, Step::Gone)),
        ChangeKind::Created => Some((task, Step::Became { percent, bucket })),
        ChangeKind::Updated if percent.is_some() || bucket.is_some() => Some((task, Step::Became { percent, bucket })),
        _ => None,
    }
}

fn conflict(replica: &Replica, record: ConflictRecord) -> ConflictFacts {
    let title = replica.task(&record.task).map(|task| task.fields.title.clone());
    ConflictFacts {
        at: record.at,
        title: title.unwrap_or(record.title),
        field: record.disputed.field().map(ToString::to_string).unwrap_or_default(),
        winner: match record.winner {
            Side::Agent => "agent",
            Side::Planner => "planner",
        },
        reason: record.reason,
    }
}

fn task(plan: &PlanRecord, record: &TaskRecord, names: &Names<'_>) -> TaskFacts {
    let (fields, facts) = (&record.fields, &record.facts);
    let person = |user: &Option<UserId>| user.as_ref().map(|user| names.of(user).to_owned());
    let mut assignees: Vec<String> = fields.assignees.iter().map(|user| names.of(user).to_owned()).collect();
    assignees.sort();
    let (mut checklist, mut description) = (Vec::new(), String::new());
    if let Some(details) = &fields.details {
        checklist = in_order(&details.checklist).into_iter().map(|(_, item)| item.title.clone()).collect();
        description.clone_from(&details.description);
    }
    TaskFacts {
        id: record.id.to_string(),
        planner_id: record.planner_id().map(ToString::to_string),
        title: fields.title.clone(),
        bucket: fields.bucket.as_ref().and_then(|id| plan.buckets.iter().position(|bucket| bucket.id == *id)),
        percent: fields.percent_complete,
        priority: fields.priority,
        start_at: fields.start,
        due_at: fields.due,
        start: None,
        due: None,
        assignees,
        labels: category_names(plan, record),
        created_at: facts.created_at,
        created_by: person(&facts.created_by),
        completed_at: facts.completed_at,
        completed_by: person(&facts.completed_by),
        checklist_items: facts.checklist_items,
        open_checklist_items: facts.open_checklist_items,
        checklist,
        description,
    }
}
