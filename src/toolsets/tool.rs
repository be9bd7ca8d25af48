//! What a tool is: data, and a function over typed arguments.
//!
//! Listing, filtering, permissions, documentation and dispatch all read the same [`Tool`] values; nothing about a tool
//! is said twice.

use std::sync::Arc;

use futures::future::BoxFuture;
use rmcp::model::{JsonObject, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::schema;
use crate::auth::Caller;
use crate::services::IntoJson;
use crate::services::{Error, Services, arguments};

/// What a tool does to Microsoft 365; the four hints follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing.
    Reads,
    /// Adds something; repeated without a key it adds again.
    Adds,
    /// Adds something once, however often it is called.
    AddsOnce,
    /// Overwrites; repeated it changes nothing more.
    Changes,
    /// Destroys; repeated it changes nothing more.
    Removes,
    /// Takes changes back; repeated it takes back those before.
    Reverts,
}

impl Effect {
    /// The hints of the protocol, all four explicit. The world of the protocol is closed: one tenant.
    #[must_use]
    pub fn hints(self) -> ToolAnnotations {
        let (read_only, destructive, idempotent) = match self {
            Self::Reads => (true, false, true),
            Self::Adds => (false, false, false),
            Self::AddsOnce => (false, false, true),
            Self::Changes | Self::Removes => (false, true, true),
            Self::Reverts => (false, true, false),
        };
        ToolAnnotations::new().read_only(read_only).destructive(destructive).idempotent(idempotent).open_world(false)
    }
}

/// As whom a tool can call Microsoft Graph, and the permissions that it needs for that, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsAs {
    /// As the application alone.
    Application(&'static [&'static str]),
    /// As a signed-in person alone.
    Person(&'static [&'static str]),
    /// As the person where there is one, else as the application.
    Either {
        /// What the application needs.
        application: &'static [&'static str],
        /// What a person delegates.
        delegated: &'static [&'static str],
    },
}

impl RunsAs {
    /// The application permissions it needs.
    #[must_use]
    pub const fn application(self) -> &'static [&'static str] {
        match self {
            Self::Application(permissions) | Self::Either { application: permissions, .. } => permissions,
            Self::Person(_) => &[],
        }
    }

    /// The delegated permissions it needs.
    #[must_use]
    pub const fn delegated(self) -> &'static [&'static str] {
        match self {
            Self::Person(permissions) | Self::Either { delegated: permissions, .. } => permissions,
            Self::Application(_) => &[],
        }
    }
}

/// Reading tasks from the replica, which is the application's.
pub const READ_TASKS: RunsAs = RunsAs::Application(&["Tasks.Read.All", "Group.Read.All", "User.ReadBasic.All"]);
/// As [`READ_TASKS`], for tools that write.
pub const WRITE_TASKS: RunsAs = RunsAs::Application(&["Tasks.ReadWrite.All", "Group.Read.All", "User.ReadBasic.All"]);

/// What a call brings along besides its arguments.
pub struct Context {
    /// The services.
    pub services: Services,
    /// Who calls.
    pub caller: Caller,
    /// Whether this caller may write with tools of this toolset, by this request.
    pub may_write: bool,
    /// Receives how many items of how many are done.
    pub progress: Progress,
}

/// Receives how many items of how many are done.
pub type Progress = Arc<dyn Fn(usize, usize) + Send + Sync>;

type Run = dyn Fn(Context, Value) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync;

/// A tool.
pub struct Tool {
    /// The name.
    pub name: &'static str,
    /// What it does, for a model that chooses.
    pub description: &'static str,
    /// The name of the toolset it belongs to.
    pub toolset: &'static str,
    /// What it does to Microsoft 365.
    pub effect: Effect,
    /// As whom it calls Microsoft Graph, with which permissions.
    pub runs_as: RunsAs,
    /// The JSON Schema of its arguments, without the company's own fields.
    pub input: Arc<JsonObject>,
    /// The schema of the argument that takes the company's own fields, if there is one.
    custom_fields: Option<JsonObject>,
    /// The JSON Schema of its answer.
    pub output: Arc<JsonObject>,
    run: Box<Run>,
}

impl Tool {
    /// A tool over a function of typed arguments.
    pub fn new<A, O, F, W>(
        name: &'static str,
        description: &'static str,
        effect: Effect,
        runs_as: RunsAs,
        run: F,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        O: IntoJson + JsonSchema + 'static,
        F: Fn(Context, A) -> W + Send + Sync + Copy + 'static,
        W: Future<Output = Result<O, Error>> + Send + 'static,
    {
        let mut input = schema::input::<A>();
        let custom_fields = schema::take_property(&mut input, "custom_fields");
        Self {
            name,
            description,
            toolset: "",
            effect,
            runs_as,
            input: Arc::new(input),
            custom_fields,
            output: Arc::new(schema::output::<O>()),
            run: Box::new(move |context, arguments| {
                Box::pin(async move {
                    let arguments = decode(name, arguments)?;
                    let answer = run(context, arguments).await?;
                    answer.into_json().map_err(|error| {
                        tracing::error!(tool = name, %error, "an answer cannot be written as JSON");
                        Error::new(crate::error::ErrorCode::Internal, "the answer cannot be written as JSON")
                    })
                })
            }),
        }
    }

    /// The same tool with a company's own fields in its schema, by name; without any, it lists no argument for them.
    #[must_use]
    pub fn with_custom_fields(mut self, fields: &JsonObject) -> Self {
        if let Some(mut argument) = self.custom_fields.take().filter(|_| !fields.is_empty()) {
            argument.insert("properties".to_owned(), Value::Object(fields.clone()));
            if let Some(Value::Object(properties)) = Arc::make_mut(&mut self.input).get_mut("properties") {
                properties.insert("custom_fields".to_owned(), Value::Object(argument));
            }
        }
        self
    }

    /// Calls the tool.
    ///
    /// # Errors
    /// What the arguments or the service report.
    pub fn run(&self, context: Context, arguments: Value) -> BoxFuture<'static, Result<Value, Error>> {
        (self.run)(context, arguments)
    }

    /// The tool as the protocol lists it.
    #[must_use]
    pub fn listed(&self) -> rmcp::model::Tool {
        rmcp::model::Tool::new(self.name, self.description, self.input.clone())
            .with_raw_output_schema(self.output.clone())
            .with_annotations(self.effect.hints())
    }
}

/// Reads arguments; a mistake is reported with its place and a hint.
fn decode<A: DeserializeOwned>(tool: &str, arguments: Value) -> Result<A, Error> {
    arguments::read(arguments, &format!("see the input schema of `{tool}`"))
}
