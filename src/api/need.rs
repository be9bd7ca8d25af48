//! What a caller needs for a path, decided in one place before any handler runs. A path that stands in no line is the
//! operator's: whoever adds a route and forgets this table has opened nothing.

use axum::http::Method;

use super::BOARD_PATH;
use super::problem::Problem;
use crate::auth::{Caller, Mode};
use crate::error::ErrorCode;
use crate::services::Error;

/// What a path asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: not even to say who it is.
    Nothing,
    /// To be known; what it may do is decided further in.
    Known,
    /// A toolset: to read it, or to write with it where the method writes.
    Toolset(&'static str),
    /// To run the deployment.
    Operator,
}

/// Paths by how they begin; the first line that fits counts.
const NEEDS: &[(&str, Need)] = &[
    ("/health", Need::Nothing),
    ("/.well-known/", Need::Nothing),
    // The address is signed, and the handler checks it: a browser that follows it has no key.
    ("/downloads/", Need::Nothing),
    // Graph has no key: what it sends carries the secret of its subscription.
    ("/api/graph_webhook", Need::Nothing),
    ("/mcp", Need::Known),
    ("/openapi.json", Need::Known),
    ("/api/openapi.json", Need::Known),
    ("/api/agent/", Need::Toolset("planner")),
    ("/api/metadata", Need::Toolset("planner")),
    ("/api/events", Need::Toolset("planner")),
    // The page says nothing of anybody; what it then asks for is asked for by whoever looks at it.
    (BOARD_PATH, Need::Nothing),
    ("/api/sync/", Need::Toolset("planner")),
    ("/api/planner/", Need::Toolset("planner")),
    ("/api/reports", Need::Toolset("reports")),
    ("/api/report-schedules", Need::Toolset("reports")),
];

impl Need {
    /// What a path asks for.
    #[must_use]
    pub fn of(path: &str) -> Self {
        if path == "/" {
            return Self::Nothing;
        }
        let begins = |line: &&(&str, Self)| {
            path.strip_prefix(line.0)
                .is_some_and(|rest| line.0.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
        };
        NEEDS.iter().find(begins).map_or(Self::Operator, |(_, need)| *need)
    }

    /// Lets a caller pass that has what is asked for.
    ///
    /// # Errors
    /// When it has not.
    pub fn check(self, caller: &Caller, method: &Method) -> Result<(), Problem> {
        let writes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let (allowed, what) = match self {
            Self::Nothing | Self::Known => return Ok(()),
            Self::Toolset(name) => {
                let wanted = if writes { Mode::Write } else { Mode::Read };
                (caller.grant.mode(name).is_some_and(|mode| mode >= wanted), format!("the toolset `{name}`"))
            }
            Self::Operator => (caller.grant.is_operator(), "the operator's pages".to_owned()),
        };
        if allowed {
            return Ok(());
        }
        let verb = if writes { "write with" } else { "read" };
        let message = format!("`{}` may not {verb} {what}; nothing was changed", caller.name);
        Err(Error::new(ErrorCode::PermissionMissing, message)
            .hint("an administrator gives the caller a role, or a key, that may")
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grant;

    #[test]
    fn a_path_nobody_listed_is_the_operator_s() {
        for (path, need) in [
            ("/", Need::Nothing),
            ("/health/ready", Need::Nothing),
            ("/healthy", Need::Operator),
            ("/.well-known/oauth-protected-resource/mcp", Need::Nothing),
            ("/mcp/", Need::Known),
            ("/mcpx", Need::Operator),
            ("/api/agent/tasks", Need::Toolset("planner")),
            ("/api/agentx", Need::Operator),
            ("/metrics", Need::Operator),
            ("/api/tokens/status", Need::Operator),
            ("//api/agent/tasks", Need::Operator),
            ("/api/%61gent/tasks", Need::Operator),
        ] {
            assert_eq!(Need::of(path), need, "{path}");
        }
    }

    #[test]
    fn roles_times_methods() {
        let caller = |grant| Caller { grant, ..Caller::local() };
        let passes = |need: Need, grant: Grant, method: &Method| need.check(&caller(grant), method).is_ok();
        let planner = Need::Toolset("planner");
        for (grant, reads, writes, operates) in [
            (Grant::nothing(), false, false, false),
            (Grant::toolsets(["planner"], Mode::Read), true, false, false),
            (Grant::toolsets(["planner"], Mode::Write), true, true, false),
            (Grant::toolsets(["reports"], Mode::Write), false, false, false),
            (Grant::every(Mode::Read), true, false, false),
            (Grant::every(Mode::Write), true, true, false),
            (Grant::everything(), true, true, true),
        ] {
            assert_eq!(passes(planner, grant.clone(), &Method::GET), reads, "{grant:?}");
            for method in [Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
                assert_eq!(passes(planner, grant.clone(), &method), writes, "{grant:?} {method}");
            }
            assert_eq!(passes(Need::Operator, grant.clone(), &Method::GET), operates, "{grant:?}");
        }
    }
}
