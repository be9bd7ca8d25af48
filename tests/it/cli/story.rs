//! A person works on a board from the shell.

use serde_json::Value;

use super::Shell;

#[tokio::test(flavor = "multi_thread")]
async fn plan_and_bucket_lists_print_as_table_and_json() {
    let shell = Shell::start().await;
    insta::assert_snapshot!(shell.run("plan list --query 'plans[].[title, group]' -o csv").await, @r##"
    exit 0
    1,2
    Brand refresh,Marketing & Events
    IT service desk,IT Services
    Mobile app 4.0,Digital
    Office move,Operations
    Onboarding October,People & Culture
    Security quick wins,IT Services
    Spring trade fair,Marketing & Events
    Website relaunch,Digital
    --
    "##);
    insta::assert_snapshot!(shell.run("bucket list --plan 'Website relaunch' --query 'buckets[].{name: name, tasks: tasks}' -o md").await, @r##"
    exit 0
    | name | tasks |
    |---|---|
    | Ideas | 34 |
    | Design | 38 |
    | Development | 28 |
    | Content | 28 |
    | Review | 33 |
    | Live | 39 |
    --
    "##);
    insta::assert_snapshot!(shell.run("plan get 'Website relaunch' --query '{title: title, group: group, tasks: tasks}' -o table").await, @r##"
    exit 0
    group  Digital
    tasks  200
    title  Website relaunch
    --
    "##);
}

#[tokio::test(flavor = "multi_thread")]
async fn task_list_says_if_incomplete_and_all_fetches_every_page() {
    let shell = Shell::start().await;
    let line = "task list --plan 'Website relaunch' --limit 2 --fields title,bucket,status -o";
    insta::assert_snapshot!(shell.run(&format!("{line} table")).await, @r##"
    exit 0
    title                   bucket   status
    ----------------------  -------  ---------
    Build the pricing page  Content  completed
    Test the contact form   Live     completed
    --
    note: 2 of 200 tasks; `task list --all` shows all of them
    "##);
    insta::assert_snapshot!(shell.run(&format!("{line} csv")).await, @r##"
    exit 0
    title,bucket,status
    Build the pricing page,Content,completed
    Test the contact form,Live,completed
    --
    note: 2 of 200 tasks; `task list --all` shows all of them
    "##);
    assert_eq!(shell.ok("task list --limit 500 --all --query 'length(tasks)'").await, "1200");
    let all = shell.run("task list --plan 'Website relaunch' --limit 60 --all --fields id -o csv").await;
    assert_eq!(all.lines().count(), "exit, header, tasks, rule".split(", ").count() - 1 + 200, "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_creates_changes_completes_and_deletes_a_task() {
    let shell = Shell::start().await;
    let id = shell.task("Try the shell").await;
    let shown = |line: &str| shell_line(line, &id);
    shell
        .ok(&shown("task update ID --due-date 2026-12-24 --priority urgent --checklist '[x] one' --checklist two"))
        .await;
    shell.ok(&shown("task move ID --bucket Design")).await;
    shell.ok(&shown("task complete ID")).await;
    let query =
        "{title: title, bucket: bucket, status: status, priority: priority, due_date: due_date, checklist: checklist}";
    insta::assert_snapshot!(shell.run(&shown(&format!("task get ID -o table --query '{query}'"))).await, @r##"
    exit 0
    bucket     Design
    checklist  [x] one
               [ ] two
    due_date   2026-12-24
    priority   urgent
    status     completed
    title      Try the shell
    --
    "##);
    assert!(shell.run(&shown("task delete ID")).await.starts_with("exit 2\n"));
    shell.ok(&shown("task delete ID --force -o none")).await;
    assert!(shell.run(&shown("task get ID")).await.starts_with("exit 3\n"));
}

fn shell_line(line: &str, id: &str) -> String {
    line.replace("ID", id)
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_imports_tasks_from_a_file_and_exports_them_for_editing() {
    let shell = Shell::start().await;
    let file = "Task Name,Bucket,Due Date\n=Bulk one,Design,2026-12-01\nBulk two,Ideas,\n";
    let made =
        shell.run_with("task bulk-create - --plan 'Website relaunch' --query '[synced, failed]' -o csv", file).await;
    assert_eq!(made, "exit 0\nvalue\n2\n0\n--\n");
    let list = "task list --plan 'Website relaunch' --text Bulk --sort title --fields id,title,due_date -o csv";
    let listed = shell.ok(list).await;
    let edited = listed.replace("2026-12-01", "2026-12-15");
    let changed = shell.run_with("task bulk-update - --query synced", &edited).await;
    assert_eq!(changed, "exit 0\n2\n--\n");
    // The title that begins like a formula went out with a `'` and came back without it.
    assert_eq!(shell.ok(list).await, edited);
    let json = shell.ok("task list --plan 'Website relaunch' --text Bulk --sort title --query 'tasks[].title'").await;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), serde_json::json!(["=Bulk one", "Bulk two"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_splits_large_files_into_several_calls() {
    let shell = Shell::start().await;
    let tasks: Vec<Value> = (0..501).map(|number| serde_json::json!({"title": format!("Many {number}")})).collect();
    let line = "task bulk-create - --plan 'Cli many' --idempotency-key k --query '[failed, length(ids)]' -o csv";
    shell.ok("plan create --title 'Cli many' --group Digital --bucket Ideas -o none").await;
    let file = serde_json::to_string(&tasks).unwrap();
    let first = shell.run_with(line, &file).await;
    assert!(first.starts_with("exit 0\nvalue\n0\n501\n"), "{first}");
    shell.run_with(line, &file).await;
    let total = shell.ok("task list --plan 'Cli many' --limit 1 --query total").await;
    assert_eq!(total, "501", "the same key makes the same tasks");
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_calls_tools_resources_and_prompts_by_name() {
    let shell = Shell::start().await;
    assert_eq!(shell.ok("tool call query_tasks plan_id='Website relaunch' limit=1 --query total").await, "200");
    assert_eq!(shell.ok("tool call get_plan --args '{\"plan_id\": \"Website relaunch\"}' --query tasks").await, "200");
    assert_eq!(shell.ok("resource read planner://plans --query 'length(plans)'").await, "8");
    assert!(shell.ok("resource list --query 'resources[].uri'").await.contains("planner://plans/{plan_id}/tasks"));
    assert!(shell.ok("prompt get weekly_status plan_id='Office move' -o md").await.contains("`Office move`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cli_uses_a_saved_profile_by_name() {
    let shell = Shell::start().await;
    shell.ok(&format!("profile set here --server {} --api-key secret", shell.server())).await;
    assert_eq!(shell.ok("plan list --profile here --query 'length(plans)'").await, "8");
    insta::assert_snapshot!(shell.run("profile list -o csv").await, @r##"
    exit 0
    name,server,has_key,current
    here,SERVER,true,true
    --
    "##);
    insta::assert_snapshot!(shell.run("plan list --profile there").await, @r##"
    exit 2
    --
    error: there is no profile `there`
    hint: saved: `here`
    "##);
}

#[tokio::test]
async fn output_formats_escape_terminal_codes_and_formulas() {
    let shell = Shell::start().await;
    shell.task("\u{1b}[2J\u{7}Hidden\u{200b}\u{202e}\u{e0041}![x](https://evil.example)").await;
    shell.task("\u{200b}＝1+1 Hidden").await;
    for format in ["table", "json", "csv", "md"] {
        let text = shell.ok(&format!("task list --plan 'Website relaunch' --text hidden -o {format}")).await;
        assert!(text.contains("[2J�Hidden�"), "{format}: {text}");
        let acts = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{200b}' | '\u{202e}' | '\u{e0041}');
        assert!(!text.contains(acts) && !text.contains("\\u"), "{format}: {text:?}");
        assert!(!matches!(format, "csv") || text.contains("'＝1+1"), "{text}");
        assert!(format != "md" || !text.contains("![x]"), "{text}");
    }
}
