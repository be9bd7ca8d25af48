//! The tools, in the order they are listed: reading first.

mod boards;
mod directory;
mod reports;
mod schedules;
mod subscriptions;
mod sync;
mod tasks;

use super::tool::Tool;

/// Every tool there is.
#[must_use]
pub fn all() -> Vec<Tool> {
    let mut tools = boards::reading();
    tools.extend(tasks::all());
    tools.extend(reports::all());
    tools.extend(boards::writing());
    tools.extend(schedules::all());
    tools.extend(subscriptions::all());
    tools.extend(sync::all());
    tools.extend(directory::all());
    tools
}
