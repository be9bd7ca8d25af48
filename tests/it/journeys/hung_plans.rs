//! Plans that hang or fail hold up no other.

use std::time::{Duration, Instant};

use graphgate::sync::schedule::Pace;
use serde_json::json;

use crate::support::{PLAN, World};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn hung_plan_listings_do_not_delay_other_plans() {
    let world = World::with(|config| {
        config.reconciles = true;
        config.planner.pace = Pace { fastest: SECOND, busy: SECOND, slowest: SECOND };
    })
    .await;
    let plans = world.ok("list_plans", json!({})).await;
    let plans: Vec<(&str, &str)> = plans["plans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plan| (plan["id"].as_str().unwrap(), plan["title"].as_str().unwrap()))
        .collect();
    for (_, title) in &plans {
        world.ok("get_plan", json!({"plan_id": title})).await;
    }
    let (healthy, _) = *plans.iter().find(|(_, title)| *title == PLAN).unwrap();
    let hang = plans.iter().filter(|(id, _)| *id != healthy).map(|(id, _)| {
        json!({"method": "GET", "path_contains": format!("planner/plans/{id}/tasks"), "kind": "timeout_without_effect"})
    });
    world.faults(hang.collect()).await;
    world
        .until("every other plan hangs", async || {
            let rules = world.control("GET", "faults", json!({})).await["rules"].as_array().unwrap().clone();
            rules.iter().all(|rule| rule["hits"].as_u64() > Some(0))
        })
        .await;
    for number in 0..3 {
        let title = format!("Seen {number}");
        world.colleague(json!({"create": {"planId": healthy, "title": title}})).await;
        let began = Instant::now();
        world
            .until("the new task is seen", async || {
                let page = world.ok("query_tasks", json!({"plan_id": PLAN, "text": title})).await;
                page["total"] == 1
            })
            .await;
        assert!(began.elapsed() < 8 * SECOND, "{title} was seen after {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn failing_plan_does_not_block_writes_of_others() {
    let world = World::start().await;
    let there = "Office move";
    let bad = world.ok("get_plan", json!({"plan_id": there})).await["id"].as_str().unwrap().to_owned();
    world.ok("get_plan", json!({"plan_id": PLAN})).await;
    let listing = format!("planner/plans/{bad}/");
    world.faults(json!([{"method": "GET", "path_contains": listing, "kind": "status", "status": 500}])).await;
    for number in 0..12 {
        let refreshed = world.ok("query_tasks", json!({"plan_id": there, "fresh": true}));
        let made = world.ok("create_task", json!({"plan_id": PLAN, "title": format!("Beside {number}")}));
        let (_, made) = tokio::join!(refreshed, made);
        assert_eq!(made["sync"], "synced", "{number}: {made}");
    }
}

#[tokio::test]
async fn query_over_all_plans_answers_in_time_from_the_replica() {
    let world = World::hurried_with(|config| config.planner.max_age = Duration::ZERO).await;
    let plans = world.ok("list_plans", json!({})).await;
    let ids: Vec<String> =
        plans["plans"].as_array().unwrap().iter().map(|plan| plan["id"].as_str().unwrap().to_owned()).collect();
    let hang = |ids: &[String]| {
        let rule = |id| json!({"path_contains": format!("planner/plans/{id}"), "kind": "timeout_without_effect"});
        ids.iter().map(rule).collect()
    };
    // Of a plan that has never been read nothing can be said but that.
    world.faults(hang(&ids[..1])).await;
    let page = world.ok("query_tasks", json!({"limit": 1})).await;
    assert_eq!(page["complete"], false);
    let note = page["note"].as_str().unwrap_or_else(|| panic!("{page}"));
    assert!(note.starts_with("1 plan(s) are missing") && note.contains(&ids[0]), "{note}");
    world.heal().await;
    let all = json!({"limit": 1000, "status": "completed"});
    let known = async || {
        let page = world.ok("query_tasks", all.clone()).await;
        (page["complete"] == true).then_some(page)
    };
    world.until("nothing is missing", async || known().await.is_some()).await;
    let whole = known().await.unwrap();

    // What was read before is shown as it was, after one wait for all of them together.
    world.faults(hang(&ids)).await;
    let began = Instant::now();
    let page = world.ok("query_tasks", all.clone()).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!((&page["total"], &page["complete"]), (&whole["total"], &json!(true)));
    let note = page["note"].as_str().expect("a note");
    assert!(note.starts_with(&format!("{0} of {0} plans are not fresh, the oldest as of ", ids.len())), "{note}");
    let report = world.ok("generate_report", json!({"type": "portfolio"})).await;
    assert!(began.elapsed() < 3 * SECOND, "{:?}: {report}", began.elapsed());
}
