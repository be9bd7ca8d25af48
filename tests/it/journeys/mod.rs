//! Call paths through the whole program, and what becomes of them when Graph, a network, a clock or an instance fails.

mod call_paths;
mod graph_failures;
mod hostile_text;
mod hung_plans;
mod listening;
mod lost_answers;
mod memory_budget;
mod notifications;
mod random_calls;
mod redis;
mod troubleshooting;
