//! Throttling, repeating, holding back.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use graphgate::clock::Clock;
use graphgate::graph::tasks::{TaskBody, TaskPatch};
use graphgate::graph::{Call, ErrorKind, Identity};
use graphgate::http_client::{Deadline, Mode, Outgoing, Repeat, Workload};
use graphgate::rows::{Tables, TenantTables};
use graphgate::store::MemoryTables;
use http::{HeaderMap, Method};
use hyper::body::Bytes;
use wiremock::matchers::{any, method};
use wiremock::{Mock, Request, Respond, ResponseTemplate};

use super::support::{World, plan, task, task_id};

/// Answers every second request with 429 and one second to wait, and counts who comes too early.
#[derive(Clone)]
struct EverySecond(Arc<Mutex<Throttling>>, Clock);

#[derive(Default)]
struct Throttling {
    calls: u32,
    early: u32,
    not_before: Option<DateTime<Utc>>,
}

impl EverySecond {
    fn new(clock: &Clock) -> Self {
        Self(Arc::default(), clock.clone())
    }
}

impl Respond for EverySecond {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let (mut state, now) = (self.0.lock().unwrap(), self.1.now());
        state.calls += 1;
        state.early += u32::from(state.not_before.is_some_and(|until| now < until));
        if state.calls.is_multiple_of(2) {
            state.not_before = Some(now + TimeDelta::seconds(1));
            return ResponseTemplate::new(429).insert_header("Retry-After", "1");
        }
        ResponseTemplate::new(200).set_body_json(task(&task_id(), "t"))
    }
}

#[tokio::test]
async fn alternating_429_respects_retry_after_and_fails_no_call() {
    let world = World::fast().await;
    let server = EverySecond::new(&world.clock);
    Mock::given(method("GET")).respond_with(server.clone()).mount(&world.graph).await;
    for _ in 0..20 {
        world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap();
    }
    let state = server.0.lock().unwrap();
    assert_eq!((state.calls, state.early), (39, 0));
}

#[tokio::test]
async fn concurrent_calls_succeed_under_throttling() {
    let world = World::fast().await;
    let server = EverySecond::new(&world.clock);
    Mock::given(method("GET")).respond_with(server.clone()).mount(&world.graph).await;
    let (call, id) = (Call::interactive(Identity::Application), task_id());
    let calls = (0..40).map(|_| world.client.get_task(&call, &id));
    let failed: Vec<_> = join_all(calls).await.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test]
async fn post_answered_429_is_retried() {
    let world = World::fast().await;
    world.answer_once("POST", ".*", ResponseTemplate::new(429).insert_header("Retry-After", "1")).await;
    world.answer("POST", ".*", ResponseTemplate::new(201).set_body_json(task(&task_id(), "t"))).await;
    let body = TaskBody { plan_id: plan(), title: "t".to_owned(), fields: TaskPatch::default() };
    world.client.create_task(&Call::interactive(Identity::Application), &body).await.unwrap();
    let ids: Vec<_> = world.received().await.iter().map(|r| r.headers["client-request-id"].clone()).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn retry_after_beyond_the_deadline_fails_and_holds_other_calls() {
    let world = World::fast().await;
    world.answer("GET", ".*", ResponseTemplate::new(429).insert_header("Retry-After", "60")).await;
    let call = Call::interactive(Identity::Application);
    let error = world.client.get_task(&call, &task_id()).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_mins(1)));
    let second = world.client.get_task(&call, &task_id()).await.unwrap_err();
    assert!(matches!(second.kind, ErrorKind::Throttled { .. }) && second.retry_after() < error.retry_after());
    world.only_request().await;
    assert_eq!(world.client.get_user(&call, "u").await.unwrap_err().context.status, Some(429), "a gate of its own");
}

#[tokio::test]
async fn retry_after_is_shared_with_other_instances_and_after_restart() {
    let world = World::fast().await;
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    let other = world.other_instance();
    world.http.share(&TenantTables::new(tables.clone(), "tenant"));
    other.0.share(&TenantTables::new(tables.clone(), "tenant"));
    world.answer("GET", ".*", ResponseTemplate::new(429).insert_header("Retry-After", "30")).await;
    world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap_err();
    for (http, client) in [other, world.other_instance()] {
        http.share(&TenantTables::new(tables.clone(), "tenant"));
        let error = client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Throttled { .. }), "{error}");
        assert!(http.closed_for(Workload::Planner) > Duration::from_secs(20));
        assert!(http.closed_for(Workload::Directory).is_zero());
    }
    world.only_request().await;
    world.clock.sleep(Duration::from_secs(61)).await;
    let (http, client) = world.other_instance();
    http.share(&TenantTables::new(tables, "tenant"));
    client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap_err();
    assert_eq!(world.received().await.len(), 2, "what was told long ago silences nobody");
}

#[tokio::test]
async fn wait_heard_of_another_instance_is_not_announced_again() {
    let world = World::fast().await;
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::default());
    let (other, client) = world.other_instance();
    for http in [&world.http, &other] {
        http.share(&TenantTables::new(tables.clone(), "tenant"));
    }
    let (slow, call) = (task_id(), Call::interactive(Identity::Application));
    let answer = ResponseTemplate::new(200).set_body_json(task(&slow, "t")).set_delay(Duration::from_millis(200));
    world.answer("GET", "/planner/tasks/.*", answer).await;
    world.answer("GET", "/planner/plans/.*", ResponseTemplate::new(429).insert_header("Retry-After", "500")).await;
    let in_flight = client.get_task(&call, &slow);
    let throttled = async {
        world.clock.sleep(Duration::from_secs(1)).await; // the other one reads the rows before there is one
        world.client.get_plan(&call, &plan()).await.unwrap_err();
        world.clock.sleep(Duration::from_secs(1)).await;
        client.get_plan(&call, &plan()).await.unwrap_err();
    };
    let (answered, ()) = futures::join!(in_flight, throttled);
    answered.unwrap();
    assert!(other.closed_for(Workload::Planner) > Duration::from_mins(5), "the other one heard of it");
    let left = world.http.closed_for(Workload::Planner);
    world.clock.sleep(Duration::from_secs(10)).await;
    world.client.get_plan(&call, &plan()).await.unwrap_err();
    assert!(
        world.http.closed_for(Workload::Planner) <= left.saturating_sub(Duration::from_secs(10)),
        "it came back as news"
    );
}

#[tokio::test]
async fn get_is_retried_twice_at_most() {
    let world = World::fast().await;
    world.answer("GET", ".*", ResponseTemplate::new(503)).await;
    let error = world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Unavailable), "{error}");
    assert_eq!(world.received().await.len(), 3);
    let planner = world.http.counts()[0];
    assert_eq!((planner.failed, planner.retries), (3, 2));
}

#[tokio::test]
async fn breaker_opens_after_five_failures() {
    let world = World::fast().await;
    world.answer("GET", ".*", ResponseTemplate::new(502)).await;
    let call = Call::interactive(Identity::Application);
    for _ in 0..2 {
        world.client.get_task(&call, &task_id()).await.unwrap_err();
    }
    let error = world.client.get_task(&call, &task_id()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::BreakerOpen { .. }), "{error}");
    assert_eq!(world.received().await.len(), 5);
}

#[tokio::test]
async fn queued_call_of_a_cancelled_caller_is_not_sent() {
    let world = World::fast().await;
    world.answer("GET", ".*", ResponseTemplate::new(429).insert_header("Retry-After", "5")).await;
    let (id, call) = (task_id(), Call::interactive(Identity::Application));
    let abandoned = world.clock.timeout(Duration::from_secs(2), world.client.get_task(&call, &id)).await;
    assert!(abandoned.is_none());
    world.only_request().await;
}

#[tokio::test]
async fn post_without_body_sends_content_length_0() {
    let world = World::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&world.graph).await;
    let send = async |method: Method, body: Option<&'static str>| {
        let call = Outgoing {
            operation: "try",
            workload: Workload::Storage,
            target: None,
            method,
            url: world.graph.uri().parse().unwrap(),
            headers: HeaderMap::new(),
            body: body.map(Bytes::from),
            repeat: Repeat::OnlyIfUnsent,
            mode: Mode::Interactive,
            deadline: Deadline::after(&world.clock, Duration::from_secs(5)),
        };
        world.http.send(&call).await.unwrap();
        let received = world.graph.received_requests().await.unwrap().pop().unwrap();
        received.headers.get("content-length").map(|length| length.to_str().unwrap().to_owned())
    };
    for method in [Method::PUT, Method::POST, Method::PATCH] {
        assert_eq!(send(method.clone(), None).await.as_deref(), Some("0"), "{method}");
        assert_eq!(send(method.clone(), Some("")).await.as_deref(), Some("0"), "{method}");
        assert_eq!(send(method, Some("xyz")).await.as_deref(), Some("3"));
    }
    assert_eq!(send(Method::GET, None).await, None);
    assert_eq!(send(Method::DELETE, None).await, None);
}
