//! What goes wrong: exit code, nothing on stdout, and words that help on stderr.

use graphgate::azure::Secret;

use super::Shell;

#[tokio::test(flavor = "multi_thread")]
async fn cli_errors_exit_with_the_code_of_the_table() {
    let shell = Shell::start().await;
    let lines = [
        "task get nonsense",
        "task list --due-before yesterday",
        "task list --plan 'Website relaunch' --bucket Nowhere",
        "task list --sort colour",
        "task update anything",
        "task delete anything",
        "bucket delete Ideas --plan 'Website relaunch'",
        "bucket delete Ideas --plan 'Website relaunch' --force",
        "task bulk-create nowhere.csv",
        "plan list --query 'plans['",
        "tool call get_task task_id=5 bogus=1",
        "tool call delete_task task_id=x",
        "prompt get weekly_status",
        "plan list --server nowhere",
        "plan list --server http://127.0.0.1:1",
        "plan list --server http://127.0.0.1:1 -o json",
    ];
    let mut told = String::new();
    for line in lines {
        told += &format!("$ graphgate {line}\n{}\n", shell.run(line).await);
    }
    insta::assert_snapshot!(told, @r##"
    $ graphgate task get nonsense
    exit 2
    --
    error: `nonsense` is no task id; nothing was changed
    hint: find the task and its id with `graphgate task list`

    $ graphgate task list --due-before yesterday
    exit 2
    --
    error: `due_before` is no date: `yesterday`; nothing was changed
    hint: use `YYYY-MM-DD` or RFC 3339 with a zone

    $ graphgate task list --plan 'Website relaunch' --bucket Nowhere
    exit 3
    --
    error: there is no bucket `Nowhere`; nothing was changed
    hint: known: `Content`, `Design`, `Development`, `Ideas`, `Live`, `Review`

    $ graphgate task list --sort colour
    exit 2
    --
    error: tasks cannot be sorted by `colour`; nothing was changed
    hint: use due_date, priority, title, bucket, created or changed, with `-` in front for the reverse

    $ graphgate task update anything
    exit 2
    --
    error: no field is named that should change
    hint: see `graphgate task update --help`

    $ graphgate task delete anything
    exit 2
    --
    error: to delete task `anything` needs a confirmation, and there is no terminal to ask on
    hint: add `--force` to do it without being asked

    $ graphgate bucket delete Ideas --plan 'Website relaunch'
    exit 2
    --
    error: to delete bucket `Ideas` needs a confirmation, and there is no terminal to ask on
    hint: add `--force` to do it without being asked

    $ graphgate bucket delete Ideas --plan 'Website relaunch' --force
    exit 2
    --
    error: bucket `Ideas` has 34 task(s); nothing was changed
    hint: move them first with `graphgate task bulk-update`, or set `--with-tasks` to delete them too

    $ graphgate task bulk-create nowhere.csv
    exit 2
    --
    error: cannot read `nowhere.csv`: No such file or directory (os error 2)

    $ graphgate plan list --query 'plans['
    exit 2
    --
    error: `--query` is no JMESPath: Parse error: Expected number, ':', or '*' -- found Eof
    hint: see https://jmespath.org/tutorial.html

    $ graphgate tool call get_task task_id=5 bogus=1
    exit 2
    --
    error: unknown field `bogus`, expected `task_id` or `fresh`; nothing was changed
    hint: see the input schema of `get_task`

    $ graphgate tool call delete_task task_id=x
    exit 2
    --
    error: to call `delete_task` with {"task_id":"x"} needs a confirmation, and there is no terminal to ask on
    hint: add `--force` to do it without being asked

    $ graphgate prompt get weekly_status
    exit 2
    --
    error: `plan_id` is missing

    $ graphgate plan list --server nowhere
    exit 2
    --
    error: `nowhere` is not the address of a server: it has to begin with http:// or https://
    hint: such as http://127.0.0.1:7071/mcp

    $ graphgate plan list --server http://127.0.0.1:1
    exit 10
    --
    error: no GraphGate answers at http://127.0.0.1:1/mcp: the connection was refused
    hint: start one with `graphgate dev`, or name another with `--server` or `--profile`

    $ graphgate plan list --server http://127.0.0.1:1 -o json
    exit 10
    --
    {"error":{"code":null,"message":"no GraphGate answers at http://127.0.0.1:1/mcp: the connection was refused","hint":"start one with `graphgate dev`, or name another with `--server` or `--profile`"}}
    "##);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_output_reports_failures_as_json() {
    let shell = Shell::start().await;
    let told = shell.run("task list --plan 'Website relaunch' --bucket Nowhere -o json").await;
    insta::assert_snapshot!(told, @r##"
    exit 3
    --
    {"error":{"code":"BUCK_001","message":"there is no bucket `Nowhere`; nothing was changed","hint":"known: `Content`, `Design`, `Development`, `Ideas`, `Live`, `Review`","class":"VALIDATION_ERROR","changed":"nothing","retryable":false}}
    "##);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_task_file_is_refused_before_sending() {
    let shell = Shell::start().await;
    let line = "task bulk-create - --plan 'Website relaunch'";
    let mut told = String::new();
    for file in [
        "",
        "title,colour\na,red\n",
        "[{\"title\": \"a\"}, {\"titel\": \"b\"}]",
        "[{\"title\": 5}]",
        "[1]",
        "{\"updates\": []}",
    ] {
        told += &format!("{}\n", shell.run_with(line, file).await);
    }
    insta::assert_snapshot!(told, @r##"
    exit 2
    --
    error: the file has no tasks

    exit 2
    --
    error: there is no field for the column `colour`
    hint: columns: task_id, plan_id, title, bucket_id, description, assignee_ids, start_date, due_date, priority, status, percent_complete, checklist, references, categories, clear, idempotency_key, custom_fields.NAME; for changes also add_ and remove_ before assignees, categories, checklist and references, tick_checklist, untick_checklist

    exit 2
    --
    error: task 2, `titel`: unknown field `titel`, expected one of `plan_id`, `title`, `bucket_id`, `status`, `description`, `assignee_ids`, `start_date`, `due_date`, `priority`, `checklist`, `references`, `categories`, `custom_fields`, `idempotency_key`, `percent_complete`

    exit 2
    --
    error: task 1, `title`: a text is expected, not the number 5

    exit 2
    --
    error: task 1 is no object with the fields of a task

    exit 2
    --
    error: the file has no list `tasks`
    hint: write a JSON array, or an object with `tasks`
    "##);
    assert_eq!(shell.ok("task list --plan 'Website relaunch' --limit 1 --query total").await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_command_fails_if_one_item_fails_and_keeps_the_others() {
    let shell = Shell::start().await;
    let file = "title,bucket_id\nGood one,Ideas\nBad one,Nowhere\n";
    let told = shell
        .run_with(
            "task bulk-create - --plan 'Website relaunch' --query '[synced, failed, attention[].task | [0]]' -o csv",
            file,
        )
        .await;
    assert_eq!(
        told,
        "exit 1\nvalue\n1\n1\n2\n--\nerror: 1 of 2 tasks failed\nhint: see `attention` in the answer; sent again with the same `--idempotency-key`, only what is missing is made\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_api_key_have_different_errors() {
    let shell = Shell::with(|config| config.auth.key = Some(Secret::new("sesame"))).await;
    insta::assert_snapshot!(shell.run("plan list").await, @r##"
    exit 4
    --
    error: SERVER does not accept this caller
    hint: give the key with `--api-key` or `GRAPHGATE_API_KEY`
    "##);
    insta::assert_snapshot!(shell.run("plan list --api-key wrong").await, @r##"
    exit 4
    --
    error: SERVER does not accept this caller
    hint: the key is wrong or was replaced
    "##);
    assert_eq!(shell.ok("plan list --api-key sesame --query 'length(plans)'").await, "8");
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_server_has_its_own_exit_code() {
    let shell = Shell::with(|config| config.mcp.offer.read_only = true).await;
    let told = shell.run("task create --plan 'Website relaunch' --title x").await;
    assert!(told.starts_with("exit 5\n--\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_tls_and_refused_connections_have_different_errors() {
    let shell = Shell::start().await;
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = plain.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    for (server, words) in [
        ("http://no.such.host.invalid".to_owned(), "there is no address for the name `no.such.host.invalid`"),
        ("http://127.0.0.1:1".to_owned(), "the connection was refused"),
        (format!("https://127.0.0.1:{port}"), "does not speak TLS"),
    ] {
        let told = shell.run(&format!("plan list --server {server}")).await;
        assert!(told.contains("exit 10") && told.contains(words) && told.contains("hint: "), "{server}: {told}");
    }
}
