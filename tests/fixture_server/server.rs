//! The handler: what the protocol's methods answer.

use std::sync::Arc;
use std::time::Duration;

use graphgate::clock::Clock;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, CompleteRequestParams,
    CompleteResult, CompletionInfo, ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult,
    GetTaskParams, GetTaskResult, Implementation, JsonObject, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, LoggingLevel, LoggingMessageNotificationParam, PaginatedRequestParams,
    ProgressNotificationParam, PromptMessage, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, Role,
    ServerCapabilities, ServerConfig, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::task_manager::TaskManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::questions::{self, Call};
use crate::seal::Seal;
use crate::{content, jobs};

const TTL_MS: u64 = 60_000;
const STEP: Duration = Duration::from_millis(50);

/// The tools that take no arguments. The suite calls the first one with any arguments, so that one is harmless.
const PLAIN: &[&str] = &[
    "test_simple_text",
    "confirm_delete",
    "failing_job",
    "multi_input",
    "protocol_error_job",
    "test_audio_content",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_embedded_resource",
    "test_error_handling",
    "test_image_content",
    "test_input_required_result_capabilities",
    "test_input_required_result_elicitation",
    "test_input_required_result_list_roots",
    "test_input_required_result_multi_round",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_request_state",
    "test_input_required_result_sampling",
    "test_input_required_result_tampered_state",
    "test_logging_tool",
    "test_missing_capability",
    "test_multiple_content_types",
    "test_reconnection",
    "test_streaming_elicitation",
    "test_tool_with_logging",
    "test_tool_with_progress",
    "test_tool_with_task",
    "test_trigger_prompt_change",
    "test_trigger_tool_change",
];

/// Which list has changed.
#[derive(Clone, Copy)]
enum Change {
    Tools,
    Prompts,
}

/// The server; a handle, cloned for every request.
#[derive(Clone)]
pub struct Fixture(Arc<State>);

struct State {
    tools: Vec<Tool>,
    jobs: TaskManager,
    seal: Seal,
    clock: Clock,
    changes: broadcast::Sender<Change>,
}

impl Fixture {
    pub fn new() -> Self {
        let (changes, _) = broadcast::channel(16);
        Self(Arc::new(State {
            tools: tools(),
            jobs: TaskManager::new(),
            seal: Seal::new(),
            clock: Clock::system(),
            changes,
        }))
    }
}

fn tools() -> Vec<Tool> {
    let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required });
    let text = || json!({ "type": "string" });
    let mut tools: Vec<(&str, Value)> = PLAIN.iter().map(|name| (*name, object(json!({}), json!([])))).collect();
    tools.extend([
        ("greet", object(json!({ "name": text() }), json!([]))),
        ("slow_compute", object(json!({ "seconds": { "type": "number" }, "label": text() }), json!([]))),
        ("test_sampling", object(json!({ "prompt": text() }), json!(["prompt"]))),
        ("test_elicitation", object(json!({ "message": text() }), json!(["message"]))),
        (
            "test_custom_header",
            object(json!({ "region": { "type": "string", "x-mcp-header": "Region" } }), json!(["region"])),
        ),
        ("json_schema_2020_12_tool", full_schema()),
    ]);
    let tool = |(name, schema): (&'static str, Value)| {
        let schema = if let Value::Object(schema) = schema { schema } else { JsonObject::new() };
        Tool::new(name, "asked for by the conformance suite", Arc::new(schema))
    };
    tools.into_iter().map(tool).collect()
}

/// Keywords that must survive the way to the client.
fn full_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": { "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
        } },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}

/// Logs as the client asked: always in the older protocol version, in the newer one only at a level the request names.
async fn log(context: &RequestContext<RoleServer>, text: &str) {
    let modern = context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28);
    if !modern || context.meta.log_level().is_some() {
        let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(text)).with_logger("fixture");
        let _ = context.peer.notify_logging_message(message).await; // the client may have gone
    }
}

async fn progress(context: &RequestContext<RoleServer>, done: f64) {
    if let Some(token) = context.meta.get_progress_token() {
        let step = ProgressNotificationParam::new(token, done).with_total(100.0);
        let _ = context.peer.notify_progress(step).await; // the client may have gone
    }
}

impl Fixture {
    /// The tools that tell something while they work.
    async fn telling(&self, name: &str, context: &RequestContext<RoleServer>) -> Option<CallToolResult> {
        match name {
            "test_tool_with_logging" | "test_logging_tool" => {
                for text in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                    log(context, text).await;
                    self.0.clock.sleep(STEP).await;
                }
            }
            "test_tool_with_progress" => {
                for done in [0.0, 50.0, 100.0] {
                    progress(context, done).await;
                    self.0.clock.sleep(STEP).await;
                }
            }
            "test_trigger_tool_change" => drop(self.0.changes.send(Change::Tools)), // perhaps nobody listens
            "test_trigger_prompt_change" => drop(self.0.changes.send(Change::Prompts)),
            _ => return None,
        }
        Some(CallToolResult::success(vec![ContentBlock::text("done")]))
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_completions()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("graphgate-fixtures", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.0.tools.clone();
        Ok(ListToolsResult::with_all_items(tools).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let can = context.client_capabilities().unwrap_or_default();
        let call = Call {
            name: &request.name,
            answers: request.input_responses.as_ref(),
            ticket: request.request_state.as_deref(),
            can: &can,
            seal: &self.0.seal,
        };
        if let Some(result) = content::of_tool(call.name) {
            return Ok(result.into());
        }
        if let Some(result) = self.telling(call.name, &context).await {
            return Ok(result.into());
        }
        if let Some(response) = questions::of_tool(&call) {
            return response;
        }
        if let Some(response) = jobs::of_tool(&call, &arguments, &self.0.jobs, &self.0.clock).await {
            return response;
        }
        if self.get_tool(call.name).is_some() {
            // Sampling and elicitation of the older protocol version: a call to the client, which needs a session.
            let refusal = "a stateless server cannot call the client in this protocol version";
            return Ok(CallToolResult::error(vec![ContentBlock::text(refusal)]).into());
        }
        Err(ErrorData::invalid_params(format!("no tool `{}`", call.name), None))
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let list = ListResourcesResult::with_all_items(content::resources());
        Ok(list.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let list = ListResourceTemplatesResult::with_all_items(content::templates());
        Ok(list.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        content::read(&request.uri).map(ReadResourceResponse::Complete)
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let list = ListPromptsResult::with_all_items(content::prompts());
        Ok(list.with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != "test_input_required_result_prompt" {
            let arguments = request.arguments.unwrap_or_default();
            return content::prompt(&request.name, &arguments).map(GetPromptResponse::Complete);
        }
        let can = context.client_capabilities().unwrap_or_default();
        let (answers, ticket) = (request.input_responses.as_ref(), request.request_state.as_deref());
        let call = Call { name: &request.name, answers, ticket, can: &can, seal: &self.0.seal };
        Ok(match questions::before_prompt(&call)? {
            Some(asked) => asked.into(),
            None => GetPromptResult::new(vec![PromptMessage::new_text(Role::User, "Use the given context.")]).into(),
        })
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let known = ["paris", "park", "party"].into_iter().filter(|word| word.starts_with(&request.argument.value));
        let known = CompletionInfo::with_all_values(known.map(str::to_owned).collect());
        known.map(CompleteResult::new).map_err(|error| ErrorData::internal_error(error, None))
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(
        &self,
        _request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.0.changes.subscribe();
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = context.cancelled() => return Ok(()),
            };
            let wants = |wanted: Option<bool>| wanted == Some(true);
            let told = match change {
                Ok(Change::Tools) if wants(context.accepted().tools_list_changed) => {
                    context.sink().notify_tool_list_changed().await
                }
                Ok(Change::Prompts) if wants(context.accepted().prompts_list_changed) => {
                    context.sink().notify_prompt_list_changed().await
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                Err(broadcast::error::RecvError::Closed) => return Ok(()),
            };
            if told.is_err() {
                return Ok(()); // the client has gone
            }
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.0.jobs.get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.jobs.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.0.jobs.cancel_task(&request.task_id)
    }
}
