//! What a resource is: an address, the tool that shows the same, and a function that reads it. People attach resources to a
//! conversation; programs read them over REST.
//!
//! A resource shows nothing that its tool does not, so rights, headers and filters of that tool hold for it. Its answer is
//! JSON; text of people in it is shown as a person would see it.

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;

use super::Toolset;
use super::tool::Context;
use crate::error::ErrorCode;
use crate::services::Error;
use crate::services::events::EventMessage;
use crate::text;

/// What an address names: the names in braces and what stands in their place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids(Vec<(&'static str, String)>);

impl Ids {
    /// What stands in place of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, id)| id.as_str())
    }

    /// What stands in place of a name of the template; empty where the template has no such name.
    #[must_use]
    pub fn of(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All of them.
    #[must_use]
    pub fn into_pairs(self) -> Vec<(&'static str, String)> {
        self.0
    }
}

/// A resource that a template stands for: the ids that fill it in, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub uri: String,
    /// What it is called.
    pub title: String,
}

/// An address of a resource.
#[derive(Clone)]
pub struct Address<'a> {
    /// As it was given.
    pub uri: String,
    /// The resource, or the template, that has it.
    pub resource: &'a Resource,
    /// What it names.
    pub ids: Ids,
}

type Read = dyn Fn(Context, Ids) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync;
type Entries = dyn Fn(Context) -> BoxFuture<'static, Result<Vec<Entry>, Error>> + Send + Sync;
type Shows = fn(&Ids, &EventMessage) -> bool;

/// A resource, or with names in braces in its address a template of many.
pub struct Resource {
    /// The address.
    pub uri: &'static str,
    /// The name.
    pub name: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// The name of the toolset it belongs to.
    pub toolset: &'static str,
    /// The tool that shows the same.
    pub tool: &'static str,
    read: Box<Read>,
    entries: Option<Box<Entries>>,
    shows: Option<Shows>,
}

impl Resource {
    /// A resource over a function that reads it.
    pub fn new<O, F, W>(
        uri: &'static str,
        name: &'static str,
        description: &'static str,
        tool: &'static str,
        read: F,
    ) -> Self
    where
        O: Serialize + 'static,
        F: Fn(Context, Ids) -> W + Send + Sync + Copy + 'static,
        W: Future<Output = Result<O, Error>> + Send + 'static,
    {
        let read = move |context, ids| -> BoxFuture<'static, Result<Value, Error>> {
            Box::pin(async move { content(&read(context, ids).await?) })
        };
        Self { uri, name, description, toolset: "", tool, read: Box::new(read), entries: None, shows: None }
    }

    /// The same template, of which `entries` lists what there is.
    #[must_use]
    pub fn listing<F, W>(mut self, entries: F) -> Self
    where
        F: Fn(Context) -> W + Send + Sync + Copy + 'static,
        W: Future<Output = Result<Vec<Entry>, Error>> + Send + 'static,
    {
        self.entries = Some(Box::new(move |context| Box::pin(entries(context))));
        self
    }

    /// The same resource, which clients may listen to: `shows` says whether one that reads it may see what happened.
    #[must_use]
    pub fn heard(mut self, shows: Shows) -> Self {
        self.shows = Some(shows);
        self
    }

    /// Whether its address has names to fill in.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.uri.contains('{')
    }

    /// What an address names, if it is one of this resource.
    #[must_use]
    pub fn ids(&self, uri: &str) -> Option<Ids> {
        let (wanted, given) = (self.uri.split('/'), uri.split('/'));
        if wanted.clone().count() != given.clone().count() {
            return None;
        }
        let mut ids = Vec::new();
        for (wanted, given) in wanted.zip(given) {
            match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) => ids.push((name, decode(given).filter(|id| !id.is_empty())?)),
                None if wanted == given => {}
                None => return None,
            }
        }
        Some(Ids(ids))
    }

    /// Reads it.
    ///
    /// # Errors
    /// What the service says.
    pub fn read(&self, context: Context, ids: Ids) -> BoxFuture<'static, Result<Value, Error>> {
        (self.read)(context, ids)
    }

    /// What there is of a template; nothing where that is not listed.
    ///
    /// # Errors
    /// What the service says.
    pub async fn entries(&self, context: Context) -> Result<Vec<Entry>, Error> {
        match &self.entries {
            Some(entries) => entries(context).await,
            None => Ok(Vec::new()),
        }
    }

    /// Whether clients may listen to it.
    #[must_use]
    pub const fn can_be_heard(&self) -> bool {
        self.shows.is_some()
    }

    /// Whether a client that reads it may see what happened.
    #[must_use]
    pub fn shows(&self, ids: &Ids, message: &EventMessage) -> bool {
        self.shows.is_some_and(|shows| shows(ids, message))
    }
}

/// What continues an argument that was typed: of a template's address or of a prompt.
pub struct Completion {
    /// The arguments it is for.
    pub arguments: &'static [&'static str],
    /// The tool that shows the same.
    pub tool: &'static str,
    /// The name of the toolset it belongs to.
    pub toolset: &'static str,
    complete: Box<Complete>,
}

/// What was typed of an argument, and the arguments before it.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    /// The beginning of a value.
    pub text: String,
    /// The plan named before.
    pub plan: Option<String>,
}

type Complete = dyn Fn(Context, Typed) -> BoxFuture<'static, Vec<String>> + Send + Sync;

impl Completion {
    /// What continues the arguments, by a function that says it.
    pub fn new<F, W>(arguments: &'static [&'static str], tool: &'static str, complete: F) -> Self
    where
        F: Fn(Context, Typed) -> W + Send + Sync + Copy + 'static,
        W: Future<Output = Vec<String>> + Send + 'static,
    {
        let complete =
            Box::new(move |context, typed| -> BoxFuture<'static, Vec<String>> { Box::pin(complete(context, typed)) });
        Self { arguments, tool, toolset: "", complete }
    }

    /// Values that continue what was typed.
    pub async fn complete(&self, context: Context, typed: Typed) -> Vec<String> {
        (self.complete)(context, typed).await
    }
}

/// The resource of toolsets that an address means.
#[must_use]
pub fn find<'a>(toolsets: &'a [Toolset], uri: &str) -> Option<Address<'a>> {
    let mut all = toolsets.iter().flat_map(|toolset| &toolset.resources);
    all.find_map(|resource| Some(Address { uri: uri.to_owned(), resource, ids: resource.ids(uri)? }))
}

/// What a resource holds, with text of people as a person would see it.
fn content(value: &impl Serialize) -> Result<Value, Error> {
    let mut value = serde_json::to_value(value).map_err(|error| {
        tracing::error!(%error, "a resource cannot be written as JSON");
        Error::new(ErrorCode::Internal, "the resource cannot be written as JSON")
    })?;
    text::disarm(&mut value);
    Ok(value)
}

/// Undoes percent-encoding; `None` when it is no UTF-8.
fn decode(part: &str) -> Option<String> {
    Some(percent_encoding::percent_decode_str(part).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(uri: &'static str) -> Resource {
        Resource::new(uri, "r", "R", "t", |_, ids: Ids| async move { Ok(ids.into_pairs()) })
    }

    #[test]
    fn an_address_names_the_ids_of_its_template() {
        let task = template("planner://plans/{plan_id}/tasks/{task_id}");
        let ids = task.ids("planner://plans/Q4%20launch/tasks/t1").unwrap();
        assert_eq!(ids.into_pairs(), [("plan_id", "Q4 launch".to_owned()), ("task_id", "t1".to_owned())]);
    }

    #[test]
    fn an_address_of_another_shape_names_nothing() {
        let plan = template("planner://plans/{plan_id}");
        for uri in
            ["planner://plans", "planner://plans/", "planner://plans/a/b", "planner://plans/%ff", "planner://x/a", ""]
        {
            assert_eq!(plan.ids(uri), None, "{uri}");
        }
    }
}
