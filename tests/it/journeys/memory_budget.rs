//! A deployment whose memory holds one plan at a time answers as one that has room for all.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use graphgate::clock::Clock;
use graphgate::ids::{PlanId, PlanKey, PlannerTaskId};
use graphgate::rows::{StoreError, TenantTables};
use graphgate::store::MemoryTables;
use graphgate::sync::import::import;
use graphgate::sync::memory::Memory;
use graphgate::sync::model::{TaskFacts, TaskFields};
use graphgate::sync::ports::RemoteTask;
use graphgate::sync::{Counts, PlanHandle, Step};
use serde_json::{Value, json};

use crate::support::{PLAN, World};

/// Plans of so many tasks, whose rows in memory count against a budget.
async fn plans(memory: &Arc<Memory>, count: usize, tasks: usize) -> Vec<Arc<PlanHandle>> {
    let tables = TenantTables::new(Arc::new(MemoryTables::default()), "tenant");
    let mut plans = Vec::new();
    for number in 0..count {
        let id = PlanId::parse(&format!("{number:028}")).unwrap();
        let key = PlanKey::derive(&id, 0);
        let handle = PlanHandle::new(&tables, id, key.clone(), Clock::system(), "test".into());
        let handle = Arc::new(handle.within(memory.clone()));
        memory.admit(&handle);
        let imported = (0..tasks).map(|task| {
            let fields = TaskFields { title: format!("Task {task} of plan {number}"), ..TaskFields::blank() };
            let id = PlannerTaskId::parse(&format!("{number:014}{task:014}")).unwrap();
            let task = RemoteTask { id, etag: format!("W/\"{task}\""), fields, facts: TaskFacts::default() };
            import(&key, &task, DateTime::<Utc>::UNIX_EPOCH)
        });
        let step = Step { put: imported.collect(), ..Step::default() };
        handle
            .transact(|_| Ok::<_, StoreError>((Step { put: step.put.clone(), ..Step::default() }, ())))
            .await
            .unwrap();
        plans.push(handle);
    }
    plans
}

#[tokio::test]
async fn memory_budget_holds_for_all_plans_without_loss() {
    const BUDGET: usize = 400_000;
    let (limited, roomy) = (Memory::new(BUDGET), Memory::new(usize::MAX));
    let (few, all) = (plans(&limited, 20, 90).await, plans(&roomy, 20, 90).await);
    assert!(roomy.total() > 4 * BUDGET, "without a limit they take {} bytes", roomy.total());
    assert!(limited.total() <= BUDGET, "{} bytes", limited.total());
    for (away, at_hand) in few.iter().zip(&all).cycle().take(60) {
        let titles = |handle: &PlanHandle| {
            handle.tasks_in_passing().iter().map(|record| record.fields.title.clone()).collect::<Vec<_>>()
        };
        let before = limited.total();
        assert_eq!(titles(away), titles(at_hand));
        assert_eq!(limited.total(), before, "nothing is taken back in passing");
        let known = at_hand.read().records().next().unwrap().clone();
        assert_eq!(away.id_of(known.planner_id().unwrap()), Some(known.id.clone()));
        assert_eq!(away.read().task(&known.id), Some(&known), "it is taken back, and others make room");
        assert!(limited.total() <= BUDGET, "{} bytes", limited.total());
        assert_eq!(away.counts(), Counts { tasks: 90, pending: 0 });
    }
    drop(few);
    plans(&limited, 21, 1).await;
    assert!(limited.total() < BUDGET / 4, "plans that are gone take nothing: {} bytes", limited.total());
}

#[tokio::test]
async fn pages_of_any_size_hold_the_same_tasks_in_the_same_order() {
    let world = World::start().await;
    for sort in ["due_date", "-title", "bucket"] {
        let page = async |limit: usize, cursor: Option<&Value>| {
            let mut query = json!({"plan_id": PLAN, "fields": ["id"], "sort": sort, "limit": limit});
            if let Some(cursor) = cursor {
                query["cursor"] = cursor.clone();
            }
            world.ok("query_tasks", query).await
        };
        let whole = page(1000, None).await["rows"].as_array().unwrap().clone();
        assert!(whole.len() > 150);
        let (mut paged, mut cursor) = (Vec::new(), None);
        loop {
            let next = page(5, cursor.as_ref()).await;
            assert_eq!(next["total"], whole.len());
            paged.extend(next["rows"].as_array().unwrap().clone());
            match next.get("cursor") {
                Some(after) if !after.is_null() => cursor = Some(after.clone()),
                _ => break assert_eq!(next["complete"], true),
            }
        }
        assert_eq!(paged, whole, "sorted by {sort}");
    }
}

/// Every task in a picture of the tenant.
fn tasks_of(picture: &Value) -> Vec<Value> {
    match picture {
        Value::Object(task) if task.contains_key("planId") && task.contains_key("percentComplete") => {
            vec![picture.clone()]
        }
        Value::Object(object) => object.values().flat_map(tasks_of).collect(),
        Value::Array(items) => items.iter().flat_map(tasks_of).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn evicted_plans_are_read_searched_and_changed() {
    let world = World::with(|config| config.planner.replica_memory = 0).await;
    let there = tasks_of(&world.control("GET", "snapshot", Value::Null).await);
    let everything = json!({"fields": ["id", "title", "plan"], "sort": "title", "limit": 100});
    let page = world.ok("query_tasks", everything.clone()).await;
    assert_eq!(page["total"], there.len(), "all tasks are counted");
    assert_eq!(world.ok("query_tasks", everything).await["rows"], page["rows"], "and are the same when asked again");

    let plans = world.ok("list_plans", json!({})).await["plans"].as_array().unwrap().clone();
    let counted: u64 = plans.iter().map(|plan| plan["tasks"].as_u64().expect("it is known")).sum();
    assert_eq!(counted, there.len() as u64);

    // One task of each plan, by the id that Planner gives it.
    let mut of_plans: BTreeMap<&str, &Value> = BTreeMap::new();
    for task in &there {
        of_plans.entry(task["planId"].as_str().unwrap()).or_insert(task);
    }
    assert!(of_plans.len() > 2, "there are several plans");
    let mut ids = Vec::new();
    for task in of_plans.values() {
        let found = world.ok("get_task", json!({"task_id": task["id"]})).await;
        assert_eq!(found["title"], task["title"]);
        ids.push(found["id"].clone());
    }
    for (number, id) in ids.iter().enumerate() {
        let title = format!("Zebra{number} while others are away");
        let changed = world.ok("update_task", json!({"task_id": id, "title": title})).await;
        assert_eq!(changed["sync"], "synced", "{changed:#}");
    }
    for number in 0..ids.len() {
        let title = format!("Zebra{number} while others are away");
        let there = tasks_of(&world.control("GET", "snapshot", Value::Null).await);
        assert_eq!(there.iter().filter(|task| task["title"] == title).count(), 1, "{title} is on Planner");
        let found = world.ok("query_tasks", json!({"text": title, "limit": 5})).await;
        assert_eq!(found["total"], 1, "{found:#}");
    }
}
