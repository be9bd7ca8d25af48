//! One table of error codes.
//!
//! Every failure a caller can meet has a stable code; HTTP status, exit code, retryability and class follow from the
//! code alone, so no interface decides them by itself. What happened in the single case is in the message; what to do
//! next is in the hint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The class a code belongs to: what kind of party has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorClass {
    /// The call was wrong; the caller corrects it.
    ValidationError,
    /// The caller or GraphGate could not prove who it is, or may not do this.
    AuthenticationError,
    /// Microsoft 365, the store or another service failed or refused.
    ServiceError,
    /// Time ran out.
    TimeoutError,
    /// A fault of GraphGate.
    InternalError,
}

/// Whether the same call may succeed later without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Repeating the call as it is cannot help.
    Pointless,
    /// The call may be repeated, after the time named if one is.
    Worthwhile,
}

macro_rules! table {
    ($($(#[doc = $doc:literal])* $name:ident, $code:literal, $class:ident, $status:literal, $exit:literal, $retry:ident;)*) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* $name,)*
        }

        impl ErrorCode {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as callers see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
            /// What it means, in a sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim(),)* }
            }
            /// The class of the failure.
            #[must_use]
            pub const fn class(self) -> ErrorClass {
                match self { $(Self::$name => ErrorClass::$class,)* }
            }
            /// The HTTP status the REST interface answers with.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
            /// The exit code of the command line.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }
            /// Whether repeating the call can help.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }
        }
    };
}

table! {
    // name              code        class                status exit retry
    /// An argument is missing, malformed or contradicts another.
    InvalidArgument,    "VAL_001",  ValidationError,     400,   2,  Pointless;
    /// A name fits several things; the candidates are listed.
    AmbiguousName,      "VAL_002",  ValidationError,     400,   2,  Pointless;
    /// More items, characters or bytes than allowed.
    LimitExceeded,      "VAL_003",  ValidationError,     400,   2,  Pointless;
    /// A cursor or handle is damaged or has expired.
    ExpiredCursor,      "VAL_004",  ValidationError,     400,   2,  Pointless;
    /// An idempotency key was used before with other arguments.
    KeyReused,          "VAL_005",  ValidationError,     409,   2,  Pointless;
    /// The request body is larger than accepted.
    BodyTooLarge,       "VAL_006",  ValidationError,     413,   2,  Pointless;
    /// The plan does not exist or is not visible.
    PlanNotFound,       "PLAN_001", ValidationError,     404,   3,  Pointless;
    /// The bucket does not exist in the plan.
    BucketNotFound,     "BUCK_001", ValidationError,     404,   3,  Pointless;
    /// The task does not exist, or was deleted.
    TaskNotFound,       "TASK_001", ValidationError,     404,   3,  Pointless;
    /// A user of that name exists.
    UserExists,         "USER_001", ValidationError,     409,   6,  Pointless;
    /// The user does not exist.
    UserNotFound,       "USER_002", ValidationError,     404,   3,  Pointless;
    /// A group or team of that name exists.
    NameTaken,          "TEAM_001", ValidationError,     409,   6,  Pointless;
    /// The group or team does not exist.
    TeamNotFound,       "TEAM_002", ValidationError,     404,   3,  Pointless;
    /// The template does not exist.
    TemplateNotFound,   "TMPL_001", ValidationError,     404,   3,  Pointless;
    /// Something else that was named does not exist.
    NotFound,           "FIND_001", ValidationError,     404,   3,  Pointless;
    /// The caller did not prove who it is.
    Unauthenticated,    "AUTH_001", AuthenticationError, 401,   4,  Pointless;
    /// The caller's token or key has expired.
    TokenExpired,       "AUTH_002", AuthenticationError, 401,   4,  Pointless;
    /// GraphGate got no token for Microsoft 365.
    CredentialFailed,   "AUTH_003", AuthenticationError, 502,   4,  Worthwhile;
    /// A Microsoft Graph permission is missing, or the caller's role does not allow this.
    PermissionMissing,  "PERM_001", AuthenticationError, 403,   5,  Pointless;
    /// The server runs read-only, or the call asked for read-only.
    ReadOnly,           "PERM_002", AuthenticationError, 403,   5,  Pointless;
    /// The change collides with another one and was not made.
    Conflict,           "CONF_001", ServiceError,        409,   6,  Worthwhile;
    /// Too many calls; wait as long as the answer says.
    Throttled,          "RATE_001", ServiceError,        429,   7,  Worthwhile;
    /// Microsoft Graph refused or failed.
    GraphFailed,        "GRAPH_001", ServiceError,       502,   8,  Worthwhile;
    /// Microsoft Graph refused for a reason that will not pass by itself, such as a limit of the service.
    GraphRefused,       "GRAPH_002", ServiceError,       422,   8,  Pointless;
    /// Microsoft Graph could not be reached.
    GraphUnreachable,   "GRAPH_003", ServiceError,       503,   8,  Worthwhile;
    /// The store is read-only, full or broken.
    StoreFailed,        "STORE_001", ServiceError,       503,   9,  Worthwhile;
    /// The call ran out of time.
    TimedOut,           "TIME_001", TimeoutError,        504,  10,  Worthwhile;
    /// The caller gave up before the work was done.
    Cancelled,          "TIME_002", TimeoutError,        499,  10,  Worthwhile;
    /// A setting is missing or wrong.
    Configuration,      "CONF_002", InternalError,       500,  11,  Pointless;
    /// A fault of GraphGate.
    Internal,           "INT_001",  InternalError,       500,  12,  Pointless;
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ErrorCode {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_are_unique_and_parse() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert_eq!(code.as_str().parse(), Ok(*code));
        }
    }

    #[test]
    fn exit_codes_avoid_those_of_the_shell() {
        assert!(ErrorCode::ALL.iter().all(|code| (2..64).contains(&code.exit_code())));
    }
}
