//! Tools on what is watched.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::services::Error;
use crate::services::IntoJson;
use crate::services::subscriptions::{Content, Kind, ListedSubscriptions, NamedSubscription, SubscriptionSpec};
use crate::toolsets::tool::{Context, Effect, RunsAs, Tool};
use crate::toolsets::{Presence, Toolset};

/// What watching groups needs; each kind of thing needs its own permission.
const WATCH: RunsAs = RunsAs::Application(&["Group.Read.All"]);

impl IntoJson for ListedSubscriptions {}
impl IntoJson for NamedSubscription {}

/// The toolset.
pub fn toolset() -> Toolset {
    let tools = vec![
        Tool::new("list_subscriptions", "List what is watched in Microsoft 365.", Effect::Reads, WATCH, list),
        Tool::new(
            "create_subscription",
            "Watch something, so that changes are noticed within seconds. A plan is watched through its group.",
            Effect::AddsOnce,
            WATCH,
            create,
        ),
        Tool::new("delete_subscription", "Stop watching something.", Effect::Removes, WATCH, delete),
    ];
    Toolset {
        name: "subscriptions",
        description: "What is watched in Microsoft 365, so that changes are noticed within seconds",
        instructions: "",
        presence: Presence::Granted,
        tools,
        aliases: &[],
        resources: Vec::new(),
        completions: Vec::new(),
        prompts: &[],
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn list(context: Context, _: Nothing) -> Result<ListedSubscriptions, Error> {
    context.services.subscriptions.list(&context.caller).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Create {
    /// What to watch
    kind: Kind,
    /// Group or user (id or name), then the id of list, channel, chat or drive if the kind has one
    names: Option<Vec<String>>,
    /// Notifications carry what changed
    include_content: Option<bool>,
}

async fn create(context: Context, Create { kind, names, include_content }: Create) -> Result<NamedSubscription, Error> {
    let content = Content::from(include_content);
    context
        .services
        .subscriptions
        .create(&context.caller, &SubscriptionSpec::new(kind, names.unwrap_or_default(), content)?)
        .await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delete {
    /// Id from list_subscriptions
    id: String,
}

async fn delete(context: Context, Delete { id }: Delete) -> Result<NamedSubscription, Error> {
    context.services.subscriptions.delete(&context.caller, &id).await
}
