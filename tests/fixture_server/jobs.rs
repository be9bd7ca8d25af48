//! Tools that run on after the call has been answered: the tasks extension of the protocol.

use std::time::Duration;

use graphgate::clock::Clock;
use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, CreateTaskResult, JsonObject};
use rmcp::task_manager::{TaskContext, TaskExit, TaskFuture, TaskManager, TaskOptions};
use serde_json::Value;

use crate::questions::{self, Call};

const POLL_MS: u64 = 100;

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

/// Answers a tool of this file; `None` when it is none.
pub async fn of_tool(
    call: &Call<'_>,
    arguments: &JsonObject,
    jobs: &TaskManager,
    clock: &Clock,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let seconds = arguments.get("seconds").and_then(Value::as_f64).unwrap_or(0.0).clamp(0.0, 60.0);
    let nap = Duration::from_secs_f64(seconds);
    match call.name {
        "greet" => {
            let name = arguments.get("name").and_then(Value::as_str).unwrap_or("World");
            return Some(Ok(text(format!("Hello, {name}!")).into()));
        }
        // The one job that may also run while the client waits.
        "slow_compute" if !call.can.supports_tasks() => {
            clock.sleep(nap).await;
            return Some(Ok(text("computed").into()));
        }
        "slow_compute"
        | "failing_job"
        | "protocol_error_job"
        | "confirm_delete"
        | "multi_input"
        | "test_tool_with_task" => {}
        _ => return None,
    }
    if !call.can.supports_tasks() {
        let needed = ClientCapabilities::builder().enable_tasks().build();
        return Some(Err(ErrorData::missing_required_client_capability(needed)));
    }
    let clock = clock.clone();
    let name = call.form("user_name").map(|form| form["name"].as_str().unwrap_or("stranger").to_owned());
    let start = |job: Box<dyn FnOnce(TaskContext) -> TaskFuture>| {
        let task = jobs.spawn(TaskOptions::new().with_poll_interval_ms(POLL_MS), job);
        Ok(CallToolResponse::Task(CreateTaskResult::new(task)))
    };
    Some(match call.name {
        "slow_compute" => start(Box::new(move |job| Box::pin(async move { compute(&job, &clock, nap).await }))),
        "failing_job" => start(Box::new(move |_| {
            Box::pin(async move {
                clock.sleep(Duration::from_millis(500)).await;
                Ok(CallToolResult::error(vec![ContentBlock::text("the job failed, as it always does")]))
            })
        })),
        "protocol_error_job" => start(Box::new(|_| {
            Box::pin(async { Err(TaskExit::Error(ErrorData::internal_error("the job broke down", None))) })
        })),
        "confirm_delete" => start(Box::new(|job| {
            Box::pin(async move {
                let answer = job.request_input("confirm", questions::form("Delete it?", "ok", "boolean")?).await?;
                Ok(text(format!("answered: {answer}")))
            })
        })),
        "multi_input" => start(Box::new(|job| {
            Box::pin(async move {
                let first = job.request_input("first", questions::form("The first?", "value", "string")?);
                let second = job.request_input("second", questions::form("The second?", "value", "string")?);
                let (first, second) = futures::try_join!(first, second)?;
                Ok(text(format!("{first} and {second}")))
            })
        })),
        _ => match name {
            None => questions::before_job(call).map(CallToolResponse::from),
            Some(name) => {
                start(Box::new(move |_| Box::pin(async move { Ok(text(format!("the job is done, {name}"))) })))
            }
        },
    })
}

async fn compute(job: &TaskContext, clock: &Clock, nap: Duration) -> Result<CallToolResult, TaskExit> {
    tokio::select! {
        () = clock.sleep(nap) => Ok(text("computed")),
        () = job.cancelled() => Err(TaskExit::Cancelled),
    }
}
