//! What of the toolsets a deployment offers: the same on every interface, for every caller.

use super::tool::{Effect, Tool};
use super::{Presence, Toolset};
use crate::auth::{Grant, Mode};

/// What is offered.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// Refuse every tool that writes.
    pub read_only: bool,
    /// Only these toolsets; all if empty.
    pub toolsets: Vec<String>,
    /// Whether all toolsets that are offered are listed to clients that name none.
    pub lists_everything: bool,
    /// Only these tools; all if empty.
    pub tools: Vec<String>,
    /// Never these tools.
    pub disabled: Vec<String>,
}

impl Offer {
    /// Whether a tool is among those offered, leaving aside whether the server is read-only.
    #[must_use]
    pub fn has(&self, tool: &Tool) -> bool {
        let listed = |names: &[String], name: &str| names.is_empty() || names.iter().any(|listed| listed == name);
        listed(&self.toolsets, tool.toolset) && listed(&self.tools, tool.name) && !self.disables(tool.name)
    }

    /// Whether the deployment switches a tool off.
    #[must_use]
    pub fn disables(&self, tool: &str) -> bool {
        self.disabled.iter().any(|name| name == tool)
    }

    /// Whether a tool can be called here by a caller that may do everything.
    #[must_use]
    pub fn serves(&self, tool: &Tool) -> bool {
        self.has(tool) && (!self.read_only || tool.effect == Effect::Reads)
    }

    /// Whether permissions of a toolset's tools are asked for: where none is named, those of toolsets that are there
    /// without being named.
    #[must_use]
    pub fn grants(&self, toolset: &Toolset) -> bool {
        let named = !self.toolsets.is_empty() || self.lists_everything;
        named || toolset.presence != Presence::OnRequest
    }

    /// The most any caller may do on any interface: the toolsets of which a tool is offered, and to write with those of
    /// which one that writes is. `None` where all tools are.
    #[must_use]
    pub fn most(&self) -> Option<Grant> {
        if self.toolsets.is_empty() && self.tools.is_empty() && self.disabled.is_empty() {
            return None;
        }
        let offered = super::tools().into_iter().filter(|tool| self.has(tool));
        let grant = |tool: Tool| {
            Grant::toolsets([tool.toolset], if tool.effect == Effect::Reads { Mode::Read } else { Mode::Write })
        };
        Some(offered.map(grant).fold(Grant::nothing(), |all, one| all.or(&one)).and_operate())
    }
}
