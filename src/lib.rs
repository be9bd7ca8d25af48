//! GraphGate: the gate through which AI agents, CI pipelines and schedulers work with Microsoft 365.
//!
//! # The map
//!
//! ```text
//! main ─► cli ─┬─► app ─► { runtime  mcp  api  triggers } ─► toolsets ─► { services  auth } ─► { sync  graph  store } ─► { azure  http_client }
//!              └─► crates/sim                       lower is further right; clock, error, ids, queue, rows, telemetry serve all
//! ```
//!
//! A module imports only what is to its right; interfaces never import each other; `sync`, `graph` and `store` do not either.
//! `tests/architecture.rs` holds the table.
//!
//! | module | what is in it |
//! |---|---|
//! | [`cli`] | the command line: `dev`, `serve`, `stdio`, `sim`, and the client commands, which talk MCP |
//! | [`app`] | the wiring: every part is built once, here |
//! | [`mcp`] | the protocol: tools, resources, prompts and listening, for its clients |
//! | [`toolsets`] | tools as data, grouped: name, description, instructions, arguments, Graph permissions; what a caller sees of them; one dispatcher for every call, over MCP and REST |
//! | [`api`] | REST: routes declared beside their handlers, the tools once more, health, metrics, the OpenAPI document; endpoints and pages of signing in |
//! | [`triggers`] | timers and queue messages as the Azure Functions host sends them |
//! | [`runtime`] | the standalone scheduler: the same jobs by our own clock; the relay that announces changes to other instances |
//! | [`services`] | rules and the public vocabulary: what a caller may ask for and what it means |
//! | [`auth`] | who is calling; the authorization server by which people sign in with Microsoft, and their connected accounts |
//! | [`sync`] | the engine: replica, journal, three-way merge, push, reconcile; knows Planner only through ports |
//! | [`graph`] | Microsoft Graph as it is: a thin typed client |
//! | [`store`] | backends that store rows and queues: in memory, in a file, in a storage account |
//! | [`azure`], [`http_client`] | tokens; the one outbound client with retries, throttling and a breaker |
//! | `crates/sim` | the simulated Microsoft 365 tenant, a crate of its own; imports nothing of ours and is met over HTTP alone |
//! | [`config`] | every setting, in one table |
//! | [`clock`], [`ids`], [`keyring`], [`error`], [`rows`], [`queue`], [`blobs`], [`telemetry`] | time, ids and randomness, what signs, error codes, the shape of stored rows, messages and files, logs, metrics and traces |
//! | [`host`] | whether the Functions host runs the program |
//! | [`text`], [`os`] | how text of people is made harmless on its way out, what is asked of the operating system |
//!
//! Beside them is [`crash`]: places where tests have the process die; in a package they do nothing.
//!
//! Two cuts differ from what one might expect. `rows` is a leaf, because the engine writes rows and the store holds
//! them, and neither may know the other. And a task has *one* row: what Planner is known to have (the *base* of the
//! merge) is in it only while it differs from what the replica shows, so a clean task is its own base.
//!
//! # Three call paths
//!
//! **An agent completes a task.** `POST /mcp` → [`mcp::server`] → [`toolsets::Catalogue`] finds the tool, decodes the arguments and calls
//! `services::planner::task::update_task` → the task is found by its id, whose first four characters name its plan; the
//! words are turned into edits of fields (`resolved_edit`) → [`sync::journal`] makes of them a new row and an operation, committed
//! in one transaction by [`sync::PlanHandle::transact`] → the worker is notified ([`sync::worker`]) and
//! [`sync::push`] asks [`sync::plan::next_action`] again and again what the task needs: it notes what it is about to send,
//! sends a PATCH with `If-Match`, and folds the answer into the row. The caller, who waited at most 2.5 s, gets
//! `synced`; had Planner not answered, `pending`, and the worker continues alone.
//!
//! **A person moves a card in Planner.** Planner announces nothing. Every few seconds, or when a caller asks for a fresh answer,
//! [`sync::reconcile`] lists the plan's tasks and compares ETags; for a changed one [`sync::merge`] takes the person's
//! fields, keeps the agent's that are still on their way, and writes down what had to be decided. A task that is missing
//! from a listing is looked up by id before it is believed gone.
//!
//! **An agent asks for late tasks.** `query_tasks` → `services::planner::query`: the plan's title is resolved, one point
//! read of the plan's version row proves the replica in memory current, the clock that it is young enough; then
//! filter, sort, page and print, without a call to Planner.

pub mod api;
pub mod app;
pub mod auth;
pub mod azure;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crash;
pub mod error;
pub mod graph;
pub mod host;
pub mod http_client;
pub mod ids;
pub mod keyring;
pub mod mcp;
pub mod os;
pub mod queue;
pub mod rows;
pub mod runtime;
pub mod services;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod text;
pub mod toolsets;
pub mod triggers;
