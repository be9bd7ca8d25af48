//! What handlers take from a request; what is wrong with it becomes a problem, with its place.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::guard::{broke_off, too_large};
use super::problem::Problem;
use super::{Access, Writes};
use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::services::arguments::Unique;
use crate::services::{Error, arguments};

/// The parameter that is a list in one text, with commas.
pub const JOINED: &str = "fields";
const MANUAL: &str = "`/api/openapi.json` describes what is taken";

/// A JSON body. Fields it does not know are refused by name; `null` is the same as leaving a field out, but in a change.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let error = Error::invalid("the body is not announced as JSON");
            return Err(Problem::refused(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                error.hint("send `content-type: application/json`"),
            ));
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(super::MAX_BODY),
            _ => broke_off(),
        })?;
        let Unique(value) = serde_json::from_slice(&body).map_err(|error| misread(&error))?;
        decode(value).map(Self)
    }
}

/// An answer in JSON. Text of people is shown as a person would see it.
pub struct Shown<T>(pub T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        match serde_json::to_value(&self.0) {
            Ok(mut value) => {
                crate::text::disarm(&mut value);
                axum::Json(value).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                let error = Error::new(ErrorCode::Internal, "the answer cannot be written as JSON").perhaps_changed();
                Problem::from(error).into_response()
            }
        }
    }
}

/// The parameters of the address.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = Map::new();
        for (name, text) in form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()) {
            let mut value = parameter(&name, &text)?;
            if let (Value::Array(more), Some(Value::Array(known))) = (&mut value, values.get_mut(&*name))
                && name != JOINED
            {
                known.append(more); // `status=open&status=late`
                continue;
            }
            if values.insert(name.clone().into_owned(), value).is_some() {
                return Err(Error::invalid(format!("the parameter `{name}` is given twice")).into());
            }
        }
        decode(Value::Object(values)).map(Self)
    }
}

/// No parameters: a request that has some is refused.
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).next() {
            Some((name, _)) => Err(Error::invalid(format!("unknown parameter `{name}`: this call takes none")).into()),
            None => Ok(Self),
        }
    }
}

/// The id in the path.
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::invalid("the id in the path is not UTF-8"))?;
        Ok(Self(id))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The guard puts a caller into every request it lets pass.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Error::new(ErrorCode::Unauthenticated, "nobody has said who calls").into())
    }
}

/// A caller who may write.
pub struct Writer(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Writer
where
    Arc<Access>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if Arc::<Access>::from_ref(state).writes == Writes::Refused {
            let error = Error::new(ErrorCode::ReadOnly, "this server is read-only");
            return Err(error.hint("use a deployment that may write").into());
        }
        Caller::from_request_parts(parts, state).await.map(Self)
    }
}

/// The `Idempotency-Key` header, if there is one.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(key) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let key = key.to_str().map_err(|_| Error::invalid("`Idempotency-Key` is not plain ASCII"))?;
        Ok(Self(Some(key.to_owned())))
    }
}

/// The key of header and body, which may both name it but not two different ones.
///
/// # Errors
/// When they differ.
pub fn one_key(header: Option<String>, body: Option<String>) -> Result<Option<String>, Error> {
    match (header, body) {
        (Some(header), Some(body)) if header != body => {
            Err(Error::invalid("`Idempotency-Key` and `idempotency_key` differ").hint("send one of them"))
        }
        (header, body) => Ok(header.or(body)),
    }
}

/// Reads a value; a mistake is reported with its place.
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    Ok(arguments::read(value, MANUAL)?)
}

fn misread(error: &serde_json::Error) -> Problem {
    let message = match error.classify() {
        serde_json::error::Category::Data => error.to_string(),
        _ => format!("the body is not JSON: {error}"),
    };
    Error::invalid(message).hint(MANUAL).into()
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json") || kind.to_ascii_lowercase().ends_with("+json")
}

/// A parameter's text as the value it stands for. A name means the same in every call, hence one table for all.
fn parameter(name: &str, text: &str) -> Result<Value, Error> {
    let wrong = |expected: &str| Error::invalid(format!("`{name}` is `{text}`: {expected} expected"));
    Ok(match name {
        "limit" | "seconds" => Value::from(text.parse::<u32>().map_err(|_| wrong("a whole number"))?),
        "expires" => Value::from(text.parse::<i64>().map_err(|_| wrong("a whole number"))?),
        "fresh" | "open" => Value::from(text.parse::<bool>().map_err(|_| wrong("`true` or `false`"))?),
        "status" | "assignee" | "bucket" | "assigneeIds" | "bucketId" => Value::from(vec![text]),
        JOINED => text.split(',').map(|field| Value::from(field.trim())).collect(),
        _ => Value::from(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_different_idempotency_keys_are_refused() {
        let key = |text: &str| Some(text.to_owned());
        assert_eq!(one_key(key("a"), key("a")).unwrap(), key("a"));
        assert_eq!(one_key(None, key("b")).unwrap(), key("b"));
        assert!(one_key(key("a"), key("b")).is_err());
    }
}
