//! Batches: every part by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use graphgate::graph::tasks::{Deleted, TaskBody, TaskPatch};
use graphgate::graph::{Call, ErrorKind, Identity};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, Request, ResponseTemplate};

use super::support::{ETAG, World, plan, task, task_ids};

fn parts(request: &Request) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["requests"].as_array().unwrap().clone()
}

/// Answers every batch; `part` answers the part for the task with a number, given how many batches came before.
async fn serve(world: &World, part: impl Fn(usize, usize, &Value) -> Option<Value> + Send + Sync + 'static) {
    let batches = AtomicUsize::new(0);
    let answer = move |request: &Request| {
        let before = batches.fetch_add(1, Ordering::SeqCst);
        let answered = parts(request).into_iter().filter_map(|asked| {
            let number = asked["url"].as_str().unwrap().rsplit('/').find_map(|s| s.parse().ok()).unwrap_or_default();
            let mut answer = part(before, number, &asked)?;
            answer["id"] = asked["id"].clone();
            Some(answer)
        });
        let responses: Vec<_> = answered.collect::<Vec<_>>().into_iter().rev().collect(); // any order is allowed
        ResponseTemplate::new(200).set_body_json(json!({ "responses": responses }))
    };
    Mock::given(method("POST")).and(path("/v1.0/$batch")).respond_with(answer).mount(&world.graph).await;
}

fn ok(number: usize) -> Option<Value> {
    let headers = json!({ "Content-Type": "application/json" });
    Some(json!({ "status": 200, "headers": headers, "body": task(&task_ids(number), &format!("task {number}")) }))
}

fn refused(status: u16) -> Option<Value> {
    Some(json!({ "status": status, "body": { "error": { "code": "", "message": "no" } } }))
}

fn changes(count: usize) -> Vec<(graphgate::ids::PlannerTaskId, String, TaskPatch)> {
    let patch = TaskPatch { percent_complete: Some(100), ..TaskPatch::default() };
    (0..count).map(|number| (task_ids(number), ETAG.to_owned(), patch.clone())).collect()
}

#[tokio::test]
async fn batch_outcomes_are_in_request_order() {
    let world = World::start().await;
    serve(&world, |_, number, _| ok(number)).await;
    let ids: Vec<_> = (0..45).map(task_ids).collect();
    let done = AtomicUsize::new(0);
    let count = |finished: usize| {
        done.fetch_max(finished, Ordering::SeqCst);
    };
    let tasks = world.client.batch_get_tasks(&Call::interactive(Identity::Application), &ids, &count).await;
    for (number, read) in tasks.into_iter().enumerate() {
        assert_eq!(read.unwrap().unwrap().title, format!("task {number}"));
    }
    assert_eq!(done.into_inner(), 45);
    let mut sizes: Vec<_> = world.received().await.iter().map(|request| parts(request).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 20, 20]);
}

#[tokio::test]
async fn batch_parts_carry_their_own_headers() {
    let world = World::start().await;
    serve(&world, |_, number, _| ok(number)).await;
    world
        .client
        .batch_update_tasks(&Call::interactive(Identity::Application), &changes(1), &|_| ())
        .await
        .remove(0)
        .unwrap();
    let expected = json!({
        "id": "0",
        "method": "PATCH",
        "url": format!("/planner/tasks/{}", task_ids(0)),
        "headers": { "Content-Type": "application/json", "If-Match": ETAG, "Prefer": "return=representation" },
        "body": { "percentComplete": 100 },
    });
    assert_eq!(parts(&world.only_request().await), [expected]);
}

#[tokio::test]
async fn batch_retries_only_retryable_parts() {
    let world = World::fast().await;
    serve(&world, |before, number, _| match (number, before) {
        (1, 0) => Some(json!({ "status": 429, "headers": { "Retry-After": "1" }, "body": null })),
        (2, _) => refused(412),
        (3, _) => refused(404),
        (4, _) => refused(424),
        (5, 0) => refused(503),
        (6, 0) => None,
        (7, _) => refused(500),
        _ => ok(number),
    })
    .await;
    let outcomes =
        world.client.batch_update_tasks(&Call::interactive(Identity::Application), &changes(20), &|_| ()).await;
    let kinds: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().map_err(|error| &error.kind)).collect();
    assert!(matches!(kinds[2], Err(ErrorKind::PreconditionFailed)));
    assert!(matches!(kinds[3], Err(ErrorKind::NotFound)));
    assert!(matches!(kinds[4], Err(ErrorKind::FailedDependency)));
    assert!(matches!(kinds[7], Err(ErrorKind::Unavailable)));
    assert_eq!(kinds.iter().filter(|kind| kind.is_ok()).count(), 16, "{kinds:?}");
    let received = world.received().await;
    let sent = |batch: usize| -> Vec<String> {
        parts(&received[batch]).iter().map(|p| p["url"].as_str().unwrap()[42..].to_owned()).collect()
    };
    assert_eq!(received.len(), 3);
    assert_eq!(
        (sent(1), sent(2)),
        (vec!["1".to_owned(), "5".to_owned(), "6".to_owned(), "7".to_owned()], vec!["7".to_owned()])
    );
}

#[tokio::test]
async fn batch_creates_of_unknown_outcome_are_not_retried() {
    let world = World::fast().await;
    serve(&world, |before, _, asked| match (asked["body"]["title"].as_str().unwrap(), before) {
        ("throttled", 0) => Some(json!({ "status": 429, "headers": { "retry-after": "1" } })),
        ("broken", _) => refused(503),
        ("missing", _) => None,
        _ => Some(json!({ "status": 201, "body": task(&task_ids(0), "t") })),
    })
    .await;
    let bodies = ["fine", "throttled", "broken", "missing"].map(|title| TaskBody {
        plan_id: plan(),
        title: title.to_owned(),
        fields: TaskPatch::default(),
    });
    let outcomes = world.client.batch_create_tasks(&Call::interactive(Identity::Application), &bodies, &|_| ()).await;
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert!(outcomes[2].as_ref().is_err_and(graphgate::graph::Error::is_ambiguous));
    assert!(outcomes[3].as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Unknown) && error.is_ambiguous()));
    let received = world.received().await;
    assert_eq!(received.len(), 2);
    assert_eq!(parts(&received[1])[0]["body"]["title"], "throttled");
}

#[tokio::test]
async fn batch_patch_answered_204_reads_the_task() {
    let world = World::start().await;
    serve(&world, |_, number, asked| match asked["method"].as_str().unwrap() {
        "PATCH" if number % 2 == 0 => Some(json!({ "status": 204, "headers": {} })),
        _ => ok(number),
    })
    .await;
    let outcomes =
        world.client.batch_update_tasks(&Call::interactive(Identity::Application), &changes(4), &|_| ()).await;
    let titles: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().title).collect();
    assert_eq!(titles, ["task 0", "task 1", "task 2", "task 3"]);
}

#[tokio::test]
async fn batch_delete_and_get_report_404_as_absent() {
    let world = World::start().await;
    serve(&world, |_, number, asked| match (number, asked["method"].as_str().unwrap()) {
        (1, _) => refused(404),
        (_, "DELETE") => Some(json!({ "status": 204 })),
        _ => ok(number),
    })
    .await;
    let gone = [(task_ids(0), ETAG.to_owned()), (task_ids(1), ETAG.to_owned())];
    let call = Call::interactive(Identity::Application);
    let deleted: Vec<_> = world.client.batch_delete_tasks(&call, &gone, &|_| ()).await;
    assert_eq!(deleted.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Deleted::Deleted, Deleted::AlreadyGone]);
    let read = world.client.batch_get_tasks(&call, &[task_ids(0), task_ids(1)], &|_| ()).await;
    assert_eq!(read.into_iter().map(|task| task.unwrap().is_some()).collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn failed_batch_fails_every_part() {
    let world = World::fast().await;
    world.answer("POST", ".*", ResponseTemplate::new(500)).await;
    let body = TaskBody { plan_id: plan(), title: "t".to_owned(), fields: TaskPatch::default() };
    let created = world
        .client
        .batch_create_tasks(&Call::interactive(Identity::Application), &[body.clone(), body], &|_| ())
        .await;
    assert!(created.iter().all(|outcome| outcome.as_ref().is_err_and(graphgate::graph::Error::is_ambiguous)));
    assert_eq!(world.received().await.len(), 1, "creates are not repeated");
    let read = world.client.batch_get_tasks(&Call::interactive(Identity::Application), &[task_ids(0)], &|_| ()).await;
    assert!(read[0].as_ref().is_err_and(|error| error.operation == "get_task" && !error.is_ambiguous()));
    assert_eq!(world.received().await.len(), 4, "reads are");
}

#[tokio::test]
async fn two_hundred_tasks_use_at_most_eight_concurrent_batches() {
    let world = World::start().await;
    let answer = |request: &Request| {
        let responses: Vec<_> = parts(request)
            .iter()
            .map(|asked| json!({ "id": asked["id"], "status": 201, "body": task(&task_ids(0), "t") }))
            .collect();
        ResponseTemplate::new(200)
            .set_body_json(json!({ "responses": responses }))
            .set_delay(Duration::from_millis(100))
    };
    Mock::given(method("POST")).respond_with(answer).mount(&world.graph).await;
    let body = TaskBody { plan_id: plan(), title: "t".to_owned(), fields: TaskPatch::default() };
    let bodies = vec![body; 200];
    let most = AtomicUsize::new(0);
    let watch = async {
        loop {
            let in_flight = usize::try_from(world.http.counts()[0].in_flight).unwrap();
            most.fetch_max(in_flight, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    };
    let call = Call::interactive(Identity::Application);
    let creating = Box::pin(world.client.batch_create_tasks(&call, &bodies, &|_| ()));
    let Either::Left((created, _)) = select(creating, Box::pin(watch)).await;
    assert!(created.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::SeqCst), 8);
    assert_eq!(world.received().await.len(), 10);
}
