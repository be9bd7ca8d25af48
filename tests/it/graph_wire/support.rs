//! A scripted Graph and a scripted sign-in service, and a client that talks to them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use graphgate::azure::{Credential, CredentialConfig, Loopback, Secret};
use graphgate::clock::{Clock, TimeSource};
use graphgate::graph::Client;
use graphgate::http_client::HttpClient;
use graphgate::ids::{BucketId, Entropy, GroupId, PlanId, PlannerTaskId, UserId};
use serde_json::{Value, json};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// The token the scripted sign-in service hands out.
pub const TOKEN: &str = "token-of-the-test";
pub const ETAG: &str = "W/\"JzEtVGFzayAgQEBAQEBAQEBAQEBAQEBAWCc=\"";

pub struct World {
    pub graph: MockServer,
    pub login: MockServer,
    pub client: Client,
    pub http: HttpClient,
    pub credential: Credential,
    pub clock: Clock,
}

fn instance(graph: &MockServer, login: &MockServer, clock: &Clock) -> (HttpClient, Credential, Client) {
    let entropy = Entropy::seeded(7);
    let http = HttpClient::new(clock.clone(), entropy.clone()).unwrap();
    let loopback = Loopback::one("login.microsoftonline.com", login.address().port());
    let credential = Credential::new(client_secret(), &http, clock.clone(), entropy, Some(loopback)).unwrap();
    let base = format!("{}/v1.0", graph.uri()).parse().unwrap();
    let client = Client::new(http.clone(), credential.clone(), base, clock.clone());
    (http, credential, client)
}

impl World {
    pub async fn start() -> Self {
        Self::with_clock(Clock::system()).await
    }

    /// Time runs twenty times as fast, so that a `Retry-After` of a second costs 50 ms.
    pub async fn fast() -> Self {
        Self::with_clock(Clock::from_source(Arc::new(Hasty::default()))).await
    }

    async fn with_clock(clock: Clock) -> Self {
        let (graph, login) = (MockServer::start().await, MockServer::start().await);
        let token =
            json!({ "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": TOKEN });
        Mock::given(method("POST"))
            .and(path_regex("^/tenant/oauth2/v2.0/token$"))
            .respond_with(ResponseTemplate::new(200).set_body_json(token))
            .mount(&login)
            .await;
        Self::over(graph, login, clock)
    }

    pub fn over(graph: MockServer, login: MockServer, clock: Clock) -> Self {
        let (http, credential, client) = instance(&graph, &login, &clock);
        Self { graph, login, client, http, credential, clock }
    }

    /// Another process that calls the same services.
    pub fn other_instance(&self) -> (HttpClient, Client) {
        let (http, _, client) = instance(&self.graph, &self.login, &self.clock);
        (http, client)
    }

    /// Answers every request with this method whose path below the root matches.
    pub async fn answer(&self, verb: &str, path: &str, answer: ResponseTemplate) {
        Mock::given(method(verb))
            .and(path_regex(format!("^/v1.0{path}$")))
            .respond_with(answer)
            .mount(&self.graph)
            .await;
    }

    /// Answers the next such request only, before what is mounted later.
    pub async fn answer_once(&self, verb: &str, path: &str, answer: ResponseTemplate) {
        let mock = Mock::given(method(verb)).and(path_regex(format!("^/v1.0{path}$"))).respond_with(answer);
        mock.up_to_n_times(1).mount(&self.graph).await;
    }

    pub async fn received(&self) -> Vec<Request> {
        self.graph.received_requests().await.unwrap()
    }

    /// The only request Graph received.
    pub async fn only_request(&self) -> Request {
        let mut received = self.received().await;
        assert_eq!(received.len(), 1, "{received:#?}");
        received.remove(0)
    }

    /// The shape of the only request: method, address below the root, the headers that matter, body.
    pub async fn only_shape(&self) -> Value {
        shape(&self.only_request().await)
    }
}

impl Drop for World {
    /// Appends what was sent to the file named by `GRAPH_WIRE_LOG`, one JSON line a request, for a checker.
    fn drop(&mut self) {
        let Some(file) = std::env::var_os("GRAPH_WIRE_LOG") else { return };
        let received = futures::executor::block_on(self.graph.received_requests()).unwrap_or_default();
        let lines: String = received.iter().map(|request| format!("{}\n", shape(request))).collect();
        let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
        std::io::Write::write_all(&mut file.unwrap(), lines.as_bytes()).unwrap();
    }
}

pub fn client_secret() -> CredentialConfig {
    CredentialConfig::ClientSecret {
        tenant: "tenant".to_owned(),
        client_id: "app".to_owned(),
        secret: Secret::new("secret"),
        authority: None,
    }
}

/// A request as the checker of Graph requests reads it.
pub fn shape(request: &Request) -> Value {
    let mut shape = json!({ "method": request.method.as_str() });
    let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
    shape["path"] = format!("{}{query}", request.url.path()).into();
    for name in ["content-type", "if-match", "prefer", "consistencylevel"] {
        if let Some(value) = request.headers.get(name) {
            shape["headers"][name] = value.to_str().unwrap().into();
        }
    }
    if !request.body.is_empty() {
        shape["body"] = serde_json::from_slice(&request.body).unwrap();
    }
    shape
}

pub fn plan() -> PlanId {
    PlanId::parse("xqQg5FS2LkCp935s-FIFm2QAFkHM").unwrap()
}

pub fn bucket() -> BucketId {
    BucketId::parse("hsOf2dhOJkqyYYZEtdzDe2QAIUCR").unwrap()
}

pub fn task_id() -> PlannerTaskId {
    PlannerTaskId::parse("01gzSlKkIUSUl6DF_EilrmQAKDhh").unwrap()
}

/// The `number`th of many task ids.
pub fn task_ids(number: usize) -> PlannerTaskId {
    PlannerTaskId::parse(&format!("{number:0>28}")).unwrap()
}

pub fn group() -> GroupId {
    GroupId::parse("ebf3b108-5234-4e22-b93d-656d7dae5874").unwrap()
}

pub fn user() -> UserId {
    UserId::parse("fbab97d0-4932-4511-b675-204639209557").unwrap()
}

/// A task as Graph's reference shows it, with a title.
pub fn task(id: &PlannerTaskId, title: &str) -> Value {
    json!({
        "@odata.etag": ETAG,
        "id": id,
        "planId": plan(),
        "bucketId": bucket(),
        "title": title,
        "orderHint": "9223370609546166567W",
        "assigneePriority": "90057581\"",
        "percentComplete": 50,
        "priority": 3,
        "createdBy": { "user": { "id": user() }, "application": { "id": "b2e7d27e-14e7-41ad-bb15-a88ceb9c3e90" } },
        "createdDateTime": "2015-03-25T18:36:49.2407981Z",
        "dueDateTime": null,
        "appliedCategories": { "category3": true, "category4": false },
        "assignments": {
            user().as_str(): {
                "@odata.type": "#microsoft.graph.plannerAssignment",
                "assignedBy": { "user": { "id": user() } },
                "assignedDateTime": "2015-03-25T18:38:21.956Z",
                "orderHint": "RWk1",
            },
        },
        "hasDescription": true,
        "previewType": "automatic",
        "checklistItemCount": 2,
        "activeChecklistItemCount": 1,
        "referenceCount": 0,
        "specialLater": { "unknown": [1, 2] },
    })
}

/// An error as Graph sends it.
pub fn refusal(status: u16, code: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("request-id", "req-1").set_body_json(json!({
        "error": { "code": code, "message": message, "innerError": { "date": "2026-11-21T10:00:00", "request-id": "req-1" } }
    }))
}

/// A clock twenty times as fast as the machine's.
struct Hasty {
    began: DateTime<Utc>,
    machine: Clock,
}

const SPEED: u32 = 20;

impl Default for Hasty {
    fn default() -> Self {
        let machine = Clock::system();
        Self { began: machine.now(), machine }
    }
}

impl TimeSource for Hasty {
    fn now(&self) -> DateTime<Utc> {
        self.began + (self.machine.now() - self.began) * i32::try_from(SPEED).unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.machine.sleep(duration / SPEED)
    }
}
