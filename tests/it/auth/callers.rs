//! Callers over HTTP: what each may do and see, in both interfaces.

use graphgate::app;
use graphgate::auth::{Caller, NewKey, Role, entra};
use graphgate::azure::Secret;
use graphgate::clock::Clock;
use graphgate::config::Config;
use graphgate::ids::{Entropy, PlanId};
use serde_json::{Value, json};

use super::{AUDIENCE, CLIENT};
use crate::support::rest::{Answer, send};
use crate::support::{PLAN, World};

const TASKS: &str = "/api/agent/tasks";

/// A deployment that takes tokens and keys, and a way to make them.
pub struct Gate {
    pub world: World,
    pub config: Config,
    pub folder: std::path::PathBuf,
}

impl Gate {
    pub async fn open(change: impl FnOnce(&mut Config)) -> Self {
        Box::pin(Self::on(World::start().await, change)).await
    }

    /// As [`Self::open`], on a world whose server is replaced.
    pub async fn on(mut world: World, change: impl FnOnce(&mut Config)) -> Self {
        let folder = std::env::temp_dir().join(format!("graphgate-callers-{}", uuid::Uuid::new_v4()));
        let mut kept = None;
        let settings = |config: &mut Config| {
            let authority = config.loopback_authority.clone().unwrap();
            config.auth.entra = Some(entra::Config {
                audiences: vec![AUDIENCE.to_owned()],
                tenants: vec![config.tenant.clone()],
                clients: Vec::new(),
                authority,
            });
            config.auth.public_url = Some("https://gate.contoso.com/".parse().unwrap());
            change(config);
            kept = Some(config.clone());
        };
        Box::pin(world.restart_with(&folder, settings)).await;
        Self { world, config: kept.unwrap(), folder }
    }

    pub async fn key(&self, role: Role, days: i64) -> (String, String) {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let keys = app::api_keys(&self.config, &clock, &entropy).await.unwrap();
        let end = clock.now() + chrono::TimeDelta::days(days);
        let (key, row) = keys
            .create(
                &Caller::local(),
                &entropy,
                NewKey { name: "test".into(), role, expires_at: Some(end), ..NewKey::default() },
            )
            .await
            .unwrap();
        (key, row.id)
    }

    /// A token with these claims over good ones.
    pub async fn token(&self, changes: Value) -> String {
        let tenant = &self.world.tenant;
        let now = chrono::Utc::now().timestamp();
        let authority = tenant.authority_url.as_str().trim_end_matches('/').to_owned();
        let mut claims = json!({
            "iss": format!("{authority}/{}/v2.0", tenant.tenant_id), "aud": AUDIENCE, "nbf": now, "exp": now + 3600,
            "tid": tenant.tenant_id, "ver": "2.0", "azp": CLIENT, "oid": CLIENT, "sub": CLIENT,
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let signed = self.world.control("POST", "entra/sign", json!({"claims": claims})).await;
        signed["token"].as_str().unwrap().to_owned()
    }

    pub async fn ask(&self, method: &str, path: &str, bearer: &str) -> Answer {
        let bearer = format!("Bearer {bearer}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = (method == "POST").then(|| json!({"plan_id": PLAN, "title": "x"}).to_string());
        send(&self.world.api_url(), method, path, &headers, body).await
    }

    pub async fn call(&self, bearer: &str, tool: &str, arguments: Value) -> Value {
        let bearer = format!("Bearer {bearer}");
        let params = json!({"name": tool, "arguments": arguments});
        self.world.rpc("tools/call", params, &[("authorization", &bearer)]).await
    }

    pub async fn tools(&self, bearer: &str) -> Vec<String> {
        let bearer = format!("Bearer {bearer}");
        let listed = self.world.rpc("tools/list", json!({}), &[("authorization", &bearer)]).await;
        let tools = listed["result"]["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn plans(&self, bearer: &str) -> Vec<(String, String)> {
        let listed = self.call(bearer, "list_plans", json!({})).await;
        let plans = listed["result"]["structuredContent"]["plans"].as_array().cloned().unwrap_or_default();
        let text = |plan: &Value, name: &str| plan[name].as_str().unwrap_or_default().to_owned();
        plans.iter().map(|plan| (text(plan, "id"), text(plan, "group"))).collect()
    }

    /// A person of the demo tenant, and the groups they belong to.
    pub async fn person(&self, mail_name: &str) -> String {
        let found = self.world.control("GET", "snapshot", json!(null)).await;
        let text = found.to_string();
        let users = find_users(&found);
        users
            .into_iter()
            .find(|user| user["userPrincipalName"].as_str().is_some_and(|upn| upn.starts_with(mail_name)))
            .unwrap_or_else(|| panic!("nobody is called {mail_name} in {}", &text[..400]))["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Every object in a snapshot that has a sign-in name.
fn find_users(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(find_users).collect(),
        Value::Object(members) if members.contains_key("userPrincipalName") => vec![value.clone()],
        Value::Object(members) => members.values().flat_map(find_users).collect(),
        _ => Vec::new(),
    }
}

pub fn error_of(answer: &Value) -> (String, String) {
    let error = &answer["result"]["structuredContent"]["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

#[tokio::test]
async fn roles_decide_which_tools_a_caller_may_call() {
    let gate = Gate::open(|_| ()).await;
    let table = graphgate::toolsets::tools();
    let count = |toolset: Option<&str>, reading: bool| {
        let of = |tool: &&graphgate::toolsets::tool::Tool| {
            toolset.map_or(tool.toolset != "subscriptions", |name| tool.toolset == name)
                && (!reading || tool.effect == graphgate::toolsets::tool::Effect::Reads)
        };
        table.iter().filter(of).count()
    };
    // role; tools listed; status of reading, writing, the operator's pages
    for (role, tools, reads, writes, operates) in [
        ("GraphGate.Admin", count(None, false), 200, 201, 200),
        ("Planner.ReadWrite", count(Some("planner"), false), 200, 201, 403),
        ("Planner.Read", count(Some("planner"), true), 200, 403, 403),
        ("Reports.ReadWrite", count(Some("reports"), false), 403, 403, 403),
    ] {
        let token = gate.token(json!({"roles": [role]})).await;
        assert_eq!(gate.tools(&token).await.len(), tools, "{role}");
        for (method, path, status) in [("GET", TASKS, reads), ("POST", TASKS, writes), ("GET", "/metrics", operates)] {
            let answer = gate.ask(method, path, &token).await;
            assert_eq!(answer.status, status, "{role} {method} {path}: {answer:#?}");
        }
        let written = gate.call(&token, "create_task", json!({"plan_id": PLAN, "title": "y"})).await;
        let may = written["result"]["isError"] == json!(false);
        assert_eq!(may, writes == 201, "{role}: {written}");
        // Resources show what the planner toolset shows, to the same callers.
        let bearer = format!("Bearer {token}");
        let ask = async |method: &str, params| gate.world.rpc(method, params, &[("authorization", &bearer)]).await;
        let listed = ask("resources/list", json!({})).await;
        let plans = listed["result"]["resources"].as_array().unwrap().len();
        assert_eq!(plans > 0, reads == 200, "{role}: {listed}");
        let read = ask("resources/read", json!({"uri": "planner://plans"})).await;
        assert_eq!(read.get("result").is_some(), reads == 200, "{role}: {read}");
        let reference = json!({"type": "ref/resource", "uri": "planner://plans/{plan_id}"});
        let typed = json!({"ref": reference, "argument": {"name": "plan_id", "value": ""}});
        let completed = ask("completion/complete", typed).await;
        let values = completed["result"]["completion"]["values"].as_array().unwrap().len();
        assert_eq!(values > 0, reads == 200, "{role}: {completed}");
    }
    let powerless = gate.token(json!({"roles": ["Nobody.Knows"]})).await;
    let answer = gate.ask("POST", "/mcp", &powerless).await;
    answer.assert_problem(403, "PERM_001");
    assert!(answer.header("www-authenticate").contains("insufficient_scope"), "{answer:#?}");
}

#[tokio::test]
async fn unauthorized_answer_names_the_protected_resource_metadata() {
    let gate = Gate::open(|config| config.auth.key = Some(Secret::new("sesame"))).await;
    let base = gate.world.api_url();
    let answer = send(&base, "POST", "/mcp", &[], None).await;
    answer.assert_problem(401, "AUTH_001");
    let metadata = "https://gate.contoso.com/.well-known/oauth-protected-resource/mcp";
    let challenge = format!("Bearer resource_metadata=\"{metadata}\", scope=\"{AUDIENCE}/user_impersonation\"");
    assert_eq!(answer.header("www-authenticate"), challenge);
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"] {
        let found = send(&base, "GET", path, &[], None).await;
        assert_eq!((found.status, &found.body["resource"]), (200, &json!("https://gate.contoso.com/mcp")));
        let issuer = found.body["authorization_servers"][0].as_str().unwrap();
        assert!(issuer.ends_with(&format!("{}/v2.0", gate.world.tenant.tenant_id)), "{issuer}");
        assert_eq!(found.body["scopes_supported"], json!([format!("{AUDIENCE}/user_impersonation")]));
    }
    let expired = gate.token(json!({"scp": "Planner.Read", "exp": 1})).await;
    let answer = gate.ask("GET", "/api/agent/tasks", &expired).await;
    answer.assert_problem(401, "AUTH_002").assert_says("it has expired");
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    // A client that came with a key gets an answer about the key: some would forget it for a sign-in.
    let wrong = send(&base, "POST", "/mcp", &[("x-api-key", "wrong")], None).await;
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(send(&base, "GET", "/metrics", &[("x-api-key", "sesame")], None).await.status, 200);
}

#[tokio::test]
async fn api_key_grants_its_role_until_it_expires() {
    let gate = Gate::open(|_| ()).await;
    let (all, _) = gate.key(Role::default(), 1).await;
    let plans = gate.plans(&all).await;
    assert_eq!(plans.len(), 8);
    assert_eq!(gate.ask("GET", "/metrics", &all).await.status, 403, "a key is no operator unless it says so");
    let mine = PlanId::parse(&plans[0].0).unwrap();
    let role = Role { read_only: true, plans: [mine.clone()].into(), ..Role::default() };
    let (narrow, id) = gate.key(role, 1).await;
    assert_eq!(gate.plans(&narrow).await, [plans[0].clone()]);
    assert_eq!(error_of(&gate.call(&narrow, "delete_task", json!({"task_id": "x"})).await).0, "PERM_002");
    let keys = app::api_keys(&gate.config, &Clock::system(), &Entropy::system()).await.unwrap();
    let (ended, _) = gate.key(Role::default(), -1).await;
    gate.ask("GET", "/api/agent/tasks", &ended)
        .await
        .assert_problem(401, "AUTH_002")
        .assert_says("the key has expired");
    let (revoked, revoked_id) = gate.key(Role::default(), 1).await;
    keys.revoke(&Caller::local(), &revoked_id).await.unwrap().unwrap();
    gate.ask("GET", "/api/agent/tasks", &revoked).await.assert_problem(401, "AUTH_001");
    for forged in [format!("{}0", &narrow[..narrow.len() - 1]), format!("gg_{id}_"), "gg_".into(), format!("{narrow}0")]
    {
        if forged != narrow {
            gate.ask("GET", "/api/agent/tasks", &forged).await.assert_problem(401, "AUTH_001");
        }
    }
    let kept = serde_json::to_string(&keys.list().await.unwrap()).unwrap();
    assert!(!kept.contains(narrow.rsplit('_').next().unwrap()), "the secret is not kept");
    assert!(!format!("{:?}", keys.list().await.unwrap()).contains(narrow.rsplit('_').next().unwrap()));
}

/// In every answer, what is outside a caller's scope of plans is as if it did not exist.
#[tokio::test]
async fn plans_outside_the_scope_are_answered_as_not_found() {
    let gate = Gate::open(|_| ()).await;
    let (all, _) = gate.key(Role::default(), 1).await;
    let plans = gate.plans(&all).await;
    let structured = |answer: Value| answer["result"]["structuredContent"].clone();
    let foreign = structured(gate.call(&all, "get_plan", json!({"plan_id": plans[1].0})).await);
    let page =
        structured(gate.call(&all, "query_tasks", json!({"plan_id": plans[1].0, "limit": 1, "format": "json"})).await);
    let task = page["tasks"][0]["id"].as_str().unwrap().to_owned();
    let shown = structured(gate.call(&all, "get_task", json!({"task_id": task})).await);
    let planner_id = shown["planner_id"].as_str().unwrap().to_owned();
    let buckets = structured(gate.call(&all, "list_buckets", json!({"plan_id": plans[1].0})).await);
    let bucket = buckets["buckets"][0]["id"].as_str().unwrap().to_owned();
    let own = PlanId::parse(&plans[0].0).unwrap();
    let (narrow, _) = gate.key(Role { plans: [own.clone()].into(), ..Role::default() }, 1).await;

    // Each pair: a thing beyond the scope of plans, and the same call with a thing that never was.
    let never_plan = "zzzzzzzzzzzzzzzzzzzzzzzzzzzz";
    let never_task = format!("{}zzzzzzzzzz", &task[..4]);
    let title = foreign["title"].as_str().unwrap();
    let (foreign_conflict, never_conflict) =
        (conflict_in(&gate, &all, &task, &planner_id).await, format!("1-{never_task}-0"));
    for (tool, beyond, never) in [
        ("get_plan", json!({"plan_id": plans[1].0}), json!({"plan_id": never_plan})),
        ("get_plan", json!({"plan_id": title}), json!({"plan_id": "No such plan"})),
        ("list_buckets", json!({"plan_id": plans[1].0}), json!({"plan_id": never_plan})),
        ("create_bucket", json!({"plan_id": plans[1].0, "name": "n"}), json!({"plan_id": never_plan, "name": "n"})),
        ("query_tasks", json!({"plan_id": title}), json!({"plan_id": "No such plan"})),
        ("create_task", json!({"plan_id": title, "title": "n"}), json!({"plan_id": "No such plan", "title": "n"})),
        ("get_task", json!({"task_id": task}), json!({"task_id": never_task})),
        ("get_task", json!({"task_id": planner_id}), json!({"task_id": never_plan})),
        ("update_task", json!({"task_id": task, "title": "n"}), json!({"task_id": never_task, "title": "n"})),
        ("delete_task", json!({"task_id": planner_id}), json!({"task_id": never_plan})),
        ("move_task", json!({"task_id": task, "bucket_id": "x"}), json!({"task_id": never_task, "bucket_id": "x"})),
        (
            "create_task",
            json!({"plan_id": own.as_str(), "title": "n", "bucket_id": bucket}),
            json!({"plan_id": own.as_str(), "title": "n", "bucket_id": never_plan}),
        ),
        ("get_changes", json!({"plan_id": plans[1].0}), json!({"plan_id": never_plan})),
        ("sync_status", json!({"plan_id": title}), json!({"plan_id": "No such plan"})),
        ("resolve_conflict", json!({"conflict_id": foreign_conflict}), json!({"conflict_id": never_conflict})),
        ("create_plan", json!({"title": "n", "group_id": plans[1].1}), json!({"title": "n", "group_id": "Nobodies"})),
    ] {
        let (beyond_code, told) = error_of(&gate.call(&narrow, tool, beyond.clone()).await);
        let (never_code, expected) = error_of(&gate.call(&narrow, tool, never.clone()).await);
        assert_eq!(beyond_code, never_code, "{tool} {beyond}: {told}");
        let given = |arguments: &Value, text: &str| {
            let values = arguments.as_object().unwrap().values().filter_map(Value::as_str);
            values.fold(text.to_owned(), |text, value| text.replace(&format!("`{value}`"), "`…`"))
        };
        assert_eq!(given(&beyond, &told), given(&never, &expected), "{tool}");
    }
    for (tool, arguments) in
        [("get_changes", json!({"cursor": "-", "limit": 500})), ("sync_status", json!({"conflicts": true}))]
    {
        let everything = structured(gate.call(&all, tool, arguments.clone()).await).to_string();
        let seen = structured(gate.call(&narrow, tool, arguments).await).to_string();
        assert!(everything.contains(&task) && !seen.contains(&task), "{tool}");
    }
    let listed = structured(gate.call(&narrow, "query_tasks", json!({"text": ""})).await).to_string();
    assert!(!listed.contains(title), "{listed}");
    for path in [
        format!("/api/agent/tasks/{task}"),
        format!("/api/agent/tasks?plan_id={}", plans[1].0),
        format!("/api/metadata?type=plan&id={}", plans[1].0),
        format!("/api/metadata?type=task&id={task}"),
    ] {
        assert_eq!(gate.ask("GET", &path, &narrow).await.status, 404, "{path}");
    }
    let bearer = format!("Bearer {narrow}");
    let resources = gate.world.rpc("resources/list", json!({}), &[("authorization", &bearer)]).await.to_string();
    assert!(resources.contains(own.as_str()) && !resources.contains(&plans[1].0), "{resources}");
    let uri = json!({"uri": format!("planner://plans/{}", plans[1].0)});
    let read = gate.world.rpc("resources/read", uri, &[("authorization", &bearer)]).await;
    assert!(read["error"].is_object(), "{read}");
}

/// Lets a person and an agent change the same title; answers the id of the conflict.
async fn conflict_in(gate: &Gate, key: &str, task: &str, planner_id: &str) -> String {
    gate.world.colleague(json!({"task_id": planner_id, "set": {"title": "The person's"}})).await;
    gate.call(key, "update_task", json!({"task_id": task, "title": "The agent's"})).await;
    let status = gate.call(key, "sync_status", json!({"conflicts": true})).await;
    let conflicts = &status["result"]["structuredContent"]["conflicts"];
    conflicts[0]["id"].as_str().unwrap_or_else(|| panic!("no conflict: {status}")).to_owned()
}

#[tokio::test]
async fn people_see_only_plans_of_their_groups() {
    let gate = Gate::open(|_| ()).await;
    let everything = gate.token(json!({"roles": ["GraphGate.Admin"]})).await;
    let all = gate.plans(&everything).await;
    let person = gate.person("PriyaR").await;
    let token = gate.token(json!({"scp": "user_impersonation", "oid": person})).await;
    let seen = gate.plans(&token).await;
    assert!(!seen.is_empty() && seen.len() < all.len(), "{seen:?}");
    let groups: std::collections::BTreeSet<&str> = seen.iter().map(|(_, group)| group.as_str()).collect();
    for (id, group) in &all {
        let found = gate.call(&token, "get_plan", json!({"plan_id": id})).await;
        assert_eq!(found["result"]["isError"] == json!(false), groups.contains(group.as_str()), "{group}: {found}");
    }
    let stranger =
        gate.token(json!({"scp": "user_impersonation", "oid": "99999999-9999-9999-9999-999999999999"})).await;
    assert!(gate.plans(&stranger).await.is_empty());
    let asked = gate.world.control("GET", "stats", json!(null)).await.to_string();
    assert!(asked.contains("getMemberGroups"), "{asked}");
}

#[tokio::test]
async fn rate_limit_answers_429_with_retry_after() {
    let gate = Gate::open(|config| config.auth.calls_per_minute = 5).await;
    let (key, _) = gate.key(Role::default(), 1).await;
    for _ in 0..5 {
        assert_eq!(gate.ask("GET", "/openapi.json", &key).await.status, 200);
    }
    let refused = gate.ask("GET", "/openapi.json", &key).await;
    refused.assert_problem(429, "RATE_001");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    let (other, _) = gate.key(Role::default(), 1).await;
    assert_eq!(gate.ask("GET", "/openapi.json", &other).await.status, 200);
}

#[tokio::test]
async fn functions_key_header_counts_only_behind_the_functions_host() {
    let through = [("x-functions-key", "checked by the host"), ("x-ms-invocation-id", "1")];
    let gate = Gate::open(|config| config.auth.host_key_role = Some("Planner.Read".into())).await;
    let base = gate.world.api_url();
    assert_eq!(send(&base, "GET", "/api/agent/tasks?limit=1", &through, None).await.status, 200);
    let by_query = [("x-ms-invocation-id", "1")];
    assert_eq!(send(&base, "GET", "/api/metadata?type=plan&id=x&code=k", &by_query, None).await.status, 400);
    send(&base, "GET", "/api/agent/tasks", &through[..1], None).await.assert_problem(401, "AUTH_001");
    send(&base, "GET", "/api/agent/tasks", &by_query, None).await.assert_problem(401, "AUTH_001");
    send(&base, "DELETE", "/api/agent/tasks/x", &through, None).await.assert_problem(403, "PERM_001");
    let closed = Gate::open(|_| ()).await;
    send(&closed.world.api_url(), "GET", "/api/agent/tasks", &through, None).await.assert_problem(401, "AUTH_001");
}

#[tokio::test]
async fn easy_auth_principal_counts_only_with_app_service_authentication() {
    use base64::Engine as _;
    let world = |on: bool| async move { Gate::open(|config| config.auth.easy_auth = on).await };
    let header = |gate: &Gate, tenant: Option<&str>| {
        let tenant = tenant.unwrap_or(&gate.world.tenant.tenant_id);
        let principal = json!({"auth_typ": "aad", "role_typ": "roles", "claims": [
            {"typ": "tid", "val": tenant}, {"typ": "oid", "val": CLIENT}, {"typ": "scp", "val": "Planner.Read"},
        ]});
        base64::engine::general_purpose::STANDARD.encode(principal.to_string())
    };
    let (on, off) = (world(true).await, world(false).await);
    for (gate, tenant, status) in [(&on, None, 200), (&on, Some("other"), 401), (&off, None, 401)] {
        let principal = header(gate, tenant);
        let headers = [("x-ms-client-principal", principal.as_str())];
        let answer = send(&gate.world.api_url(), "GET", "/api/agent/tasks", &headers, None).await;
        assert_eq!(answer.status, status, "{answer:#?}");
    }
}

#[tokio::test]
async fn tool_settings_narrow_mcp_and_rest() {
    let world = World::with(|config| {
        config.mcp.offer.tools = vec!["list_plans".to_owned(), "query_tasks".to_owned()];
    })
    .await;
    let base = world.api_url();
    assert_eq!(send(&base, "GET", TASKS, &[], None).await.status, 200, "reading is offered");
    let body = json!({"plan_id": PLAN, "title": "x"}).to_string();
    let refused = send(&base, "POST", TASKS, &[("content-type", "application/json")], Some(body)).await;
    refused.assert_problem(403, "PERM_001");
    send(&base, "GET", "/api/report-schedules", &[], None).await.assert_problem(403, "PERM_001");
    assert_eq!(send(&base, "GET", "/metrics", &[], None).await.status, 200, "the operator's pages stay");

    let world = World::with(|config| {
        config.mcp.offer.toolsets = vec!["sync".to_owned()];
    })
    .await;
    let read = world.rpc("resources/read", json!({"uri": "planner://plans"}), &[]).await;
    assert_eq!(read["error"]["code"], -32602, "{read}");
    let unknown = world.rpc("tools/call", json!({"name": "delete_task", "arguments": {}}), &[]).await;
    assert!(unknown["error"]["message"].as_str().unwrap().contains("unknown tool"), "{unknown}");
}

#[tokio::test]
async fn disabled_tools_are_neither_listed_nor_called_on_any_interface() {
    let world = World::with(|config| {
        config.mcp.offer.disabled = vec!["delete_task".to_owned(), "query_tasks".to_owned()];
        config.mcp.name = "contoso-planner".to_owned();
    })
    .await;
    let listed = world.rpc("tools/list", json!({}), &[]).await;
    let listed = listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap());
    let listed: Vec<&str> = listed.collect();
    assert!(listed.contains(&"update_task"), "{listed:?}");
    assert!(!listed.contains(&"delete_task") && !listed.contains(&"query_tasks"), "{listed:?}");
    let refused = world.rpc("tools/call", json!({"name": "delete_task", "arguments": {}}), &[]).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("unknown tool"), "{refused}");
    let body = Some("{}".to_owned());
    let json = [("content-type", "application/json")];
    let refused = send(&world.api_url(), "POST", "/api/tools/delete_task", &json, body).await;
    assert_eq!(refused.status, 404);
    let tasks = json!({"uri": format!("planner://plans/{PLAN}/tasks")});
    let read = world.rpc("resources/read", tasks, &[]).await;
    assert_eq!(read["error"]["code"], -32602, "a resource shows what a disabled tool shows: {read}");
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let greeted = world.rpc("initialize", hello, &[]).await;
    assert_eq!(greeted["result"]["serverInfo"]["name"], "contoso-planner", "{greeted}");
}
