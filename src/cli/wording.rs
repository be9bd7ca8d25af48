//! What a server says, in the words of the command line: it names arguments of tools, people type options.

/// Names of arguments and tools, and what they are here.
const WORDS: &[(&str, &str)] = &[
    ("`plan_id`", "`--plan`"),
    ("`plans`", "`--plan`"),
    ("`bucket_id`", "`--bucket`"),
    ("`delete_tasks`", "`--with-tasks`"),
    ("`due_date`", "`--due-date`"),
    ("`start_date`", "`--start-date`"),
    ("`percent_complete`", "`--percent-complete`"),
    ("`description`", "`--description`"),
    ("`idempotency_key`", "`--idempotency-key`"),
    ("`cursor`", "`--cursor`"),
    ("`limit`", "`--limit`"),
    ("`fresh`", "`--fresh`"),
    ("`query_tasks`", "`graphgate task list`"),
    ("`get_task`", "`graphgate task get`"),
    ("`update_task`", "`graphgate task update`"),
    ("`move_task`", "`graphgate task move`"),
    ("`delete_task`", "`graphgate task delete`"),
    ("`bulk_update_tasks`", "`graphgate task bulk-update`"),
    ("`list_plans`", "`graphgate plan list`"),
    ("`list_buckets`", "`graphgate bucket list`"),
    ("`create_bucket`", "`graphgate bucket create`"),
    ("`find_people`", "`graphgate tool call find_people`"),
    ("`undo_changes`", "`graphgate tool call undo_changes`"),
    ("`get_changes`", "`graphgate sync log`"),
    ("`sync_status`", "`graphgate sync status`"),
];

/// A sentence of the server with the options and commands that stand for what it names.
#[must_use]
pub fn in_flags(text: &str) -> String {
    let mut text = text.to_owned();
    for (said, typed) in WORDS {
        if text.contains(said) {
            text = text.replace(said, typed);
        }
    }
    // A plan is confirmed over REST by its address, here by a command.
    while let Some(start) = text.find("`POST /api/sync/plans/") {
        let rest = text.split_at(start).1;
        let Some((plan, after)) = rest
            .strip_prefix("`POST /api/sync/plans/")
            .and_then(|rest| rest.split_once("/confirm`"))
            .filter(|(plan, _)| !plan.contains('`'))
        else {
            break;
        };
        let before = text.split_at(start).0;
        text = format!("{before}`graphgate sync confirm {plan}`{after}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_hints_are_reworded_as_options_and_commands() {
        assert_eq!(in_flags("`plan_id` is missing"), "`--plan` is missing");
        assert_eq!(in_flags("find the task with `query_tasks`"), "find the task with `graphgate task list`");
        assert_eq!(
            in_flags("if it is right, `POST /api/sync/plans/abc/confirm`, or not"),
            "if it is right, `graphgate sync confirm abc`, or not"
        );
        assert_eq!(in_flags("`POST /api/sync/plans/"), "`POST /api/sync/plans/");
    }
}
