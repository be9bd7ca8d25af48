//! How a route is described: what it takes, what it answers, which problems it can meet. All schemas come from the types
//! that are read and written; what is said here besides is prose, examples and statuses.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::toolsets::tool::Tool;

/// Problems of the guard and of any handler.
pub const ANY: &[u16] = &[400, 401, 403, 429, 500, 503, 504];
/// Problems of calls that may ask Microsoft Graph.
pub const GRAPH: &[u16] = &[400, 401, 403, 404, 422, 429, 500, 502, 503, 504];
/// Problems of calls that write, without a body.
pub const WRITE: &[u16] = &[400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504];
/// Problems of calls that write what a body says.
pub const WRITE_BODY: &[u16] = &[400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504];

/// What a 202 means.
pub const ACCEPTED: &str = "Journalled; it reaches Planner by itself, do not repeat it";

/// Derives a type's schema.
pub type Derive = fn(&mut SchemaGenerator) -> Schema;

/// A group of calls in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// Tasks.
    Tasks,
    /// Every tool.
    Tools,
    /// Events and the state of replicas.
    Sync,
    /// Reports.
    Reports,
    /// Names.
    Metadata,
    /// Change notifications.
    Webhooks,
    /// Health, metrics and tokens.
    Operation,
}

impl Tag {
    /// All of them, in the order of the document.
    pub const ALL: [Self; 7] =
        [Self::Tasks, Self::Tools, Self::Sync, Self::Reports, Self::Metadata, Self::Webhooks, Self::Operation];

    /// Its name, and what it is about.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Tasks => ("tasks", "Tasks of Microsoft Planner"),
            Self::Tools => ("tools", "Every tool of MCP by its name, and resources by their address"),
            Self::Sync => ("sync", "What happens, and the replica's sync state"),
            Self::Reports => ("reports", "Reports on plans"),
            Self::Metadata => ("metadata", "What things are called"),
            Self::Webhooks => ("webhooks", "Change notifications of Microsoft Graph"),
            Self::Operation => ("operation", "Health, metrics and tokens"),
        }
    }
}

/// Where parameters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// Behind the question mark.
    Query,
    /// In a header.
    Header,
}

/// What a body's schema is.
pub enum Body {
    /// That of a type.
    Whole(Derive),
    /// That of a type without the field that the path names, under a name of its own.
    Part {
        /// The type.
        of: Derive,
        /// The name of the rest.
        name: &'static str,
        /// The field that the path names.
        without: &'static str,
        /// What becomes of the others.
        rest: Rest,
    },
    /// A schema that a tool has derived.
    Tool(Value),
}

/// What becomes of the fields that the path does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They are as they were.
    Same,
    /// They change a thing: none is required, and `null` is refused.
    Changes,
}

/// What is answered.
pub enum Content {
    /// A type, as JSON.
    Json(Derive, Value),
    /// A schema that a tool has derived.
    Tool(Value),
    /// Other media types, each with its schema.
    Media(Vec<(&'static str, Media)>),
}

/// What a media type holds.
pub enum Media {
    /// Text.
    Text,
    /// Text as in an example.
    Example(String),
    /// Bytes.
    Bytes,
    /// A type, as JSON.
    Json(Derive),
    /// Any JSON object.
    AnyObject,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What it means.
    pub description: &'static str,
    /// What it holds.
    pub content: Content,
    /// Its headers, and what each is.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Calls that lead on from it: the link's name, and the call's.
    pub links: &'static [(&'static str, &'static str)],
}

/// How a route is described.
pub struct Operation {
    /// Its name, which no other has.
    pub id: Cow<'static, str>,
    /// Its group.
    pub tag: &'static str,
    /// What it does.
    pub summary: Cow<'static, str>,
    /// What else there is to know.
    pub description: Option<Cow<'static, str>>,
    /// What it takes besides a body; each type's fields are parameters.
    pub parameters: Vec<(Place, Derive)>,
    /// The body, and an example.
    pub body: Option<(Body, Option<Value>)>,
    /// What it answers.
    pub answers: Vec<Answer>,
    /// Statuses of its problems.
    pub problems: &'static [u16],
}

impl Operation {
    /// A call that takes nothing and answers nothing yet.
    pub fn new(tag: Tag, id: &'static str, summary: &'static str) -> Self {
        Self {
            id: id.into(),
            tag: tag.words().0,
            summary: summary.into(),
            description: None,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            problems: &[],
        }
    }

    /// Says more.
    #[must_use]
    pub fn more(mut self, description: &'static str) -> Self {
        self.description = Some(description.into());
        self
    }

    /// A call of a tool, described by the tool's own schemas.
    pub fn of_tool(tool: &Tool) -> Self {
        let content = Content::Tool(Value::Object((*tool.output).clone()));
        let answer = Answer { status: 200, description: "Done", content, headers: Vec::new(), links: &[] };
        Self {
            id: format!("call_{}", tool.name).into(),
            summary: tool.description.into(),
            body: Some((Body::Tool(Value::Object((*tool.input).clone())), None)),
            answers: vec![answer],
            problems: WRITE_BODY,
            ..Self::new(Tag::Tools, "", "")
        }
    }

    /// Takes the fields of a type as parameters.
    #[must_use]
    pub fn parameters<T: JsonSchema>(mut self, place: Place) -> Self {
        self.parameters.push((place, SchemaGenerator::root_schema_for::<T>));
        self
    }

    /// Takes a body.
    #[must_use]
    pub fn takes<T: JsonSchema>(mut self, example: Value) -> Self {
        self.body = Some((Body::Whole(SchemaGenerator::subschema_for::<T>), Some(example)));
        self
    }

    /// Takes a body of a type without the field that the path names.
    #[must_use]
    pub fn takes_rest<T: JsonSchema>(
        mut self,
        name: &'static str,
        without: &'static str,
        rest: Rest,
        example: Value,
    ) -> Self {
        let of = SchemaGenerator::subschema_for::<T>;
        self.body = Some((Body::Part { of, name, without, rest }, Some(example)));
        self
    }

    /// Answers 200 with a type.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, example: Value) -> Self {
        self.answers_with::<T>(200, "Done", example)
    }

    /// Answers with a type.
    #[must_use]
    pub fn answers_with<T: JsonSchema>(mut self, status: u16, description: &'static str, example: Value) -> Self {
        let content = Content::Json(SchemaGenerator::subschema_for::<T>, example);
        self.answers.push(Answer { status, description, content, headers: Vec::new(), links: &[] });
        self
    }

    /// Answers 200 with other media types.
    #[must_use]
    pub fn sends(mut self, description: &'static str, media: Vec<(&'static str, Media)>) -> Self {
        let content = Content::Media(media);
        self.answers.push(Answer { status: 200, description, content, headers: Vec::new(), links: &[] });
        self
    }

    /// The last answer has a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, description: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, description));
        }
        self
    }

    /// Calls lead on from the last answer, by its id.
    #[must_use]
    pub fn with_links(mut self, links: &'static [(&'static str, &'static str)]) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.links = links;
        }
        self
    }

    /// Can meet problems of these statuses.
    #[must_use]
    pub fn problems(mut self, statuses: &'static [u16]) -> Self {
        self.problems = statuses;
        self
    }
}

impl Answer {
    /// Headers as the document has them.
    pub fn documented_headers(&self) -> Map<String, Value> {
        let header = |(name, description): &(&str, &str)| {
            ((*name).to_owned(), json!({ "description": description, "schema": { "type": "string" } }))
        };
        self.headers.iter().map(header).collect()
    }

    /// Links as the document has them.
    pub fn documented_links(&self) -> Map<String, Value> {
        let link = |(name, call): &(&str, &str)| {
            ((*name).to_owned(), json!({ "operationId": call, "parameters": { "id": "$response.body#/id" } }))
        };
        self.links.iter().map(link).collect()
    }
}
