//! The three pieces of work on plans that people ask for most.

use crate::toolsets::Prompt;

/// Weekly status, triage, and the plan of a sprint.
pub const PROMPTS: &[Prompt] = &[
    Prompt {
        name: "weekly_status",
        description: "Report what a plan's team did, what is late and what is next",
        arguments: &[("plan_id", "Plan id or title", None)],
        text: "Write the weekly status of the plan {plan_id}.\n\
               1. Call get_plan for the counts.\n\
               2. Call query_tasks with completed_since seven days ago: what was done.\n\
               3. Call query_tasks with status=late: what is late, and whose it is.\n\
               4. Call query_tasks with status=open and due_before seven days from today: what is next.\n\
               Then write at most one page: done, late with owners, next, risks. Name tasks by title. Invent nothing; say from when the data is (as_of).",
    },
    Prompt {
        name: "triage_backlog",
        description: "Propose priority, owner, bucket and due date for tasks that nobody has triaged",
        arguments: &[("plan_id", "Plan id or title", None)],
        text: "Triage the backlog of the plan {plan_id}.\n\
               1. Call list_buckets, then query_tasks with status=not_started and assignee=none.\n\
               2. For each task propose priority, owner, bucket and due date, with one line of reason; find likely duplicates.\n\
               3. Show the proposal as a table and ask for consent.\n\
               4. After consent apply it with one bulk_update_tasks call and report what was synced and what is pending.",
    },
    Prompt {
        name: "plan_sprint",
        description: "Choose the work of the next sprint and share it out",
        arguments: &[
            ("plan_id", "Plan id or title", None),
            ("start_date", "First day, YYYY-MM-DD", Some("next Monday")),
            ("days", "Length in days (14)", Some("14")),
        ],
        text: "Plan the next sprint of the plan {plan_id}, starting {start_date}, lasting {days} days.\n\
               1. Call query_tasks with status=open and sort=priority.\n\
               2. Choose work by priority and due date; spread it so that nobody carries more than a fair share.\n\
               3. Show the choice per person with the reasons, and ask for consent.\n\
               4. After consent set start_date, due_date and assignees with one bulk_update_tasks call.",
    },
];
