//! Tasks, details, buckets, plans: one call each.

use std::collections::BTreeMap;

use graphgate::graph::buckets::BucketPatch;
use graphgate::graph::tasks::{
    AssignmentPatch, ChecklistItemPatch, Deleted, DetailsPatch, FIRST, ReferencePatch, TaskBody, TaskPatch,
};
use graphgate::graph::{Call, Category, Identity};
use serde_json::json;
use wiremock::ResponseTemplate;

use super::support::{ETAG, TOKEN, World, bucket, group, plan, task, task_id, user};

#[tokio::test]
async fn get_task_reads_all_fields() {
    let world = World::start().await;
    world.answer("GET", "/planner/tasks/.*", ResponseTemplate::new(200).set_body_json(task(&task_id(), "Write"))).await;

    let read = world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap().unwrap();

    assert_eq!((read.title.as_str(), read.percent_complete, read.priority), ("Write", 50, 3));
    assert_eq!((read.bucket_id, read.due_date_time, read.completed_date_time), (Some(bucket()), None, None));
    assert_eq!(read.assignees.into_iter().collect::<Vec<_>>(), [user()]);
    assert_eq!(read.applied_categories.into_iter().map(Category::number).collect::<Vec<_>>(), [3]);
    assert_eq!(read.created_by.application.as_deref(), Some("b2e7d27e-14e7-41ad-bb15-a88ceb9c3e90"));
    assert_eq!((read.checklist_item_count, read.active_checklist_item_count, read.etag.as_str()), (2, 1, ETAG));
    let request = world.only_request().await;
    assert_eq!(request.headers["authorization"].to_str().unwrap(), format!("Bearer {TOKEN}"));
    assert_eq!(request.headers["client-request-id"].len(), 36);
    assert!(request.headers["user-agent"].to_str().unwrap().starts_with("graphgate/"));
}

#[tokio::test]
async fn get_task_404_is_none() {
    let world = World::start().await;
    world.answer("GET", "/planner/tasks/.*", ResponseTemplate::new(404)).await;
    assert_eq!(world.client.get_task(&Call::interactive(Identity::Application), &task_id()).await.unwrap(), None);
}

#[tokio::test]
async fn create_task_posts_to_planner_tasks() {
    let world = World::start().await;
    world.answer("POST", "/planner/tasks", ResponseTemplate::new(201).set_body_json(task(&task_id(), "Write"))).await;
    let fields = TaskPatch {
        bucket_id: Some(bucket()),
        assignments: [(user(), Some(AssignmentPatch::default()))].into(),
        ..TaskPatch::default()
    };
    let body = TaskBody { plan_id: plan(), title: "Write".to_owned(), fields };

    let created = world.client.create_task(&Call::interactive(Identity::Application), &body).await.unwrap();

    assert_eq!(created.id, task_id());
    let expected = json!({
        "method": "POST",
        "path": "/v1.0/planner/tasks",
        "headers": { "content-type": "application/json" },
        "body": {
            "planId": plan(),
            "title": "Write",
            "bucketId": bucket(),
            "assignments": {
                user().as_str(): { "@odata.type": "#microsoft.graph.plannerAssignment", "orderHint": " !" },
            },
        },
    });
    assert_eq!(world.only_shape().await, expected);
}

#[tokio::test]
async fn patch_sends_if_match_and_returns_the_task() {
    let world = World::start().await;
    world.answer("PATCH", "/planner/tasks/.*", ResponseTemplate::new(200).set_body_json(task(&task_id(), "New"))).await;
    let patch = TaskPatch { title: Some("New".to_owned()), due_date_time: Some(None), ..TaskPatch::default() };

    let changed =
        world.client.update_task(&Call::interactive(Identity::Application), &task_id(), ETAG, &patch).await.unwrap();

    assert_eq!(changed.title, "New");
    let expected = json!({
        "method": "PATCH",
        "path": format!("/v1.0/planner/tasks/{}", task_id()),
        "headers": { "content-type": "application/json", "if-match": ETAG, "prefer": "return=representation" },
        "body": { "title": "New", "dueDateTime": null },
    });
    assert_eq!(world.only_shape().await, expected);
}

#[tokio::test]
async fn patch_answered_204_reads_the_task() {
    let world = World::start().await;
    world.answer("PATCH", "/planner/tasks/.*", ResponseTemplate::new(204)).await;
    world.answer("GET", "/planner/tasks/.*", ResponseTemplate::new(200).set_body_json(task(&task_id(), "New"))).await;
    let patch = TaskPatch { percent_complete: Some(100), ..TaskPatch::default() };
    let changed =
        world.client.update_task(&Call::interactive(Identity::Application), &task_id(), ETAG, &patch).await.unwrap();
    assert_eq!(changed.title, "New");
}

#[tokio::test]
async fn delete_says_whether_the_task_existed() {
    let world = World::start().await;
    world.answer_once("DELETE", "/planner/tasks/.*", ResponseTemplate::new(204)).await;
    world.answer("DELETE", "/planner/tasks/.*", ResponseTemplate::new(404)).await;
    let call = Call::interactive(Identity::Application);
    assert_eq!(world.client.delete_task(&call, &task_id(), ETAG).await.unwrap(), Deleted::Deleted);
    assert_eq!(world.client.delete_task(&call, &task_id(), ETAG).await.unwrap(), Deleted::AlreadyGone);
    assert_eq!(world.received().await[0].headers["if-match"], ETAG);
}

#[tokio::test]
async fn details_references_are_decoded_and_encoded() {
    let world = World::start().await;
    let details = json!({
        "@odata.etag": ETAG,
        "id": task_id(),
        "description": "All of it",
        "previewType": "checklist",
        "checklist": {
            "95e27074-6c4a-447a-aa24-9d718a0b86fa": {
                "@odata.type": "#microsoft.graph.plannerChecklistItem", "title": "One", "isChecked": true,
                "orderHint": "8587094707721254251P]", "lastModifiedBy": { "user": { "id": user() } },
                "lastModifiedDateTime": "2015-03-25T18:36:49.2407981Z",
            },
        },
        "references": {
            "https%3A//contoso%2Esharepoint%2Ecom/a%2520b": {
                "@odata.type": "#microsoft.graph.plannerExternalReference", "alias": "Plan", "type": "Word",
                "previewPriority": "8584", "lastModifiedDateTime": "2015-03-25T18:36:49.2407981Z",
            },
        },
    });
    let path = "/planner/tasks/[^/]*/details";
    world.answer("GET", path, ResponseTemplate::new(200).set_body_json(&details)).await;
    world.answer("PATCH", path, ResponseTemplate::new(200).set_body_json(&details)).await;
    let call = Call::interactive(Identity::Application);

    let read = world.client.get_task_details(&call, &task_id()).await.unwrap().unwrap();
    assert_eq!(read.references["https://contoso.sharepoint.com/a%20b"].alias, "Plan");
    assert!(read.checklist["95e27074-6c4a-447a-aa24-9d718a0b86fa"].is_checked);

    let item = ChecklistItemPatch {
        title: Some("Two".to_owned()),
        is_checked: Some(false),
        order_hint: Some(FIRST.to_owned()),
    };
    let link =
        ReferencePatch { alias: Some("Notes".to_owned()), kind: Some("Other".to_owned()), preview_priority: None };
    let patch = DetailsPatch {
        description: Some("Less".to_owned()),
        checklist: [("0b7a1b5c-6c4a-447a-aa24-9d718a0b86fa".to_owned(), Some(item))].into(),
        references: [
            ("https://contoso.sharepoint.com/a%20b".to_owned(), None),
            ("http://n.example".to_owned(), Some(link)),
        ]
        .into(),
        ..DetailsPatch::default()
    };
    world.client.update_task_details(&call, &task_id(), ETAG, &patch).await.unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&world.received().await[1].body).unwrap();
    assert_eq!(sent["references"]["https%3A//contoso%2Esharepoint%2Ecom/a%2520b"], json!(null));
    assert_eq!(sent["references"]["http%3A//n%2Eexample"]["alias"], "Notes");
    assert_eq!(sent.get("previewType"), None);
}

#[tokio::test]
async fn plans_are_created_renamed_labelled_and_deleted() {
    let world = World::start().await;
    let body = json!({
        "@odata.etag": ETAG, "id": plan(), "title": "Launch", "createdDateTime": "2015-03-30T18:36:49.2407981Z",
        "container": { "containerId": group(), "type": "group", "url": format!("https://graph.microsoft.com/v1.0/groups/{}", group()) },
        "owner": group(), "createdBy": { "user": { "id": user() } },
    });
    let details = json!({ "@odata.etag": ETAG, "id": plan(), "sharedWith": {},
        "categoryDescriptions": { "category1": "Legal", "category2": null } });
    world.answer("POST", "/planner/plans", ResponseTemplate::new(201).set_body_json(&body)).await;
    world.answer("GET", "/planner/plans/[^/]*", ResponseTemplate::new(200).set_body_json(&body)).await;
    world.answer("PATCH", "/planner/plans/[^/]*", ResponseTemplate::new(200).set_body_json(&body)).await;
    world.answer("GET", "/planner/plans/[^/]*/details", ResponseTemplate::new(200).set_body_json(&details)).await;
    world.answer("PATCH", "/planner/plans/[^/]*/details", ResponseTemplate::new(200).set_body_json(&details)).await;
    world.answer("DELETE", "/planner/plans/[^/]*", ResponseTemplate::new(204)).await;
    let (call, client) = (Call::interactive(Identity::Application), &world.client);

    assert_eq!(client.create_plan(&call, "Launch", &group()).await.unwrap().group(), Some(group()));
    assert_eq!(client.get_plan(&call, &plan()).await.unwrap().unwrap().title, "Launch");
    client.update_plan(&call, &plan(), ETAG, "Launch 2").await.unwrap();
    let labels = client.get_plan_details(&call, &plan()).await.unwrap().unwrap().category_descriptions;
    assert_eq!(labels[&Category::new(1).unwrap()].as_deref(), Some("Legal"));
    assert_eq!(labels[&Category::new(2).unwrap()], None);
    let names =
        BTreeMap::from([(Category::new(2).unwrap(), Some("Press".to_owned())), (Category::new(1).unwrap(), None)]);
    client.update_plan_details(&call, &plan(), ETAG, &names).await.unwrap();
    assert_eq!(client.delete_plan(&call, &plan(), ETAG).await.unwrap(), Deleted::Deleted);

    let received = world.received().await;
    let created: serde_json::Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(created["container"], json!({ "containerId": group(), "type": "group" }));
}

#[tokio::test]
async fn buckets_are_created_moved_and_deleted() {
    let world = World::start().await;
    let body = json!({ "@odata.etag": ETAG, "id": bucket(), "planId": plan(), "name": "To do", "orderHint": "85752723360752+" });
    let page = json!({ "value": [body] });
    world.answer("GET", "/planner/plans/[^/]*/buckets", ResponseTemplate::new(200).set_body_json(&page)).await;
    world.answer("GET", "/planner/buckets/[^/]*", ResponseTemplate::new(200).set_body_json(&body)).await;
    world.answer("POST", "/planner/buckets", ResponseTemplate::new(201).set_body_json(&body)).await;
    world.answer("PATCH", "/planner/buckets/[^/]*", ResponseTemplate::new(200).set_body_json(&body)).await;
    world.answer("DELETE", "/planner/buckets/[^/]*", ResponseTemplate::new(204)).await;
    let (call, client) = (Call::interactive(Identity::Application), &world.client);

    assert_eq!(client.create_bucket(&call, &plan(), "To do", FIRST).await.unwrap().id, bucket());
    assert_eq!(client.list_buckets(&call, &plan()).await.unwrap().len(), 1);
    assert_eq!(client.get_bucket(&call, &bucket()).await.unwrap().unwrap().name, "To do");
    let moved = BucketPatch { order_hint: Some("85752723360752+ !".to_owned()), ..BucketPatch::default() };
    client.update_bucket(&call, &bucket(), ETAG, &moved).await.unwrap();
    client.delete_bucket(&call, &bucket(), ETAG).await.unwrap();
}
