//! Tasks over REST: the life of one, keys, pages, and writes that wait for Planner.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use url::Url;

use crate::support::rest::{Answer, ask, send, tell};
use crate::support::{PLAN, World};

const TASKS: &str = "/api/agent/tasks";

fn path(answer: &Answer) -> String {
    format!("{TASKS}/{}", answer.body["id"].as_str().expect("an id"))
}

/// Creates, reads, changes, finds and deletes a task.
pub async fn a_task_lives_its_life(base: &Url) {
    let created = tell(
        base,
        "POST",
        TASKS,
        json!({"plan_id": PLAN, "title": "Life of a task", "priority": 5, "bucket_id": null}),
    )
    .await;
    assert_eq!((created.status, created.body["sync"].as_str()), (201, Some("synced")), "{created:#?}");
    let path = path(&created);
    assert_eq!(created.header("location"), path);
    let shown = ask(base, "GET", &path).await;
    assert_eq!((shown.status, shown.body["title"].as_str()), (200, Some("Life of a task")), "{shown:#?}");
    let changed = tell(base, "PATCH", &path, json!({"status": "completed"})).await;
    assert_eq!((changed.status, changed.body["status"].as_str()), (200, Some("completed")), "{changed:#?}");
    for (body, word) in [(json!({"due_date": null}), "`due_date` is null"), (json!({}), "no field is named")] {
        tell(base, "PATCH", &path, body).await.assert_problem(400, "VAL_001").assert_says(word);
    }
    let found = ask(base, "GET", "/api/agent/tasks?text=Life%20of%20a%20task&status=completed&fields=id,title").await;
    assert_eq!(found.body["tasks"], json!([{"id": created.body["id"], "title": "Life of a task"}]), "{found:#?}");
    let removed = ask(base, "DELETE", &path).await;
    assert_eq!((removed.status, removed.body["sync"].as_str()), (200, Some("synced")), "{removed:#?}");
    ask(base, "GET", &path).await.assert_problem(404, "TASK_001");
    tell(base, "PATCH", &path, json!({"title": "Ghost"})).await.assert_problem(404, "TASK_001");
    ask(base, "DELETE", &path).await.assert_problem(404, "TASK_001");
}

/// Programs that know Graph send its names; a name of theirs and ours for one field are refused together.
pub async fn graphs_names_of_fields_are_served(base: &Url) {
    let body = json!({"planId": PLAN, "title": "In Graph's words", "bucketId": "Review", "percentComplete": 25,
        "startDateTime": "2026-11-30T00:00:00Z", "dueDateTime": "2026-12-04T00:00:00Z", "assigneeIds": []});
    let created = tell(base, "POST", TASKS, body).await;
    assert_eq!(created.status, 201, "{created:#?}");
    let path = path(&created);
    let shown = ask(base, "GET", &path).await.body;
    let of = |name: &str| shown[name].clone();
    assert_eq!((of("bucket"), of("percent_complete")), (json!("Review"), json!(25)), "{shown:#}");
    assert_eq!((of("start_date"), of("due_date")), (json!("2026-11-30"), json!("2026-12-04")), "{shown:#}");
    let found =
        "?planId=Website%20relaunch&bucketId=Review&dueDateTime=2026-12-04T00:00:00Z&percentComplete=25&fields=title";
    let found = ask(base, "GET", &format!("{TASKS}{found}")).await;
    assert_eq!(found.body["tasks"], json!([{"title": "In Graph's words"}]), "{found:#?}");
    let changed = tell(base, "PATCH", &path, json!({"percentComplete": 100, "dueDateTime": "2026-12-05"})).await;
    assert_eq!((changed.status, &changed.body["status"]), (200, &json!("completed")), "{changed:#?}");
    for (method, path, body) in [
        ("POST", TASKS, json!({"planId": PLAN, "plan_id": PLAN, "title": "x"})),
        ("PATCH", &*path, json!({"dueDateTime": "2026-12-05", "due_date": "2026-12-05"})),
    ] {
        tell(base, method, path, body).await.assert_problem(400, "VAL_001").assert_says("are one field");
    }
    let twice = ask(base, "GET", &format!("{TASKS}?planId=a&plan_id=b")).await;
    twice.assert_problem(400, "VAL_001").assert_says("`planId` and `plan_id`");
    let document = ask(base, "GET", "/api/openapi.json").await.text;
    assert!(!document.contains("percentComplete") && !document.contains("assigneeIds"), "they are not listed");
}

/// The same key gives the same task, wherever it stands; other arguments are refused.
pub async fn an_idempotency_key_makes_one_task(base: &Url) {
    let create = async |header: Option<&str>, body: Value| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(header.map(|key| ("idempotency-key", key)));
        send(base, "POST", TASKS, &headers, Some(body.to_string())).await
    };
    let first = create(Some("rest-1"), json!({"plan_id": PLAN, "title": "Once"})).await;
    let again = create(Some("rest-1"), json!({"plan_id": PLAN, "title": "Once"})).await;
    let in_body = create(None, json!({"plan_id": PLAN, "title": "Once", "idempotency_key": "rest-1"})).await;
    assert_eq!((first.status, again.status, in_body.status), (201, 201, 201), "{again:#?} {in_body:#?}");
    assert_eq!((&again.body["id"], &in_body.body["id"]), (&first.body["id"], &first.body["id"]));
    create(Some("rest-1"), json!({"plan_id": PLAN, "title": "Other"})).await.assert_problem(409, "VAL_005");
    let both = create(Some("rest-1"), json!({"plan_id": PLAN, "title": "Once", "idempotency_key": "rest-2"})).await;
    both.assert_problem(400, "VAL_001").assert_says("differ");
}

/// The `Link` header leads through all pages, each task once.
pub async fn pages_lead_on(base: &Url) {
    let mut ids = BTreeSet::new();
    let mut next = Some(format!("{TASKS}?plan_id=Website%20relaunch&limit=90&sort=-title"));
    let mut pages = 0;
    while let Some(address) = next {
        let page = ask(base, "GET", &address).await;
        assert_eq!(page.status, 200, "{page:#?}");
        for task in page.body["tasks"].as_array().expect("tasks") {
            assert!(ids.insert(task["id"].as_str().expect("an id").to_owned()), "{task} stands on two pages");
        }
        pages += 1;
        next = page
            .header("link")
            .strip_suffix(">; rel=\"next\"")
            .and_then(|link| link.strip_prefix('<'))
            .map(str::to_owned);
        assert_eq!(next.is_none(), page.body["complete"] == true);
        assert!(next.is_some() || page.body["total"] == ids.len());
    }
    assert!(pages >= 3, "{pages} pages");
}

#[tokio::test]
async fn tasks_are_created_read_changed_and_deleted_over_rest() {
    let world = World::start().await;
    let base = world.api_url();
    a_task_lives_its_life(&base).await;
    graphs_names_of_fields_are_served(&base).await;
    an_idempotency_key_makes_one_task(&base).await;
    pages_lead_on(&base).await;
}

#[tokio::test]
async fn write_during_a_graph_outage_answers_202() {
    let world = World::hurried().await;
    let base = world.api_url();
    let (id, _) = world.task("Waits").await;
    let path = format!("{TASKS}/{id}");
    world.faults(json!([{"path_contains": "planner/tasks", "kind": "status", "status": 503, "retry_after": 1}])).await;
    let created = tell(&base, "POST", TASKS, json!({"plan_id": PLAN, "title": "Arrives later"})).await;
    assert_eq!((created.status, created.body["sync"].as_str()), (202, Some("pending")), "{created:#?}");
    assert!(created.header("location").starts_with(TASKS));
    let changed = tell(&base, "PATCH", &path, json!({"title": "Waits more"})).await;
    assert_eq!((changed.status, changed.body["sync"].as_str()), (202, Some("pending")), "{changed:#?}");
    let health = ask(&base, "GET", "/health/ready").await;
    assert_eq!((health.status, health.body["replicas"]["pending_writes"].as_u64()), (200, Some(2)), "{health:#?}");
    let removed = ask(&base, "DELETE", &path).await;
    assert_eq!((removed.status, removed.body["sync"].as_str()), (202, Some("pending")), "{removed:#?}");
    world.heal().await;
    world.until("the task arrives", async || !world.tasks_called("Arrives later").await.is_empty()).await;
}
