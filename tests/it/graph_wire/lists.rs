//! Lists: every page or an error, and never away from the service.

use graphgate::graph::{Call, ErrorKind, Identity};
use serde_json::json;
use wiremock::matchers::{method, query_param, query_param_is_missing};
use wiremock::{Mock, ResponseTemplate};

use super::support::{World, group, plan, task, task_ids, user};

async fn page(world: &World, skip: Option<&str>, first: usize, next: Option<String>) {
    let tasks: Vec<_> = (first..first + 400).map(|number| task(&task_ids(number), "t")).collect();
    let mut body = json!({ "@odata.count": 400, "value": tasks });
    if let Some(next) = next {
        body["@odata.nextLink"] = next.into();
    }
    let mock = Mock::given(method("GET"));
    let mock = match skip {
        Some(skip) => mock.and(query_param("$skiptoken", skip)),
        None => mock.and(query_param_is_missing("$skiptoken")),
    };
    mock.respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(&world.graph).await;
}

fn link(world: &World, skip: &str) -> Option<String> {
    Some(format!("{}/v1.0/planner/plans/{}/tasks?$skiptoken={skip}", world.graph.uri(), plan()))
}

#[tokio::test]
async fn next_link_pages_are_all_read() {
    let world = World::start().await;
    page(&world, None, 0, link(&world, "a")).await;
    page(&world, Some("a"), 400, link(&world, "b")).await;
    page(&world, Some("b"), 800, None).await;
    let tasks = world.client.list_plan_tasks(&Call::background(Identity::Application), &plan()).await.unwrap();
    assert_eq!(tasks.len(), 1200);
}

#[tokio::test]
async fn failed_page_fails_the_list() {
    let world = World::start().await;
    page(&world, None, 0, link(&world, "a")).await;
    world.answer("GET", ".*", ResponseTemplate::new(400)).await;
    let error = world.client.list_plan_tasks(&Call::background(Identity::Application), &plan()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::BadRequest(_)), "{error}");
}

#[tokio::test]
async fn next_link_to_another_host_is_not_followed() {
    for foreign in ["https://evil.example/v1.0/planner/plans/x/tasks".to_owned(), String::new()] {
        let world = World::start().await;
        let next = if foreign.is_empty() { format!("{}/beta/planner", world.graph.uri()) } else { foreign };
        page(&world, None, 0, Some(next)).await;
        let error = world.client.list_plan_tasks(&Call::background(Identity::Application), &plan()).await.unwrap_err();
        assert!(error.to_string().contains("leads away from the service"), "{error}");
        world.only_request().await;
    }
}

#[tokio::test]
async fn circular_next_links_end_with_an_error() {
    let world = World::start().await;
    page(&world, None, 0, link(&world, "a")).await;
    page(&world, Some("a"), 400, link(&world, "a")).await;
    let error = world.client.list_plan_tasks(&Call::background(Identity::Application), &plan()).await.unwrap_err();
    assert!(error.to_string().contains("the pages do not end"), "{error}");
}

#[tokio::test]
async fn damaged_json_error_names_its_path() {
    let world = World::start().await;
    let mut tasks: Vec<_> = (0..3).map(|number| task(&task_ids(number), "t")).collect();
    tasks[2]["percentComplete"] = "half".into();
    world.answer("GET", ".*", ResponseTemplate::new(200).set_body_json(json!({ "value": tasks }))).await;
    let error = world.client.list_plan_tasks(&Call::background(Identity::Application), &plan()).await.unwrap_err();
    let ErrorKind::Decode { path, reason } = &error.kind else { panic!("{error}") };
    assert_eq!(path, "value[2].percentComplete");
    assert!(reason.contains("expected u8"), "{reason}");
}

#[tokio::test]
async fn page_without_value_is_an_error() {
    let world = World::start().await;
    world.answer("GET", ".*", ResponseTemplate::new(200).set_body_json(json!({}))).await;
    let error = world.client.list_plan_tasks(&Call::background(Identity::Application), &plan()).await.unwrap_err();
    assert!(error.to_string().contains("missing field `value`"), "{error}");
}

#[tokio::test]
async fn directory_queries_select_few_fields_and_escape_quotes() {
    let world = World::start().await;
    let person =
        json!({ "id": user(), "displayName": "Ann O'Neil", "userPrincipalName": "ann@contoso.com", "mail": null });
    let unit = json!({ "id": group(), "displayName": "Launch", "mail": "launch@contoso.com" });
    let people = ResponseTemplate::new(200).set_body_json(json!({ "value": [person] }));
    let units = ResponseTemplate::new(200).set_body_json(json!({ "value": [unit] }));
    world.answer("GET", "/users", people.clone()).await;
    world.answer("GET", "/users/[^/]*", ResponseTemplate::new(200).set_body_json(&person)).await;
    world.answer("GET", "/groups", units).await;
    world.answer("GET", "/groups/[^/]*", ResponseTemplate::new(200).set_body_json(&unit)).await;
    world.answer("GET", "/groups/[^/]*/members.*", people).await;
    let plans = ResponseTemplate::new(200).set_body_json(json!({ "value": [] }));
    world.answer("GET", "/groups/[^/]*/planner/plans", plans).await;
    let (call, client) = (Call::interactive(Identity::Application), &world.client);

    assert_eq!(client.find_users(&call, "Ann O'N&eil", 10).await.unwrap()[0].display_name, "Ann O'Neil");
    assert_eq!(client.list_users(&call).await.unwrap().len(), 1);
    assert_eq!(client.get_user(&call, "ann/..@contoso.com").await.unwrap().unwrap().id, user());
    assert_eq!(client.list_groups(&call).await.unwrap()[0].id, group());
    assert_eq!(client.get_group(&call, &group()).await.unwrap().unwrap().display_name, "Launch");
    assert_eq!(client.list_group_members(&call, &group()).await.unwrap()[0].id, user());
    assert!(client.list_group_plans(&call, &group()).await.unwrap().is_empty());

    let received = world.received().await;
    let filter = received[0].url.query_pairs().find(|(name, _)| name == "$filter").unwrap().1.into_owned();
    let expected = "startswith(displayName,'Ann O''N&eil') or startswith(userPrincipalName,'Ann O''N&eil') \
                    or startswith(mail,'Ann O''N&eil')";
    assert_eq!(filter, expected);
    assert_eq!(received[2].url.path(), "/v1.0/users/ann%2F..%40contoso.com");
    assert_eq!(received[5].headers["consistencylevel"], "eventual");
}
