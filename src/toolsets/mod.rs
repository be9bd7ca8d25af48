//! The toolsets: groups of tools that are offered, narrowed and documented together. Each is data of its own file.
//!
//! [`Toolset`] says all there is to say of one: tools, resources, prompts, what a model is told, whether it is listed without being
//! asked for. Lists, permissions, documents and dispatch derive from [`all`]; a toolset is added there, and nowhere else.
//! MCP and REST call tools through the one [`Catalogue`].

pub mod catalogue;
mod directory;
pub mod inventory;
pub mod narrow;
mod offer;
mod planner;
mod reports;
pub mod resource;
pub mod schema;
mod subscriptions;
mod sync;
pub mod tool;

pub use self::catalogue::Catalogue;
pub use self::offer::Offer;
use self::resource::{Completion, Resource};
use self::tool::Tool;

/// How much of a deployment a toolset is when nobody names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Listed to every client, and its permissions are granted.
    Listed,
    /// Its permissions are granted; listed to clients that name it.
    Granted,
    /// Neither, until `ENABLED_TOOLSETS` names it.
    OnRequest,
}

/// A group of tools.
pub struct Toolset {
    /// The name in settings, roles, keys and headers.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The instructions for a model at the start of a conversation: lines, or nothing.
    pub instructions: &'static str,
    /// How much of it there is when nobody names it.
    pub presence: Presence,
    /// Its tools, in the order they are listed.
    pub tools: Vec<Tool>,
    /// Other names of its tools, which are served and not listed: the alias, and the tool.
    pub aliases: &'static [(&'static str, &'static str)],
    /// What can be read of it by address.
    pub resources: Vec<Resource>,
    /// What continues arguments of its prompts and resources.
    pub completions: Vec<Completion>,
    /// Its prompts.
    pub prompts: &'static [Prompt],
}

/// A piece of work people ask for often, spelled out over the tools.
#[derive(Debug)]
pub struct Prompt {
    /// The name.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Name, description, and the value where none is given; without one it is required.
    pub arguments: &'static [(&'static str, &'static str, Option<&'static str>)],
    /// The text; `{name}` stands for an argument.
    pub text: &'static str,
}

/// All toolsets, in the order they are listed.
#[must_use]
pub fn all() -> Vec<Toolset> {
    let mut toolsets = vec![
        // In the order they are listed.
        planner::toolset(),
        reports::toolset(),
        subscriptions::toolset(),
        sync::toolset(),
        directory::toolset(),
    ];
    for toolset in &mut toolsets {
        for tool in &mut toolset.tools {
            tool.toolset = toolset.name;
        }
        for resource in &mut toolset.resources {
            resource.toolset = toolset.name;
        }
        for completion in &mut toolset.completions {
            completion.toolset = toolset.name;
        }
    }
    toolsets
}

/// The tools of all toolsets.
#[must_use]
pub fn tools() -> Vec<Tool> {
    all().into_iter().flat_map(|toolset| toolset.tools).collect()
}
