//! The tools of the toolset `planner`: plans and buckets, tasks, queries, lists, moves, reports, undo.

mod bad_input;
mod boards;
mod bulk;
mod idempotency;
mod lists;
mod moves;
mod names;
mod order;
mod queries;
mod reports;
mod tasks;
mod undo;
