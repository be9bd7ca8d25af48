//! A task whose texts hold everything that acts on a reader unseen, on every way out of the program.

use serde_json::{Value, json};

use crate::support::{PLAN, World};

const TITLE: &str = "\u{feff}Pay\u{200b} \u{202e}now\u{202c}\u{1b}[31m\u{e0041}\u{e0042} ![x](https://evil.example/p) [go](javascript:a) <script>b</script>";
/// What a person would see of it.
const SEEN: &str = "Pay �now�[31m� ![x](https://evil.example/p) [go](javascript:a) <script>b</script>";
const FORMULA: &str = "\u{200b}\u{a0}＝1+1";

/// What is left in a text that acts on a reader unseen, as it is or as an escape of JSON.
fn hidden(text: &str) -> Vec<String> {
    let acts = |c: &char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || matches!(u32::from(*c), 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xad | 0xe0000..=0xe0fff)
    };
    let escapes = text.match_indices("\\u").map(|(place, _)| text[place..].chars().take(6).collect());
    text.chars().filter(acts).map(|c| format!("U+{:04X}", u32::from(c))).chain(escapes).collect()
}

/// A world with such a task and a plan of such a name; answers the task's id and Planner's id of it.
async fn world() -> (World, String, String) {
    let world = World::start().await;
    let made = world
        .ok(
            "create_task",
            json!({"plan_id": PLAN, "title": TITLE, "description": TITLE, "checklist": [TITLE, FORMULA], "references": [{"url": "https://example.com", "title": TITLE}]}),
        )
        .await;
    world.ok("create_task", json!({"plan_id": PLAN, "title": FORMULA})).await;
    world.ok("create_plan", json!({"title": format!("Paid\u{200b}\u{202e}Plan"), "group_id": "Digital"})).await;
    let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let (id, planner_id) = (text("id"), text("planner_id"));
    (world, id, planner_id)
}

#[tokio::test]
async fn mcp_answers_show_invisible_characters_and_storage_keeps_them() {
    let (world, id, planner_id) = world().await;
    let (_, stored) = world.graph("GET", &format!("planner/tasks/{planner_id}")).await;
    assert_eq!(stored["title"], TITLE, "Planner has what was written");
    let plan = world.ok("get_plan", json!({"plan_id": PLAN})).await["id"].as_str().unwrap().to_owned();
    let tool = |name: &str, arguments: Value| ("tools/call", json!({"name": name, "arguments": arguments}));
    let read = |uri: &str| ("resources/read", json!({"uri": uri}));
    let query = |format: &str| tool("query_tasks", json!({"plan_id": PLAN, "text": "now", "format": format}));
    let calls = [
        tool("get_task", json!({"task_id": id})),
        query("table"),
        query("json"),
        query("csv"),
        query("markdown"),
        tool("list_plans", json!({})),
        tool("get_plan", json!({"plan_id": "Paid�Plan"})),
        tool("get_changes", json!({"cursor": "-"})),
        tool("generate_report", json!({"plans": ["Paid�Plan", PLAN]})),
        tool("get_task", json!({"task_id": format!("no\u{202e}\u{e0041}task")})),
        tool("update_task", json!({"task_id": id, "bucket_id": "no\u{1b}[31m bucket"})),
        ("resources/list", json!({})),
        read("planner://plans"),
        read(&format!("planner://plans/{plan}/tasks")),
        read(&format!("planner://plans/{plan}/tasks/{id}")),
        read("planner://plans/no%E2%80%AEplan"),
    ];
    let mut seen = 0;
    for (method, params) in calls {
        let answer = world.rpc(method, params.clone(), &[]).await.to_string();
        assert_eq!(hidden(&answer), Vec::<String>::new(), "{method} {params}: {answer}");
        seen += usize::from(answer.contains("Pay �now"));
    }
    assert!(seen >= 7, "the task was in most of the answers, not in {seen}");
    let got = world.ok("get_task", json!({"task_id": id})).await;
    assert_eq!([&got["title"], &got["description"], &got["checklist"][0]["title"]], [SEEN; 3]);
    let table = world.ok("query_tasks", json!({"plan_id": PLAN, "text": "now", "format": "markdown"})).await;
    let table = table["text"].as_str().unwrap();
    assert!(!table.contains("![") && !table.contains("<script") && !table.contains("https:"), "{table}");
    let table =
        world.ok("query_tasks", json!({"plan_id": PLAN, "text": "1+1", "format": "csv", "fields": ["title"]})).await;
    let rows = table["text"].as_str().unwrap();
    assert!(rows.lines().any(|row| row == "'\u{a0}＝1+1"), "{rows}");
}

#[tokio::test]
async fn names_are_found_by_their_sanitized_form() {
    let (world, id, planner_id) = world().await;
    let plans = world.ok("list_plans", json!({})).await.to_string();
    assert!(plans.contains("Paid�Plan"), "{plans}");
    assert_eq!(world.ok("get_plan", json!({"plan_id": "paid�plan"})).await["title"], "Paid�Plan");
    let found = world.ok("query_tasks", json!({"plan_id": PLAN, "text": SEEN})).await;
    assert_eq!(found["total"], 1, "{found}");
    let (_, before) = world.graph("GET", &format!("planner/tasks/{planner_id}/details")).await;
    // What was read is sent back, one item ticked: no item is created again.
    let mut items = world.ok("get_task", json!({"task_id": id})).await["checklist"].clone();
    items[0]["checked"] = true.into();
    let items: Vec<Value> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| json!({"title": item["title"], "checked": item["checked"]}))
        .collect();
    assert_eq!(world.ok("update_task", json!({"task_id": id, "checklist": items})).await["sync"], "synced");
    let (_, after) = world.graph("GET", &format!("planner/tasks/{planner_id}/details")).await;
    let titles = |details: &Value| {
        let items = details["checklist"].as_object().unwrap().iter();
        let mut titles: Vec<_> = items.map(|(key, item)| (key.clone(), item["title"].clone())).collect();
        titles.sort_by(|left, right| left.0.cmp(&right.0));
        titles
    };
    assert_eq!(titles(&after), titles(&before));
    assert!(after["checklist"].to_string().contains("\"isChecked\":true"), "{after}");
}

#[tokio::test]
async fn rest_events_and_reports_show_invisible_characters() {
    let (world, id, _) = world().await;
    let get = async |path: &str| {
        let url =
            if path.starts_with("http") { path.to_owned() } else { world.api_url().join(path).unwrap().to_string() };
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    let mut seen = 0;
    for path in [
        "api/agent/tasks?text=now",
        "api/agent/tasks?text=now&format=markdown",
        &format!("api/agent/tasks/{id}"),
        "api/agent/tasks/no%E2%80%AEtask",
        "api/sync/log",
        "api/sync/health",
        "api/events?cursor=-&seconds=1",
    ] {
        let answer = get(path).await;
        assert_eq!(hidden(&answer), Vec::<String>::new(), "{path}: {answer}");
        seen += usize::from(answer.contains("Pay �now"));
    }
    assert!(seen >= 4, "the task was in most of the answers, not in {seen}");
    let formats = ["json", "csv", "markdown", "html"];
    let made = world.ok("generate_report", json!({"plans": [PLAN, "Paid�Plan"], "formats": formats})).await;
    for format in formats {
        let file = get(made["downloads"][format].as_str().unwrap_or_else(|| panic!("{made}"))).await;
        // The short form for a chat lists some tasks only.
        assert!(format == "markdown" || file.contains("Pay �now"), "{format}: {file}");
        // Spreadsheet programs take a file with this mark for UTF-8.
        let text = if format == "csv" { file.strip_prefix('\u{feff}').expect("the mark") } else { &file };
        assert_eq!(hidden(text), Vec::<String>::new(), "{format}");
        match format {
            "csv" => assert!(file.contains("\r\n") && file.contains(",'\u{a0}＝1+1"), "{file}"),
            "markdown" => assert!(!file.contains("![x]") && !file.contains("<script"), "{file}"),
            "html" => assert!(!file.contains("<script>b"), "{file}"),
            _ => {}
        }
    }
}
