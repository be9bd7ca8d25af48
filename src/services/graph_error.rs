//! What a failure of Microsoft Graph means for a caller: one code, Graph's own words where they help, what to do next.

use crate::error::ErrorCode;
use crate::graph::{self, ErrorKind};
use crate::services::{Changed, Error};

/// What happened, in a sentence for callers: Graph's own words where they help, and the request's id.
pub(super) fn describe(error: &graph::Error) -> String {
    let said = error.context.message.trim();
    let mut text = match &error.kind {
        ErrorKind::Limit { name } => format!("Planner's limit `{name}` is reached"),
        ErrorKind::Forbidden { missing: Some(permission) } => {
            format!("Microsoft Graph denies access: the permission `{permission}` is missing")
        }
        ErrorKind::BadRequest(reason) => format!("Planner refuses the request: {reason}"),
        ErrorKind::ReadOnly => "the deployment is read-only (`READ_ONLY`): nothing was sent".to_owned(),
        ErrorKind::Credential(source) => format!("GraphGate gets no token for Microsoft Graph: {source}"),
        kind if said.is_empty() => format!("Microsoft Graph: {kind}"),
        kind => format!("Microsoft Graph: {kind} ({said})"),
    };
    if let Some(id) = &error.context.request_id {
        text.push_str(&format!(" [request {id}]"));
    }
    text
}

/// A failure of Graph outside the engine, as callers get it.
#[allow(clippy::needless_pass_by_value)] // made for `map_err`
pub fn graph_error(error: graph::Error) -> Error {
    let code = match &error.kind {
        ErrorKind::NotFound => ErrorCode::NotFound,
        ErrorKind::Conflict | ErrorKind::PreconditionFailed => ErrorCode::Conflict,
        ErrorKind::Forbidden { .. } => ErrorCode::PermissionMissing,
        ErrorKind::ReadOnly => ErrorCode::ReadOnly,
        ErrorKind::Limit { .. } | ErrorKind::BadRequest(_) => ErrorCode::GraphRefused,
        ErrorKind::Credential(_) | ErrorKind::Unauthorized => ErrorCode::CredentialFailed,
        ErrorKind::Throttled { .. } => ErrorCode::Throttled,
        ErrorKind::Timeout { .. } | ErrorKind::Unreachable(_) | ErrorKind::BreakerOpen { .. } => {
            ErrorCode::GraphUnreachable
        }
        _ => ErrorCode::GraphFailed,
    };
    let hint = match code {
        ErrorCode::Conflict => Some("somebody changed it at the same time: repeat the call"),
        ErrorCode::PermissionMissing => Some(match &error.kind {
            ErrorKind::Forbidden { missing: Some(_) } => "an administrator grants the application the permission named",
            _ => "Graph names no permission: an administrator grants what `graphgate doctor` lists as missing",
        }),
        ErrorCode::CredentialFailed => Some("check tenant, client id and secret of the deployment"),
        ErrorCode::Throttled | ErrorCode::GraphUnreachable => {
            Some("repeat the call later; reads without `fresh` are answered from the replica")
        }
        _ if error.is_ambiguous() => Some("it may have happened: check before repeating the call"),
        _ => None,
    };
    Error {
        code,
        message: describe(&error),
        hint: hint.map(str::to_owned),
        changed: if error.is_ambiguous() { Changed::Unknown } else { Changed::Nothing },
        retry_after: error.retry_after(),
    }
}
