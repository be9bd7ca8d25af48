//! What a failure is called, and whether it leaves a question.

use graphgate::graph::tasks::{TaskBody, TaskPatch};
use graphgate::graph::{Call, Client, Error, ErrorKind, Identity};
use wiremock::ResponseTemplate;

use super::support::{ETAG, World, plan, refusal, task_id};

async fn patch(answer: ResponseTemplate) -> Error {
    let world = World::fast().await;
    world.answer("PATCH", ".*", answer).await;
    let patch = TaskPatch { percent_complete: Some(50), ..TaskPatch::default() };
    world.client.update_task(&Call::interactive(Identity::Application), &task_id(), ETAG, &patch).await.unwrap_err()
}

async fn create(answer: ResponseTemplate) -> (Error, usize) {
    let world = World::fast().await;
    world.answer("POST", ".*", answer).await;
    let body = TaskBody { plan_id: plan(), title: "t".to_owned(), fields: TaskPatch::default() };
    let error = world.client.create_task(&Call::interactive(Identity::Application), &body).await.unwrap_err();
    (error, world.received().await.len())
}

#[tokio::test]
async fn patch_409_and_412_are_stale_with_a_known_outcome() {
    for status in [409, 412] {
        let error = patch(refusal(status, "", "The item changed.")).await;
        assert!(error.is_stale() && !error.is_ambiguous(), "{error}");
        assert_eq!(error.context.request_id.as_deref(), Some("req-1"));
        assert_eq!(error.context.message, "The item changed.");
        assert_eq!(error.context.client_request_id.map(|id| id.len()), Some(36));
    }
}

#[tokio::test]
async fn planner_limit_403_is_named() {
    let (error, _) = create(refusal(403, "MaximumTasksInProject", "Too many.")).await;
    assert_eq!(error.to_string(), "`create_task` failed: the limit `MaximumTasksInProject` is reached");
    assert!(!error.is_ambiguous());
}

#[tokio::test]
async fn permission_403_names_the_permission() {
    let message = "Required scopes: Tasks.ReadWrite.All. See the documentation.";
    let error = patch(refusal(403, "Authorization_RequestDenied", message)).await;
    let ErrorKind::Forbidden { missing } = &error.kind else { panic!("{error}") };
    assert_eq!(missing.as_deref(), Some("Tasks.ReadWrite.All"));
}

#[tokio::test]
async fn post_is_sent_once_and_failure_leaves_outcome_unknown() {
    for status in [403, 409, 500, 502, 503, 504] {
        let (error, sent) = create(refusal(status, "", "no")).await;
        assert_eq!((error.is_ambiguous(), sent), (true, 1), "{status}");
    }
    for status in [400, 401, 404, 412, 413, 422] {
        let (error, sent) = create(refusal(status, "", "no")).await;
        assert_eq!((error.is_ambiguous(), sent), (false, 1), "{status}");
    }
}

#[tokio::test]
async fn post_with_damaged_answer_is_ambiguous_and_sent_once() {
    let (error, sent) = create(ResponseTemplate::new(201).set_body_string("{")).await;
    assert!(matches!(error.kind, ErrorKind::Decode { .. }) && error.is_ambiguous());
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn patch_412_after_a_lost_answer_may_be_applied() {
    let world = World::fast().await;
    world.answer_once("PATCH", ".*", ResponseTemplate::new(504)).await;
    world.answer("PATCH", ".*", refusal(412, "", "no")).await;
    let patch = TaskPatch { percent_complete: Some(50), ..TaskPatch::default() };
    let error = world
        .client
        .update_task(&Call::interactive(Identity::Application), &task_id(), ETAG, &patch)
        .await
        .unwrap_err();
    assert!(error.is_stale() && error.is_ambiguous(), "{error}");
}

#[tokio::test]
async fn refused_connection_leaves_no_unknown_outcome() {
    let world = World::fast().await;
    let (_held, address) = crate::support::refusing_address();
    let base = format!("http://{address}/v1.0").parse().unwrap();
    let client = Client::new(world.http.clone(), world.credential.clone(), base, world.clock.clone());
    let body = TaskBody { plan_id: plan(), title: "t".to_owned(), fields: TaskPatch::default() };
    let error = client.create_task(&Call::interactive(Identity::Application), &body).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unreachable(_)), "{error}");
    assert!(!error.is_ambiguous());
    assert!(!error.to_string().contains("http://"), "{error}");
}

#[tokio::test]
async fn hung_server_is_a_timeout_with_unknown_outcome() {
    let world = World::fast().await;
    world.answer("POST", ".*", ResponseTemplate::new(201).set_delay(std::time::Duration::from_secs(30))).await;
    let body = TaskBody { plan_id: plan(), title: "t".to_owned(), fields: TaskPatch::default() };
    let error = world.client.create_task(&Call::interactive(Identity::Application), &body).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Timeout { .. }) && error.is_ambiguous(), "{error}");
}
