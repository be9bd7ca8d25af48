//! The protocol's requests, each in a few lines: the [`Catalogue`] decides what a caller sees and calls the tools.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    CompletionInfo, DiscoverResult, GetPromptRequestParams, GetPromptResponse, Implementation, InitializeRequestParams,
    InitializeResult, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ReadResourceRequestParams, ReadResourceResponse,
    ServerCapabilities, ServerConfig, SubscriptionFilter,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::listen::{self, Listener};
use super::search::{self, CALL_TOOL, CallTool, FIND_TOOLS, Mode};
use super::trace::{self, Operations};
use super::{Config, answer, prompts, resources};
use crate::auth::{Caller, Streams};
use crate::error::ErrorCode;
use crate::services::{Error, Services, arguments};
use crate::telemetry::metrics::Metrics;
use crate::toolsets::Catalogue;
use crate::toolsets::inventory::{Inventory, Refusal};
use crate::toolsets::narrow::Narrowed;
use crate::toolsets::resource::Typed;
use crate::toolsets::tool::{Effect, Tool};

/// How long clients may keep lists: they change only with a deployment.
const LIST_TTL_MS: u64 = 300_000;

/// The server; a cheap handle, cloned for every request.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    catalogue: Arc<Catalogue>,
    /// What the server calls itself.
    name: String,
    /// Which tools clients are offered that do not say it themselves.
    mode: Mode,
    streams: Streams,
    /// Who calls over standard input.
    local: Caller,
    operations: Operations,
    stop: CancellationToken,
}

impl Server {
    /// A server over a catalogue; streams end with `stop`.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, config: &Config, streams: Streams, stop: CancellationToken) -> Self {
        let mut local = Caller::local();
        if let Some(most) = catalogue.offer().most() {
            local.grant = local.grant.and(&most);
        }
        let (name, mode, operations) = (config.name.clone(), config.mode, Operations::default());
        Self(Arc::new(Inner { catalogue, name, mode, streams, local, operations, stop }))
    }

    /// Registers the duration of requests.
    pub fn register(&self, metrics: &Metrics) {
        self.0.operations.register(metrics);
    }

    fn services(&self) -> &Services {
        self.0.catalogue.services()
    }

    fn since(&self, began: DateTime<Utc>) -> Duration {
        (self.services().clock.steady() - began).to_std().unwrap_or_default()
    }

    fn inventory(&self, context: &RequestContext<RoleServer>) -> Inventory<'_> {
        let parts = context.extensions.get::<http::request::Parts>();
        let narrowed = parts.map(|parts| Narrowed::of(&parts.headers)).unwrap_or_default();
        self.0.catalogue.inventory(self.caller(context), narrowed)
    }

    /// Which tools a request is offered.
    fn mode(&self, context: &RequestContext<RoleServer>) -> Result<Mode, ErrorData> {
        Mode::of(context.extensions.get::<http::request::Parts>(), self.0.mode)
    }

    /// The instructions for a model.
    fn instructions(&self, context: &RequestContext<RoleServer>) -> Result<String, ErrorData> {
        let instructions = self.inventory(context).instructions();
        Ok(match self.mode(context)? {
            Mode::List => instructions,
            Mode::Search => format!("{}\n{instructions}", search::INSTRUCTIONS),
        })
    }

    fn caller(&self, context: &RequestContext<RoleServer>) -> Caller {
        // Over standard input there is no request: the caller is the user who started the program.
        let Some(parts) = context.extensions.get::<http::request::Parts>() else {
            return self.0.local.clone();
        };
        parts.extensions.get::<Caller>().cloned().unwrap_or_else(Caller::nobody)
    }

    /// Calls a tool of search mode, or any other by its name: a model that knows it need not search.
    async fn call_in_search_mode(
        &self,
        name: &str,
        arguments: Map<String, Value>,
        inventory: Inventory<'_>,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        if name == FIND_TOOLS {
            let found = read(FIND_TOOLS, arguments).map(|wanted| search::find(&inventory, &wanted));
            return found.map_or_else(
                |error| answer::failure(&error),
                |found| answer::success(serde_json::to_value(found).unwrap_or_default()), // plain data can always be written
            );
        }
        let call = match name {
            CALL_TOOL => read::<CallTool>(CALL_TOOL, arguments),
            _ => Ok(CallTool { name: name.to_owned(), arguments }),
        };
        let CallTool { name, arguments } = match call {
            Ok(call) => call,
            Err(error) => return answer::failure(&error),
        };
        match self.0.catalogue.find(&inventory, &name).await {
            Ok(tool) => self.dispatch(tool, arguments.into(), inventory, context).await,
            Err(Refusal::Denied(refused)) => answer::failure(&refused),
            Err(Refusal::Unknown(_)) => {
                let error = Error::new(ErrorCode::NotFound, format!("there is no tool `{name}`"));
                answer::failure(&error.hint(format!("`{FIND_TOOLS}` finds tools by words")))
            }
        }
    }

    /// Calls a tool and reports progress to the client while it waits.
    async fn dispatch(
        &self,
        tool: &Tool,
        arguments: Value,
        inventory: Inventory<'_>,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let (sender, receiver) = watch::channel((0, 0));
        let progress = Arc::new(move |done: usize, total: usize| {
            let _ = sender.send((done, total)); // nobody listens when no progress was requested
        });
        // Over HTTP nobody can cancel a call but by going away, which only a stream notices: a write runs to its end
        // either way, as it does over REST.
        let stops = tool.effect == Effect::Reads || context.extensions.get::<http::request::Parts>().is_none();
        let gone = async {
            if stops {
                context.ct.cancelled().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let span = trace::span(context, "tools/call", tool.name);
        span.record("gen_ai.operation.name", "execute_tool").record("gen_ai.tool.name", tool.name);
        let began = self.services().clock.steady();
        let call = Box::pin(self.0.catalogue.call(tool, arguments, inventory, progress, gone));
        let result = tokio::select! {
            result = call.instrument(span.clone()) => result,
            never = report(context, receiver) => match never {},
        };
        let (took, error) = (self.since(began), result.is_err().then_some("tool_error"));
        self.0.operations.end(&span, ("tools/call", tool.name), took, error);
        result.map_or_else(|error| answer::failure(&error), answer::success)
    }
}

/// Arguments of a tool of search mode.
fn read<T: DeserializeOwned>(tool: &str, arguments: Map<String, Value>) -> Result<T, Error> {
    arguments::read(arguments.into(), &format!("see the input schema of `{tool}`"))
}

/// Forwards progress for as long as the call lasts; never returns.
async fn report(context: &RequestContext<RoleServer>, mut progress: watch::Receiver<(usize, usize)>) -> Infallible {
    let token = context.meta.get_progress_token();
    #[allow(clippy::cast_precision_loss)] // counts of at most some hundreds
    while progress.changed().await.is_ok() {
        let (done, total) = *progress.borrow_and_update();
        if let Some(token) = &token {
            let step = ProgressNotificationParam::new(token.clone(), done as f64).with_total(total as f64);
            if let Err(error) = context.peer.notify_progress(step).await {
                tracing::debug!(%error, "progress cannot be reported");
            }
        }
    }
    std::future::pending().await
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_completions()
            .build();
        let server = Implementation::new(self.0.name.clone(), env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(server)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        context.peer.set_peer_info(request.clone());
        let mut result = self.negotiate_initialize(&request)?;
        result.instructions = Some(self.instructions(&context)?);
        // A client that initializes would listen through a session, and there is none.
        if let Some(resources) = &mut result.capabilities.resources {
            resources.subscribe = None;
        }
        Ok(result)
    }

    async fn discover(&self, context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let info = self.get_info().with_instructions(self.instructions(&context)?);
        Ok(DiscoverResult::from_server_info(self.supported_protocol_versions().into_owned(), info))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(listen::accepted(&self.0.catalogue, requested))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let inventory = self.inventory(context.request_context());
        let accepted = context.accepted().resource_subscriptions.clone().unwrap_or_default();
        let mut listened = Vec::with_capacity(accepted.len());
        for uri in &accepted {
            listened.push(self.0.catalogue.resource(&inventory, uri).await.map_err(|error| not_read(&error))?);
        }
        let Inner { streams, stop, .. } = &*self.0;
        let Services { planner, events, clock, .. } = self.services();
        let caller = &inventory.caller;
        Listener { planner, events, streams, caller, clock, stop, listened: &listened }.run(&context).await
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = match self.mode(&context)? {
            Mode::List => self.inventory(&context).tools().map(Tool::listed).collect(),
            Mode::Search => search::listed(),
        };
        Ok(ListToolsResult::with_all_items(tools).with_ttl_ms(LIST_TTL_MS).with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<rmcp::model::Tool> {
        self.0.catalogue.tools().find(|tool| tool.name == name).map(Tool::listed)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let inventory = self.inventory(&context);
        let arguments = request.arguments.unwrap_or_default();
        if self.mode(&context)? == Mode::Search {
            return Ok(self.call_in_search_mode(&request.name, arguments, inventory, &context).await.into());
        }
        let tool = match self.0.catalogue.find(&inventory, &request.name).await {
            Ok(tool) => tool,
            Err(Refusal::Denied(refused)) => return Ok(answer::failure(&refused).into()),
            Err(Refusal::Unknown(known)) => {
                let message = format!("unknown tool `{}`", request.name);
                return Err(ErrorData::invalid_params(message, Some(json!({ "tools": known }))));
            }
        };
        Ok(self.dispatch(tool, arguments.into(), inventory, &context).await.into())
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let inventory = self.inventory(&context);
        let resources = resources::list(&self.0.catalogue, &inventory).await;
        Ok(ListResourcesResult::with_all_items(resources).with_ttl_ms(0).with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let inventory = self.inventory(&context);
        let templates = resources::templates(&inventory);
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
        let address = match self.0.catalogue.resource(&inventory, &request.uri).await {
            Ok(found) => found,
            Err(error) if error.code == ErrorCode::PermissionMissing => return Err(not_read(&error)),
            Err(error) => return resources::contents(&request.uri, Err(error)).map(ReadResourceResponse::Complete),
        };
        let span = trace::span(&context, "resources/read", "");
        let began = self.services().clock.steady();
        let read = Box::pin(self.0.catalogue.read(&inventory, address)).instrument(span.clone()).await;
        let error = read.as_ref().err().map(|error| error.code.as_str());
        self.0.operations.end(&span, ("resources/read", ""), self.since(began), error);
        resources::contents(&request.uri, read).map(ReadResourceResponse::Complete)
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
        let mut values = match inventory.completion(&request.argument.name) {
            Some(completion) => {
                let typed = Typed { text: request.argument.value, plan };
                completion.complete(self.0.catalogue.context(&inventory), typed).await
            }
            None => Vec::new(),
        };
        let total = values.len();
        values.truncate(CompletionInfo::MAX_VALUES);
        let mut completion = CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?;
        completion.total = u32::try_from(total).ok();
        completion.has_more = Some(total > CompletionInfo::MAX_VALUES);
        Ok(CompleteResult::new(completion))
    }
}

/// A resource that the caller may not read.
fn not_read(error: &Error) -> ErrorData {
    ErrorData::invalid_params(error.message.clone(), Some(json!({ "error": error.members() })))
}
