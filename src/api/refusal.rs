//! A caller that was not let in, as a problem.

use std::time::Duration;

use axum::http::StatusCode;

use super::problem::Problem;
use crate::auth::Denied;
use crate::error::ErrorCode;
use crate::services::Error;

/// When a paused client should come again.
const PAUSED: Duration = Duration::from_mins(1);

/// A caller that was not let in.
pub fn refusal(denied: &Denied) -> Problem {
    let proof = "send a key as `x-api-key` or `x-functions-key`, or a key or a token as `Authorization: Bearer`; `WWW-Authenticate` says where people sign in";
    let message = format!("{denied}");
    let error = match denied {
        Denied::Missing | Denied::Refused(_) => Error::new(ErrorCode::Unauthenticated, message).hint(proof),
        Denied::Expired(_) => Error::new(ErrorCode::TokenExpired, message)
            .hint("fetch a new token, or have an administrator make a new key"),
        Denied::Challenged(_) => Error::new(ErrorCode::Unauthenticated, message).hint(
            "sign in again with the `claims` of `WWW-Authenticate`, and call with that token; this one stays refused",
        ),
        Denied::Powerless => Error::new(ErrorCode::PermissionMissing, message)
            .hint("an administrator assigns the caller a role, such as `Planner.Read` or `Planner.ReadWrite`"),
        Denied::Throttled(wait) => Error {
            retry_after: Some(*wait),
            ..Error::new(ErrorCode::Throttled, message).hint("`CALLS_PER_MINUTE` sets how many a caller may make")
        },
        Denied::Paused => {
            let error = Error::new(ErrorCode::StoreFailed, message)
                .hint("the operator resumes the client: `graphgate clients resume`");
            let error = Error { retry_after: Some(PAUSED), ..error };
            return Problem::refused(StatusCode::SERVICE_UNAVAILABLE, error);
        }
        Denied::NotYet(wait) => {
            let error = Error::new(ErrorCode::StoreFailed, message).hint("repeat the call later, with the same token");
            return Problem::refused(StatusCode::SERVICE_UNAVAILABLE, Error { retry_after: Some(*wait), ..error });
        }
        Denied::Unavailable(_) => {
            tracing::warn!(reason = %denied, "a caller cannot be checked");
            let error = Error::new(ErrorCode::StoreFailed, "who calls cannot be checked at present");
            return Problem::refused(StatusCode::SERVICE_UNAVAILABLE, error.hint("repeat the call"));
        }
    };
    error.into()
}
