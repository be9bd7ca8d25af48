//! The dispatcher: every call of every tool goes through [`Server::dispatch`].
//!
//! It wraps the call with a deadline and a guard: a tool that panics would otherwise never answer, in either protocol
//! version. What a caller sees is decided by the [`inventory`](super::inventory).
//!
//! Long because the protocol's requests all end here, each in a few lines.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    CompletionInfo, DiscoverResult, GetPromptRequestParams, GetPromptResponse, Implementation, InitializeRequestParams,
    InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, SubscriptionFilter,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::inventory::{Inventory, Refusal};
use super::listen::{self, Listener};
use super::narrow::Narrowed;
use super::{Config, answer, prompts, resources};
use crate::auth::{Caller, Streams};
use crate::error::ErrorCode;
use crate::services::audit::Operation;
use crate::services::{Error, Services};
use crate::toolsets::tool::{Context, Effect, Tool};
use crate::toolsets::{self, Toolset};

/// The longest a call may take: the front end of the Functions host ends a request after 230 s.
const DEADLINE: Duration = Duration::from_secs(200);
/// How long clients may keep lists: they change only with a deployment.
const LIST_TTL_MS: u64 = 300_000;

/// How often each tool was called, by outcome.
#[derive(Default)]
pub struct Counters(Mutex<Counts>);

/// Calls and the time they took, by tool and outcome.
type Counts = BTreeMap<(&'static str, &'static str), (u64, Duration)>;

impl Counters {
    fn count(&self, tool: &'static str, outcome: &'static str, took: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (calls, time) = counts.entry((tool, outcome)).or_default();
        *calls += 1;
        *time += took;
    }

    /// Calls and the time they took in all, by tool and outcome (`ok`, or an error code).
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, &'static str, u64, Duration)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((tool, outcome), (calls, time))| (*tool, *outcome, *calls, *time)).collect()
    }
}

/// The server; a cheap handle, cloned for every request.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    services: Services,
    streams: Streams,
    toolsets: Vec<Toolset>,
    config: Config,
    /// Who calls over standard input.
    local: Caller,
    counters: Arc<Counters>,
    stop: CancellationToken,
}

impl Server {
    /// A server over the services; streams end with `stop`.
    #[must_use]
    pub fn new(
        services: Services,
        streams: Streams,
        config: Config,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) -> Self {
        let fields = services.planner.custom_fields().schema();
        let mut toolsets = toolsets::all();
        for toolset in &mut toolsets {
            let tools = std::mem::take(&mut toolset.tools);
            toolset.tools = tools.into_iter().map(|tool| tool.with_custom_fields(&fields)).collect();
        }
        let mut local = Caller::local();
        if let Some(most) = config.most() {
            local.grant = local.grant.and(&most);
        }
        Self(Arc::new(Inner { services, streams, toolsets, config, local, counters, stop }))
    }

    fn inventory(&self, context: &RequestContext<RoleServer>) -> Inventory<'_> {
        let parts = context.extensions.get::<http::request::Parts>();
        let narrowed = parts.map(|parts| Narrowed::of(&parts.headers)).unwrap_or_default();
        Inventory { toolsets: &self.0.toolsets, config: &self.0.config, caller: self.caller(context), narrowed }
    }

    fn caller(&self, context: &RequestContext<RoleServer>) -> Caller {
        // Over standard input there is no request: whoever started the program calls.
        let Some(parts) = context.extensions.get::<http::request::Parts>() else {
            return self.0.local.clone();
        };
        parts.extensions.get::<Caller>().cloned().unwrap_or_else(Caller::nobody)
    }

    /// Writes down that a caller was not let do something.
    async fn note_refusal(&self, caller: &Caller, name: &str, code: ErrorCode) {
        let operation = Operation { caller, name: name.to_owned(), writes: false, arguments: None, ids: Vec::new() };
        self.0.services.audit.refused(&operation, code.as_str()).await;
    }

    /// Calls a tool and tells the client how far it is while it waits.
    async fn dispatch(
        &self,
        tool: &Tool,
        arguments: Value,
        inventory: Inventory<'_>,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let started = self.0.services.clock.now();
        let may_write = !inventory.is_read_only() && inventory.caller.may_write(tool.toolset);
        let caller = inventory.caller;
        let writes = tool.effect != Effect::Reads;
        let noted = self.0.services.audit.begin(&Operation {
            caller: &caller,
            name: tool.name.to_owned(),
            writes,
            arguments: Some(&arguments),
            ids: Vec::new(),
        });
        let caller = noted.of(caller);
        let (sender, receiver) = watch::channel((0, 0));
        let progress = Arc::new(move |done: usize, total: usize| {
            let _ = sender.send((done, total)); // nobody listens when no progress was asked for
        });
        let call = Context { services: self.0.services.clone(), caller, may_write, progress };
        let work = AssertUnwindSafe(tool.run(call, arguments)).catch_unwind();
        let work = self.0.services.clock.timeout(DEADLINE, work);
        // A call that was not heard to its end may have changed something.
        let cut_off = |error: Error| if writes { error.perhaps_changed() } else { error };
        // Over HTTP nobody can cancel a call but by going away, which only a stream notices: what writes goes on to its end
        // either way, as it does on the REST face.
        let stops = !writes || context.extensions.get::<http::request::Parts>().is_none();
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = report(context, receiver) => None,
            () = context.ct.cancelled(), if stops => Some(Ok(Err(cut_off(Error::new(ErrorCode::Cancelled, "the call was cancelled; what is journalled still reaches Planner"))))),
        };
        let result = match outcome {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                tracing::error!(tool = tool.name, "a tool panicked");
                let error = Error::new(ErrorCode::Internal, "a fault of GraphGate; it has been logged");
                Err(cut_off(error.hint("repeating the call will not help")))
            }
            None => {
                let message = format!("`{}` took longer than {} s", tool.name, DEADLINE.as_secs());
                let error = Error::new(ErrorCode::TimedOut, message);
                Err(cut_off(error.hint("what was journalled still reaches Planner; `query_tasks` shows it")))
            }
        };
        let took = (self.0.services.clock.now() - started).to_std().unwrap_or_default();
        let outcome = result.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        self.0.counters.count(tool.name, outcome, took);
        self.0.services.audit.record(noted, outcome, took).await;
        tracing::info!(
            tool = tool.name,
            outcome,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "tool call"
        );
        result.map_or_else(|error| answer::failure(&error), answer::success)
    }
}

/// Forwards progress for as long as the call lasts; never returns.
async fn report(context: &RequestContext<RoleServer>, mut progress: watch::Receiver<(usize, usize)>) {
    let token = context.meta.get_progress_token();
    #[allow(clippy::cast_precision_loss)] // counts of at most some hundreds
    while progress.changed().await.is_ok() {
        let (done, total) = *progress.borrow_and_update();
        if let Some(token) = &token {
            let step = ProgressNotificationParam::new(token.clone(), done as f64).with_total(total as f64);
            if let Err(error) = context.peer.notify_progress(step).await {
                tracing::debug!(%error, "progress cannot be told");
            }
        }
    }
    std::future::pending::<()>().await;
}

/// What a caller hears whose role or headers do not reach resources, which show what the planner toolset shows.
const NOT_READ: &str = "the caller's role or key, or a header of the request, does not let plans be read";

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_completions()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("graphgate", env!("CARGO_PKG_VERSION")))
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        result.instructions = Some(self.inventory(&context).instructions());
        // Whoever shakes hands would listen through a session, and there is none.
        if let Some(resources) = &mut result.capabilities.resources {
            resources.subscribe = None;
        }
        Ok(result)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let info = self.get_info().with_instructions(self.inventory(&context).instructions());
        Ok(DiscoverResult::from_server_info(self.supported_protocol_versions().into_owned(), info))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(listen::accepted(requested))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let inventory = self.inventory(context.request_context());
        if !inventory.reads_as("query_tasks") {
            return Err(ErrorData::invalid_params(NOT_READ, None));
        }
        let caller = inventory.caller;
        let Inner { services: Services { planner, events, clock, .. }, streams, stop, .. } = &*self.0;
        Listener { planner, events, streams, caller: &caller, clock, stop }.run(&context).await
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = self.inventory(&context).tools().map(Tool::listed).collect();
        Ok(ListToolsResult::with_all_items(tools).with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
        self.0.toolsets.iter().flat_map(|toolset| &toolset.tools).find(|tool| tool.name == name).map(Tool::listed)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let inventory = self.inventory(&context);
        let tool = match inventory.find(&request.name) {
            Ok(tool) => tool,
            Err(Refusal::Denied(refused)) => {
                self.note_refusal(&inventory.caller, &request.name, refused.code).await;
                return Ok(answer::failure(&refused).into());
            }
            Err(Refusal::Unknown(unknown)) => {
                self.note_refusal(&inventory.caller, "unknown tool", ErrorCode::NotFound).await;
                return Err(unknown);
            }
        };
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        Ok(self.dispatch(tool, arguments, inventory, &context).await.into())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let inventory = self.inventory(&context);
        let mut resources = if inventory.reads(resources::PLANS_URI) {
            resources::list(&self.0.services.planner, &inventory.caller).await
        } else {
            Vec::new()
        };
        resources.retain(|resource| inventory.reads(&resource.uri));
        Ok(ListResourcesResult::with_all_items(resources).with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let inventory = self.inventory(&context);
        let mut templates = resources::templates();
        templates.retain(|template| inventory.reads(&template.uri_template));
        Ok(ListResourceTemplatesResult::with_all_items(templates)
            .with_ttl_ms(LIST_TTL_MS)
            .with_cache_scope(CacheScope::Private))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let inventory = self.inventory(&context);
        if !inventory.reads(&request.uri) {
            return Err(ErrorData::invalid_params(NOT_READ, None));
        }
        let caller = inventory.caller;
        let started = self.0.services.clock.now();
        let (name, uri) = ("resources/read".to_owned(), json!({ "uri": request.uri }));
        let ids = resources::ids(&request.uri);
        let noted = self.0.services.audit.begin(&Operation {
            caller: &caller,
            name,
            writes: false,
            arguments: Some(&uri),
            ids,
        });
        let read = resources::read(&self.0.services.planner, &self.0.services.reports, &caller, &request.uri).await;
        let took = (self.0.services.clock.now() - started).to_std().unwrap_or_default();
        let outcome = match &read {
            Ok(_) => "ok",
            Err(error) if error.code == rmcp::model::ErrorCode::INTERNAL_ERROR => ErrorCode::Internal.as_str(),
            Err(_) => ErrorCode::NotFound.as_str(),
        };
        self.0.services.audit.record(noted, outcome, took).await;
        read.map(ReadResourceResponse::Complete)
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompts = self.inventory(&context).prompts().map(prompts::listed).collect();
        Ok(ListPromptsResult::with_all_items(prompts).with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let inventory = self.inventory(&context);
        let prompts = inventory.prompts();
        prompts::get(prompts, &request.name, &request.arguments.unwrap_or_default()).map(GetPromptResponse::Complete)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let plan = request.context.as_ref().and_then(|context| context.arguments.as_ref()?.get("plan_id").cloned());
        let inventory = self.inventory(&context);
        let allowed = inventory.reads_as(if plan.is_some() { "query_tasks" } else { "list_plans" });
        let caller = inventory.caller;
        let mut values = if allowed {
            let (name, typed) = (&request.argument.name, &request.argument.value);
            resources::complete(&self.0.services.planner, &caller, name, typed, plan).await
        } else {
            Vec::new()
        };
        let total = values.len();
        values.truncate(CompletionInfo::MAX_VALUES);
        let mut completion = CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
        completion.total = u32::try_from(total).ok();
        completion.has_more = Some(total > CompletionInfo::MAX_VALUES);
        Ok(CompleteResult::new(completion))
    }
}
