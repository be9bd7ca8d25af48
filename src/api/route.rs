//! What a route is: path, method, what it asks of its caller, its handler, and how the OpenAPI document describes it.
//!
//! Each route is declared once, beside its handler. The router, the guard, the audit log and the document all read the
//! same [`Route`] values. utoipa was weighed and left: it writes OpenAPI 3.1, which importers such as API Management do
//! not all read, and its schemas would stand beside those that the tools derive with schemars from the same types.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::State;
use super::operation::Operation;
use super::problem::Problem;
use crate::auth::{Caller, Mode};
use crate::error::ErrorCode;
use crate::services::Error;

/// When paths that were replaced became old ones: 29 November 2026, as a date of structured fields.
const DEPRECATED: &str = "@1795910400";

/// What a route asks of its caller, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Nothing: not even to say who it is.
    Nothing,
    /// To be known; what it may do is decided further in.
    Known,
    /// To read with a toolset.
    Reads(&'static str),
    /// To write with a toolset.
    Writes(&'static str),
    /// To run the deployment.
    Operator,
}

impl Need {
    /// Lets a caller pass that has what is asked for.
    ///
    /// # Errors
    /// When it has not.
    pub fn check(self, caller: &Caller, method: &Method) -> Result<(), Problem> {
        let may = |toolset: &str, wanted: Mode| caller.grant.mode(toolset).is_some_and(|mode| mode >= wanted);
        let (allowed, what) = match self {
            Self::Nothing | Self::Known => return Ok(()),
            Self::Reads(name) => (may(name, Mode::Read), format!("read the toolset `{name}`")),
            Self::Writes(name) => (may(name, Mode::Write), format!("write with the toolset `{name}`")),
            Self::Operator => {
                let verb = if method.is_safe() { "read" } else { "write with" };
                (caller.grant.is_operator(), format!("{verb} the operator's pages"))
            }
        };
        if allowed {
            return Ok(());
        }
        let message = format!("`{}` may not {what}", caller.name);
        Err(Error::new(ErrorCode::PermissionMissing, message)
            .hint("an administrator gives the caller a role, or a key, that may")
            .into())
    }
}

/// A route, declared beside its handler.
pub struct Route {
    /// The pattern, as in `/api/agent/tasks/{id}`.
    pub path: &'static str,
    /// The method.
    pub method: Method,
    /// What it asks of its caller.
    pub need: Need,
    /// What the part of the path in braces is, in the words of the audit log.
    pub names: Option<&'static str>,
    /// How the document describes it; what is for no caller is not described.
    pub operation: Option<Operation>,
    handler: MethodRouter<State>,
}

impl Route {
    /// A route that reads.
    pub fn get<H: Handler<T, State>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::GET, MethodFilter::GET), path, need, handler)
    }

    /// A route that adds or does something.
    pub fn post<H: Handler<T, State>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::POST, MethodFilter::POST), path, need, handler)
    }

    /// A route that adds or replaces the thing of a name.
    pub fn put<H: Handler<T, State>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::PUT, MethodFilter::PUT), path, need, handler)
    }

    /// A route that changes a thing.
    pub fn patch<H: Handler<T, State>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::PATCH, MethodFilter::PATCH), path, need, handler)
    }

    /// A route that tells a browser what its pages may send.
    pub fn options<H: Handler<T, State>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::OPTIONS, MethodFilter::OPTIONS), path, need, handler)
    }

    /// A route that removes a thing.
    pub fn delete<H: Handler<T, State>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::DELETE, MethodFilter::DELETE), path, need, handler)
    }

    fn new<H: Handler<T, State>, T: 'static>(
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        need: Need,
        handler: H,
    ) -> Self {
        Self { path, method, need, names: None, operation: None, handler: on(filter, handler) }
    }

    /// Says what the part of the path in braces is.
    #[must_use]
    pub fn naming(self, kind: &'static str) -> Self {
        Self { names: Some(kind), ..self }
    }

    /// Describes the route for callers.
    #[must_use]
    pub fn described(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Serves the route under its old path: it is not described, and its answers say what to call in its place (RFC 9745).
    #[must_use]
    pub fn replaced_by(self, path: &'static str) -> Self {
        let mark = move |mut response: Response| {
            let link = HeaderValue::from_str(&format!("<{path}>; rel=\"successor-version\""));
            response.headers_mut().insert("deprecation", HeaderValue::from_static(DEPRECATED));
            response.headers_mut().extend(link.ok().map(|link| (header::LINK, link)));
            std::future::ready(response)
        };
        Self { operation: None, handler: self.handler.layer(map_response(mark)), ..self }
    }

    /// Takes bodies of so many bytes at most.
    #[must_use]
    pub fn with_bodies_up_to(self, bytes: usize) -> Self {
        Self { handler: self.handler.layer(DefaultBodyLimit::max(bytes)), ..self }
    }
}

/// The router of routes.
pub fn router(routes: Vec<Route>) -> Router<State> {
    routes.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler))
}

/// What is declared of each route, by pattern.
#[derive(Clone)]
pub struct Declared(Arc<HashMap<&'static str, Vec<Line>>>);

/// Method, need, and what the path names.
type Line = (Method, Need, Option<&'static str>);

impl Declared {
    /// What routes declare.
    pub fn of(routes: &[Route]) -> Self {
        let mut lines: HashMap<&'static str, Vec<Line>> = HashMap::new();
        for route in routes {
            lines.entry(route.path).or_default().push((route.method.clone(), route.need, route.names));
        }
        Self(Arc::new(lines))
    }

    /// What a request that the router matched with `pattern` asks of its caller. A method that the path does not take
    /// asks for the least that the path does, and a path that is not served for a caller that is known: both only get
    /// so.
    pub fn need(&self, pattern: &str, method: &Method) -> Need {
        let Some(lines) = self.0.get(pattern) else { return Need::Known };
        let method = if *method == Method::HEAD { &Method::GET } else { method }; // the router answers both alike
        let declared = lines.iter().find(|(taken, ..)| taken == method).map(|(_, need, _)| *need);
        declared.or_else(|| lines.iter().map(|(_, need, _)| *need).min()).unwrap_or(Need::Operator)
    }

    /// What the part of a pattern in braces is.
    pub fn names(&self, pattern: &str) -> Option<&'static str> {
        self.0.get(pattern)?.iter().find_map(|(.., names)| *names)
    }

    /// All patterns.
    pub fn patterns(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::all_routes;
    use crate::auth::Grant;

    #[test]
    fn route_need_follows_method_and_pattern() {
        let declared = Declared::of(&all_routes());
        for (method, pattern, need) in [
            (Method::GET, "/", Need::Nothing),
            (Method::GET, "/health/ready", Need::Nothing),
            (Method::GET, "/.well-known/oauth-protected-resource/mcp", Need::Nothing),
            (Method::GET, "/api/agent/tasks", Need::Reads("planner")),
            (Method::HEAD, "/api/agent/tasks", Need::Reads("planner")),
            (Method::POST, "/api/agent/tasks", Need::Writes("planner")),
            (Method::PUT, "/api/agent/tasks", Need::Reads("planner")),
            (Method::DELETE, "/api/agent/tasks/{id}", Need::Writes("planner")),
            (Method::POST, "/api/reports", Need::Writes("reports")),
            (Method::GET, "/metrics", Need::Operator),
            (Method::POST, "/metrics", Need::Operator),
            (Method::GET, "/api/tokens/status", Need::Operator),
            (Method::GET, "unknown", Need::Known),
        ] {
            assert_eq!(declared.need(pattern, &method), need, "{method} {pattern}");
        }
        assert_eq!(declared.names("/api/sync/conflicts/{id}/restore"), Some("conflict_id"));
    }

    #[test]
    fn every_api_route_has_a_need_and_documents_its_path_parameters() {
        let open = ["/", "/health", "/health/live", "/health/ready", "/downloads/{name}"];
        for route in all_routes() {
            let described = route.operation.is_some();
            assert_eq!(described && route.need == Need::Nothing, open.contains(&route.path), "{}", route.path);
            assert_eq!(route.path.contains('{'), route.names.is_some(), "{}", route.path);
        }
    }

    #[test]
    fn every_role_is_checked_against_every_need() {
        let caller = |grant| Caller { grant, ..Caller::local() };
        let passes = |need: Need, grant: Grant| need.check(&caller(grant), &Method::GET).is_ok();
        for (grant, reads, writes, operates) in [
            (Grant::nothing(), false, false, false),
            (Grant::toolsets(["planner"], Mode::Read), true, false, false),
            (Grant::toolsets(["planner"], Mode::Write), true, true, false),
            (Grant::toolsets(["reports"], Mode::Write), false, false, false),
            (Grant::every(Mode::Read), true, false, false),
            (Grant::every(Mode::Write), true, true, false),
            (Grant::everything(), true, true, true),
        ] {
            assert_eq!(passes(Need::Reads("planner"), grant.clone()), reads, "{grant:?}");
            assert_eq!(passes(Need::Writes("planner"), grant.clone()), writes, "{grant:?}");
            assert_eq!(passes(Need::Operator, grant.clone()), operates, "{grant:?}");
        }
    }
}
