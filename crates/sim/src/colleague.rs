//! The colleague: a person of the tenant who edits tasks while one works, through the same handlers as everybody,
//! so that ETags, counts and completion change as they do in a real plan.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::entra::{Claims, GRAPH};
use super::graph::etag::{self, Kind};
use super::graph::{self, Call, Query};
use super::rng::Rng;
use super::simulator::Simulator;
use super::state::Tenant;

/// The Planner web app, as people's edits name it.
const PLANNER_APP: &str = "09abbdfd-ed23-44ee-a2d9-a627aa1c90f3";

/// One wanted edit; without any member it is a random one.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edit {
    /// Who edits: id or user principal name; else a member of the plan's group.
    pub user: Option<String>,
    pub task_id: Option<String>,
    /// Properties of the task.
    pub set: Option<Value>,
    /// Properties of its details.
    pub details: Option<Value>,
    /// The task repeats: completing it makes the next one, due so many days later.
    pub repeat_days: Option<i64>,
    /// A new task, as for POST /planner/tasks.
    pub create: Option<Value>,
    /// Id of a task to delete.
    pub delete: Option<String>,
}

/// Edits at the pace that is set, for as long as the tenant runs.
pub async fn work(simulator: Arc<Simulator>) {
    loop {
        let pace = simulator.knobs(|k| k.colleague.every_ms);
        let Some(pace) = pace else {
            simulator.colleague_changed.notified().await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pace)) => {
                if let Err(why) = edit(&simulator, Edit::default()) {
                    tracing::debug!(why, "the colleague found nothing to do");
                }
            }
            () = simulator.colleague_changed.notified() => {}
        }
    }
}

/// Makes one edit and tells what it was.
pub fn edit(simulator: &Simulator, edit: Edit) -> Result<Value, String> {
    let now = simulator.clock.now();
    let rules = simulator.knobs(|k| k.rules.clone());
    let mut rng = simulator.knobs(|k| {
        k.colleague.edits += 1;
        Rng::new(k.colleague.seed.wrapping_mul(1_000_003).wrapping_add(k.colleague.edits))
    });
    simulator.write(|tenant| {
        let edit = if edit.task_id.is_none() && edit.create.is_none() && edit.delete.is_none() {
            Edit { user: edit.user, ..random(tenant, &mut rng).ok_or("there is no task to edit")? }
        } else {
            edit
        };
        let mut made = Vec::new();
        let mut send = |tenant: &mut Tenant,
                        method: &str,
                        target: String,
                        kind: Kind,
                        id: &str,
                        plan: &str,
                        body: Option<Value>| {
            let user = person(tenant, plan, edit.user.as_deref(), &mut rng).ok_or("there is nobody who could edit")?;
            let mut headers = vec![("prefer".to_owned(), "return=representation".to_owned())];
            if let Some(entity) = tenant.planner(kind).get(id) {
                headers.push(("if-match".to_owned(), etag::write(kind, entity.version())));
            }
            let call = Call {
                method: method.to_owned(),
                segments: target.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
                target,
                query: Query::default(),
                headers,
                body,
                claims: Arc::new(Claims {
                    client_id: PLANNER_APP.to_owned(),
                    user: Some(user.clone()),
                    permissions: vec!["Tasks.ReadWrite".to_owned()],
                    audience: GRAPH.to_owned(),
                    not_before: 0,
                    expires: i64::MAX,
                    ..Claims::default()
                }),
                root: "https://graph.microsoft.com/v1.0".to_owned(),
                now,
            };
            match graph::planner_route(&call, tenant, &rules) {
                Ok(answer) => {
                    let body = answer.body.and_then(|b| serde_json::from_str::<Value>(&b).ok());
                    made.push(json!({"method": method, "path": call.target, "user": user, "result": body}));
                    Ok(())
                }
                Err(error) => Err(error.message),
            }
        };
        if let Some(create) = edit.create.clone() {
            let plan = create.get("planId").and_then(Value::as_str).unwrap_or_default().to_owned();
            send(tenant, "POST", "/planner/tasks".to_owned(), Kind::Task, "", &plan, Some(create))?;
        }
        if let Some(id) = edit.task_id.clone() {
            let plan = plan_of(tenant, &id)?;
            if let Some(days) = edit.repeat_days {
                tenant.recurring.insert(id.clone(), days);
            }
            if let Some(set) = edit.set.clone() {
                send(tenant, "PATCH", format!("/planner/tasks/{id}"), Kind::Task, &id, &plan, Some(set))?;
            }
            if let Some(details) = edit.details.clone() {
                send(
                    tenant,
                    "PATCH",
                    format!("/planner/tasks/{id}/details"),
                    Kind::TaskDetails,
                    &id,
                    &plan,
                    Some(details),
                )?;
            }
        }
        if let Some(id) = edit.delete.clone() {
            let plan = plan_of(tenant, &id)?;
            send(tenant, "DELETE", format!("/planner/tasks/{id}"), Kind::Task, &id, &plan, None)?;
        }
        Ok(json!({"edits": made}))
    })
}

fn plan_of(tenant: &Tenant, task: &str) -> Result<String, String> {
    tenant.planner(Kind::Task).parent(task).map(str::to_owned).ok_or_else(|| format!("there is no task '{task}'"))
}

/// Somebody who may edit the plan: the named user, else a member of its group.
fn person(tenant: &Tenant, plan: &str, wanted: Option<&str>, rng: &mut Rng) -> Option<String> {
    if let Some(wanted) = wanted {
        return tenant.find_user(wanted).map(|(id, _)| id);
    }
    let group = tenant.group_of_plan(plan)?;
    rng.pick(tenant.members.get(group)?).cloned()
}

/// What people do to tasks all day: progress, move, rename, reschedule, prioritise, add, and now and then delete.
fn random(tenant: &Tenant, rng: &mut Rng) -> Option<Edit> {
    let plans = tenant.planner(Kind::Plan).all();
    // A plan that the page or a test can watch change: every second edit goes to the first one.
    let plan = if rng.chance(0.5) { plans.first() } else { rng.pick(&plans) }?.0.to_owned();
    let tasks: Vec<(&str, _)> = tenant.planner(Kind::Task).of(&plan).collect();
    let buckets: Vec<&str> = tenant.planner(Kind::Bucket).of(&plan).map(|(id, _)| id).collect();
    let bucket = rng.pick(&buckets).map(|b| (*b).to_owned());
    let what = rng.below(100);
    if tasks.is_empty() || what < 8 {
        let title = rng
            .pick(&["Call the supplier back", "Ask Zoë for feedback", "Prepare the demo", "Überarbeiten"])
            .copied()?;
        return Some(Edit {
            create: Some(json!({"planId": plan, "bucketId": bucket, "title": title})),
            ..Edit::default()
        });
    }
    let (id, task) = rng.pick(&tasks)?;
    let task_id = Some((*id).to_owned());
    if what < 10 {
        return Some(Edit { delete: task_id, ..Edit::default() });
    }
    let title = task.object().get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
    let set = match what {
        10..40 => json!({"percentComplete": rng.pick(&[0, 50, 100]).copied()?}),
        40..65 => json!({"bucketId": bucket}),
        65..80 => json!({"priority": rng.pick(&[1, 3, 5, 9]).copied()?}),
        80..90 => json!({"title": format!("{} (checked)", title.trim_end_matches(" (checked)"))}),
        _ => json!({"appliedCategories": {format!("category{}", 1 + rng.below(4)): rng.chance(0.6)}}),
    };
    Some(Edit { task_id, set: Some(set), ..Edit::default() })
}
