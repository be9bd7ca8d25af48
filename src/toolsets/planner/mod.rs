//! Plans, buckets and tasks through the replica, and reports on them.

mod boards;
mod prompts;
mod reports;
mod resources;
mod tasks;

use super::{Presence, Toolset};

/// The toolset.
pub fn toolset() -> Toolset {
    let mut tools = boards::reading();
    tools.extend(tasks::all());
    tools.extend(reports::all());
    tools.extend(boards::writing());
    Toolset {
        name: "planner",
        description: "Plans, buckets and tasks of Microsoft Planner, and reports on them",
        instructions: "Read: list_plans, then get_plan for a summary or query_tasks for rows. `complete` false means: repeat with `cursor`.\n\
            Change: create_task, update_task (only named fields change), move_task. `sync` pending means it is journalled and will reach Planner by itself: do not repeat it.\n\
            Many: bulk_create_tasks and bulk_update_tasks, one call for up to 500.",
        presence: Presence::Listed,
        tools,
        aliases: &[("rename_plan", "update_plan")],
        resources: resources::resources(),
        completions: resources::completions(),
        prompts: prompts::PROMPTS,
    }
}
