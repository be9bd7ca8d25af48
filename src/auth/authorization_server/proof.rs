//! How a client proves itself at the token endpoint: a secret in a header or the form, a signed assertion (RFC 7523), or,
//! for one that can keep no secret, its id alone.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::clients::Client;
use super::error::OAuthError;
use crate::auth::secrets::{digest, same};

/// What an assertion's type is called (RFC 7523, section 2.2).
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest an assertion may be valid, in seconds.
const LONGEST: i64 = 600;
/// How far clocks may differ, in seconds.
const SKEW: i64 = 60;

/// The fields of a form, each given once.
pub type Form = BTreeMap<String, String>;

/// What a request presents of its client.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// The client's id.
    pub id: String,
    secret: Option<String>,
    assertion: Option<String>,
}

/// An assertion that holds, to be used once.
#[derive(Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Its own id.
    pub id: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Presented {
    /// Reads it from the form and the `Authorization` header.
    ///
    /// # Errors
    /// When nothing names a client, or two ways of proving it are used at once (RFC 6749, section 2.3).
    pub fn read(form: &Form, authorization: Option<&str>) -> Result<Self, OAuthError> {
        let field = |name: &str| form.get(name).filter(|value| !value.is_empty()).cloned();
        let basic =
            authorization.filter(|text| text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic ")));
        let mut presented =
            Self { id: field("client_id").unwrap_or_default(), secret: field("client_secret"), assertion: None };
        if let Some(assertion) = field("client_assertion") {
            if field("client_assertion_type").as_deref() != Some(ASSERTION) {
                return Err(OAuthError::invalid_client("the client_assertion_type is unknown"));
            }
            if presented.id.is_empty() {
                presented.id = subject(&assertion).unwrap_or_default();
            }
            presented.assertion = Some(assertion);
        }
        if let Some(text) = basic {
            let (id, secret) =
                basic_of(text).ok_or_else(|| OAuthError::invalid_client("the Authorization header cannot be read"))?;
            if presented.secret.is_some() || (!presented.id.is_empty() && presented.id != id) {
                return Err(OAuthError::invalid_request("the client proves itself in two ways"));
            }
            (presented.id, presented.secret) = (id, Some(secret).filter(|secret| !secret.is_empty()));
        }
        if presented.secret.is_some() && presented.assertion.is_some() {
            return Err(OAuthError::invalid_request("the client proves itself in two ways"));
        }
        if presented.id.is_empty() {
            return Err(OAuthError::invalid_client("no client_id says who asks"));
        }
        Ok(presented)
    }

    /// Whether it proves a client, to a server with one of the `audiences`, at a time in seconds since 1970.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, client: &Client, audiences: &[String], now: i64) -> Result<Option<Assertion>, OAuthError> {
        let refused = || OAuthError::invalid_client("the client did not prove itself");
        match (&self.secret, &self.assertion) {
            (Some(secret), None) if !client.secrets.is_empty() => {
                let digest = digest(secret);
                let known = client.secrets.iter().any(|secret| same(&secret.digest, &digest));
                if known { Ok(None) } else { Err(refused()) }
            }
            (None, Some(assertion)) => assertion_of(assertion, client, audiences, now).map(Some).ok_or_else(refused),
            (None, None) if !client.is_confidential() => Ok(None),
            _ => Err(refused()),
        }
    }
}

/// Id and secret of an `Authorization: Basic` header, whose parts are form-encoded (RFC 6749, section 2.3.1).
fn basic_of(header: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(header.get(6..)?.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    let open = |part: &str| {
        url::form_urlencoded::parse(format!("x={part}").as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    Some((open(id)?, open(secret)?))
}

/// Whom an assertion is about, before anything of it is believed.
fn subject(assertion: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Subject {
        sub: String,
    }
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Subject>(&claims).ok().map(|claims| claims.sub)
}

fn assertion_of(text: &str, client: &Client, audiences: &[String], now: i64) -> Option<Assertion> {
    let keys: JwkSet = serde_json::from_value(client.jwks.clone()?).ok()?;
    let header = jsonwebtoken::decode_header(text).ok()?;
    let signs = matches!(header.alg, Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 | Algorithm::EdDSA);
    let key = match &header.kid {
        Some(kid) => keys.find(kid)?,
        None => keys.keys.first().filter(|_| keys.keys.len() == 1)?,
    };
    let mut validation = Validation::new(header.alg);
    validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false); // below
    let claims = jsonwebtoken::decode::<Claims>(text, &DecodingKey::from_jwk(key).ok()?, &validation).ok()?.claims;
    let for_us = match &claims.aud {
        Audience::One(one) => audiences.contains(one),
        Audience::Several(several) => several.len() == 1 && several.iter().all(|one| audiences.contains(one)),
    };
    let begun = |at: i64| at.saturating_sub(SKEW) <= now;
    let in_time = claims.exp.saturating_add(SKEW) > now
        && claims.exp.saturating_sub(now) <= LONGEST + SKEW
        && claims.iat.is_none_or(begun)
        && claims.nbf.is_none_or(begun);
    let about = claims.iss == client.id && claims.sub == client.id && (8..=200).contains(&claims.jti.len());
    (signs && for_us && in_time && about)
        .then_some(Assertion { id: claims.jti, expires_at: claims.exp.saturating_add(SKEW) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(fields: &[(&str, &str)]) -> Form {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn client_proves_itself_in_one_way() {
        let basic = format!("Basic {}", STANDARD.encode("crm%3A1:a%2Bb"));
        let presented = Presented::read(&form(&[]), Some(&basic)).unwrap();
        assert_eq!((presented.id.as_str(), presented.secret.as_deref()), ("crm:1", Some("a+b")));
        let public = Presented::read(&form(&[("client_id", "one")]), None).unwrap();
        assert_eq!((public.id.as_str(), &public.secret), ("one", &None));
        for (fields, header, code) in [
            (&[][..], None, "invalid_client"),
            (&[("client_id", "")], None, "invalid_client"),
            (&[("client_id", "other")], Some(basic.as_str()), "invalid_request"),
            (&[("client_secret", "x")], Some(&basic), "invalid_request"),
            (&[], Some("Basic ???"), "invalid_client"),
            (&[("client_id", "one"), ("client_assertion", "a.b.c")], None, "invalid_client"),
            (
                &[
                    ("client_id", "one"),
                    ("client_secret", "x"),
                    ("client_assertion", "a.b.c"),
                    ("client_assertion_type", ASSERTION),
                ],
                None,
                "invalid_request",
            ),
        ] {
            assert_eq!(Presented::read(&form(fields), header).unwrap_err().error, code, "{fields:?} {header:?}");
        }
    }
}
