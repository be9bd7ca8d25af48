//! The dispatcher: every call of a tool and every reading of a resource goes through the one [`Catalogue`], over MCP and
//! REST alike, so that filters, limits, audit and counts are the same on both.
//!
//! It wraps a call with a deadline and a guard: a tool that panics would otherwise never answer. What a caller sees is
//! decided by the [`inventory`](super::inventory).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};

use super::Toolset;
use super::inventory::{Inventory, Refusal};
use super::narrow::Narrowed;
use super::offer::Offer;
use super::resource::{self, Address};
use super::tool::{Context, Effect, Progress, Tool};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::audit::Operation;
use crate::services::{Error, Services};
use crate::telemetry::metrics::{Durations, Label, Metric, Metrics, Reading, Unit};

/// The longest a call may take: the front end of the Functions host ends a request after 230 s.
const DEADLINE: Duration = Duration::from_secs(200);

/// What the audit log calls the reading of a resource.
const READ: &str = "resources/read";

/// The tools and resources of a deployment.
pub struct Catalogue {
    services: Services,
    toolsets: Vec<Toolset>,
    offer: Offer,
    /// Calls, by tool and outcome.
    calls: Durations<2>,
}

impl Catalogue {
    /// The catalogue of what is offered, over the services.
    #[must_use]
    pub fn new(services: Services, offer: Offer) -> Self {
        let fields = services.planner.custom_fields().schema();
        let mut toolsets = super::all();
        for toolset in &mut toolsets {
            let tools = std::mem::take(&mut toolset.tools);
            toolset.tools = tools.into_iter().map(|tool| tool.with_custom_fields(&fields)).collect();
        }
        Self { services, toolsets, offer, calls: Durations::default() }
    }

    /// The services.
    #[must_use]
    pub const fn services(&self) -> &Services {
        &self.services
    }

    /// What is offered.
    #[must_use]
    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// All tools, offered or not.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.toolsets.iter().flat_map(|toolset| &toolset.tools)
    }

    /// What a request of a caller may see.
    #[must_use]
    pub fn inventory(&self, caller: Caller, narrowed: Narrowed) -> Inventory<'_> {
        Inventory { toolsets: &self.toolsets, offer: &self.offer, caller, narrowed }
    }

    /// Registers calls and the time they took, by tool and outcome (`ok`, or an error code).
    pub fn register(&self, metrics: &Metrics) {
        let labels = |[tool, outcome]: &[Label; 2]| vec![("tool", tool.clone()), ("outcome", outcome.clone())];
        let calls = Metric::counter("tool_calls", "Calls of MCP tools");
        metrics.durations(calls, &self.calls, labels, |found| Reading::Whole(found.count()));
        let spent = Metric::counter("tool_call_duration", "Time in calls of MCP tools").in_unit(Unit::Seconds);
        metrics.durations(spent, &self.calls, labels, |found| Reading::Fraction(found.seconds()));
    }

    /// The tool that a name or an alias means. A caller that is not let call it is written down.
    ///
    /// # Errors
    /// When there is no such tool for this caller, or it may not call it.
    pub async fn find<'a>(&self, inventory: &Inventory<'a>, name: &str) -> Result<&'a Tool, Refusal> {
        let found = inventory.find(name);
        let refused = match &found {
            Ok(_) => return found,
            Err(Refusal::Denied(refused)) => (name, refused.code),
            Err(Refusal::Unknown(_)) => ("unknown tool", ErrorCode::NotFound),
        };
        self.note_refusal(inventory, refused.0, Vec::new(), refused.1).await;
        found
    }

    /// Writes down that a caller was not let do something.
    async fn note_refusal(
        &self,
        inventory: &Inventory<'_>,
        name: &str,
        ids: Vec<(&'static str, String)>,
        code: ErrorCode,
    ) {
        let (caller, name) = (&inventory.caller, name.to_owned());
        let operation = Operation { caller, name, writes: false, arguments: None, ids };
        self.services.audit.refused(&operation, code.as_str()).await;
    }

    /// Calls a tool that [`Self::find`] has found. Once the caller is `gone`, the call is cut off.
    ///
    /// # Errors
    /// What the tool says, or that it took too long, was cut off or failed by a fault.
    pub async fn call(
        &self,
        tool: &Tool,
        arguments: Value,
        inventory: Inventory<'_>,
        progress: Progress,
        gone: impl Future<Output = ()>,
    ) -> Result<Value, Error> {
        let started = self.services.clock.now();
        let may_write = !inventory.is_read_only() && inventory.caller.may_write(tool.toolset);
        let caller = inventory.caller;
        let writes = tool.effect != Effect::Reads;
        let noted = self.services.audit.begin(&Operation {
            caller: &caller,
            name: tool.name.to_owned(),
            writes,
            arguments: Some(&arguments),
            ids: Vec::new(),
        });
        let caller = noted.of(caller);
        let call = Context { services: self.services.clone(), caller, may_write, progress };
        let work = AssertUnwindSafe(tool.run(call, arguments)).catch_unwind();
        let work = self.services.clock.timeout(DEADLINE, work);
        // A call that did not end may have changed something.
        let cut_off = |error: Error| if writes { error.perhaps_changed() } else { error };
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = gone => Some(Ok(Err(cut_off(Error::new(ErrorCode::Cancelled, "the call was cancelled; what is journalled still reaches Planner"))))),
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
        let took = (self.services.clock.now() - started).to_std().unwrap_or_default();
        let outcome = result.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        self.calls.record([tool.name.into(), outcome.into()], took);
        self.services.audit.record(noted, outcome, took).await;
        tracing::info!(
            tool = tool.name,
            outcome,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "tool call"
        );
        result
    }

    /// What a request brings along where resources are read.
    #[must_use]
    pub fn context(&self, inventory: &Inventory<'_>) -> Context {
        let (services, caller) = (self.services.clone(), inventory.caller.clone());
        Context { services, caller, may_write: false, progress: unheard() }
    }

    /// The resource that an address means. A caller that is not let read it is written down.
    ///
    /// # Errors
    /// When there is no such resource for this caller, or it may not read it.
    pub async fn resource<'a>(&self, inventory: &Inventory<'a>, uri: &str) -> Result<Address<'a>, Error> {
        let found = inventory.resource(uri);
        if let Err(error) = &found {
            let ids = self.address(uri).map(|address| address.ids).unwrap_or_default();
            self.note_refusal(inventory, READ, ids.into_pairs(), error.code).await;
        }
        found
    }

    /// The resource that an address means, for any caller.
    #[must_use]
    pub fn address(&self, uri: &str) -> Option<Address<'_>> {
        resource::find(&self.toolsets, uri)
    }

    /// Reads a resource that [`Self::resource`] has found.
    ///
    /// # Errors
    /// When the service fails, or it takes too long.
    pub async fn read(&self, inventory: &Inventory<'_>, address: Address<'_>) -> Result<Value, Error> {
        let Address { uri, resource, ids } = address;
        let started = self.services.clock.now();
        let arguments = json!({ "uri": uri });
        let noted = self.services.audit.begin(&Operation {
            caller: &inventory.caller,
            name: READ.to_owned(),
            writes: false,
            arguments: Some(&arguments),
            ids: ids.clone().into_pairs(),
        });
        let read = resource.read(self.context(inventory), ids);
        let read = self.services.clock.timeout(DEADLINE, read).await.unwrap_or_else(|| {
            let message = format!("the resource took longer than {} s", DEADLINE.as_secs());
            Err(Error::new(ErrorCode::TimedOut, message).hint("read it again, or a part of it with a tool"))
        });
        let took = (self.services.clock.now() - started).to_std().unwrap_or_default();
        let outcome = read.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        self.services.audit.record(noted, outcome, took).await;
        read
    }
}

/// Progress that is not reported.
#[must_use]
pub fn unheard() -> Progress {
    Arc::new(|_, _| ())
}
