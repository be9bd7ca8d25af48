//! Search mode: two tools in place of all, so that a conversation pays only for those it uses.
//!
//! `find_tools` finds tools by words among those that the caller may call, listed or not; `call_tool` calls one exactly as
//! it would be called by name: the same filters, audit, limits and answer.

use rmcp::ErrorData;
use rmcp::model::{Tool as Listed, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::toolsets::inventory::Inventory;
use crate::toolsets::schema;
use crate::toolsets::tool::{Effect, Tool};

/// The tool that finds tools.
pub const FIND_TOOLS: &str = "find_tools";
/// The tool that calls one.
pub const CALL_TOOL: &str = "call_tool";

/// The instructions of search mode.
pub const INSTRUCTIONS: &str = "Find tools with `find_tools`, then call one with `call_tool`.";

/// Tools that are shown with their schema where nobody says how many.
const SHOWN: usize = 5;

/// Which tools a client is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those of the toolsets that are listed.
    #[default]
    List,
    /// The two that find and call all others.
    Search,
}

impl Mode {
    /// The mode of a name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "list" => Some(Self::List),
            "search" => Some(Self::Search),
            _ => None,
        }
    }

    /// The mode of a request: `X-MCP-Mode`, else `mode` of its address, else the deployment's.
    ///
    /// # Errors
    /// When it names none there is.
    pub fn of(parts: Option<&http::request::Parts>, otherwise: Self) -> Result<Self, ErrorData> {
        let Some(parts) = parts else { return Ok(otherwise) };
        let header = parts.headers.get("x-mcp-mode").map(|text| text.to_str().unwrap_or_default().to_owned());
        let query = || {
            let pairs = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
            pairs.into_iter().find(|(name, _)| name == "mode").map(|(_, mode)| mode.into_owned())
        };
        let Some(text) = header.or_else(query) else { return Ok(otherwise) };
        let wrong = || ErrorData::invalid_params("the mode is neither `list` nor `search`", None);
        Self::named(&text).ok_or_else(wrong)
    }
}

/// What is searched for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindTools {
    /// What is to be done, in words, as `assign task`; none: every tool's name
    #[serde(default)]
    words: String,
    /// Tools at most (5)
    #[schemars(range(min = 1, max = 20))]
    limit: Option<usize>,
}

/// Which tool is called with what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallTool {
    /// As `find_tools` names it
    pub name: String,
    /// As its `input_schema` says
    #[serde(default)]
    pub arguments: Map<String, Value>,
}

/// Tools that were found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Found {
    /// The tools, those that fit best first.
    tools: Vec<FoundTool>,
    /// How many fit, or may be called where no words were given.
    total: usize,
}

/// A tool that was found.
#[derive(Debug, Serialize, JsonSchema)]
struct FoundTool {
    name: &'static str,
    toolset: &'static str,
    description: &'static str,
    /// Whether it changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reads_only: Option<bool>,
    /// What it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Value>,
}

/// The two tools, as they are listed.
pub fn listed() -> Vec<Listed> {
    let find = Listed::new(
        FIND_TOOLS,
        "Find tools for Microsoft Planner, reports and the directory by words; shows what each takes.",
        schema::input::<FindTools>(),
    );
    let call = Listed::new(CALL_TOOL, "Call a tool that find_tools has shown.", schema::input::<CallTool>());
    let anything = ToolAnnotations::new().read_only(false).destructive(true).idempotent(false).open_world(false);
    vec![find.with_annotations(Effect::Reads.hints()), call.with_annotations(anything)]
}

/// The tools a caller may call that fit words.
pub fn find(inventory: &Inventory<'_>, wanted: &FindTools) -> Found {
    let words = words(&wanted.words);
    if words.is_empty() {
        let tools: Vec<FoundTool> = inventory.callable_tools().map(|tool| found(tool, false)).collect();
        return Found { total: tools.len(), tools };
    }
    let fitting = ranked(inventory.callable_tools(), &words);
    let limit = wanted.limit.unwrap_or(SHOWN).clamp(1, 20);
    let tools = fitting.iter().take(limit).map(|tool| found(tool, true)).collect();
    Found { tools, total: fitting.len() }
}

/// The tools that fit words at all, those that fit best first; as listed among equals.
fn ranked<'a>(tools: impl Iterator<Item = &'a Tool>, wanted: &[String]) -> Vec<&'a Tool> {
    let mut fitting: Vec<(i64, &Tool)> = tools.filter_map(|tool| fit(tool, wanted).map(|fit| (fit, tool))).collect();
    fitting.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
    fitting.into_iter().map(|(_, tool)| tool).collect()
}

fn found(tool: &Tool, whole: bool) -> FoundTool {
    FoundTool {
        name: tool.name,
        toolset: tool.toolset,
        description: tool.description,
        reads_only: whole.then_some(tool.effect == Effect::Reads),
        input_schema: whole.then(|| Value::Object((*tool.input).clone())),
    }
}

/// Words without case, and without the plural's letter.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.chars().count() > 1);
    let singular =
        |word: &str| word.strip_suffix('s').filter(|word| word.chars().count() > 2).unwrap_or(word).to_owned();
    words.map(|word| singular(&word.to_lowercase())).collect()
}

/// How well a tool fits, if at all: words of its name count most, then those of its description, its arguments and its
/// toolset. Among tools that fit alike, that comes first whose name says nothing else.
fn fit(tool: &Tool, wanted: &[String]) -> Option<i64> {
    let arguments = tool.input.get("properties").and_then(Value::as_object);
    let arguments: String =
        arguments.into_iter().flat_map(Map::keys).fold(String::new(), |text, name| text + name + " ");
    let places =
        [(8, words(tool.name)), (3, words(tool.description)), (1, words(&arguments)), (1, words(tool.toolset))];
    let value = |word: &String| {
        let among = |known: &Vec<String>| {
            known.iter().any(|known| known == word || (word.len() > 3 && known.starts_with(word)))
        };
        places.iter().filter(|(_, known)| among(known)).map(|(value, _)| value).sum::<i64>()
    };
    let fit: i64 = wanted.iter().map(value).sum();
    let others = words(tool.name).into_iter().filter(|word| !wanted.contains(word)).count();
    (fit > 0).then(|| 2 * fit - 3 * i64::try_from(others).unwrap_or(i64::MAX / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let tools = crate::toolsets::tools();
        ranked(tools.iter(), &words(text)).into_iter().map(|tool| tool.name).collect()
    }

    #[test]
    fn tool_search_ranks_the_matching_tool_first() {
        for (text, tool) in [
            ("create a task", "create_task"),
            ("list plans", "list_plans"),
            ("Tasks: query, filtered by assignee", "query_tasks"),
            ("move a task to another bucket", "move_task"),
            ("generate report", "generate_report"),
            ("find people", "find_people"),
            ("undo changes", "undo_changes"),
        ] {
            assert_eq!(names(text).first(), Some(&tool), "{text}");
        }
    }

    #[test]
    fn tool_search_matches_description_words() {
        for (text, tool) in [
            ("watch", "create_subscription"),
            ("members", "find_people"),
            ("what is late", "get_plan"),
            ("columns", "list_buckets"),
        ] {
            assert!(names(text).contains(&tool), "{text}: {:?}", names(text));
        }
        assert!(names("xylophone").is_empty());
    }

    #[test]
    fn tool_mode_precedence_is_header_query_setting() {
        let parts = |uri: &str, header: Option<&str>| {
            let mut request = http::Request::builder().uri(uri);
            if let Some(header) = header {
                request = request.header("x-mcp-mode", header);
            }
            request.body(()).unwrap().into_parts().0
        };
        let of = |uri: &str, header| Mode::of(Some(&parts(uri, header)), Mode::List).ok();
        assert_eq!(of("/", None), Some(Mode::List));
        assert_eq!(of("/?mode=search", None), Some(Mode::Search));
        assert_eq!(of("/?mode=list", Some("Search")), Some(Mode::Search));
        assert_eq!(of("/?mode=quick", None), None);
        assert_eq!(Mode::of(None, Mode::Search).ok(), Some(Mode::Search));
    }
}
