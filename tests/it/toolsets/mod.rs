//! Every tool, by its toolset, called over MCP against the simulated tenant; `contract::tools` names a tool that is not.

mod answers;
mod directory;
mod narrowed;
mod planner;
mod reports;
mod search_mode;
mod subscriptions;
mod sync;
