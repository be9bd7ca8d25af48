//! What a client asks at the authorization endpoint, judged (RFC 6749, RFC 7636, RFC 8707, RFC 9207).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::clients::{Client, Origin};
use super::error::OAuthError;
use super::proof::Form;
use super::redirect;
use super::scopes::{self, Scopes};
use crate::auth::secrets::same;

/// The longest `state` that comes back.
const MAX_STATE: usize = 4096;

/// A request that is answered, once the person has consented and signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// The client.
    pub client_id: String,
    /// What it is called.
    pub client_name: String,
    /// Where the person goes back to.
    pub redirect_uri: Url,
    /// The same as the request wrote it, if it did: it is repeated when the code is redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_as_written: Option<String>,
    /// What comes back with the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The scopes asked for.
    pub scopes: Scopes,
    /// The PKCE challenge (S256).
    pub challenge: String,
}

/// A request that is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing says where the person may go back to: it is told on a page.
    Page(OAuthError),
    /// The client is told, by the address the person is sent to.
    Redirect(Url),
    /// The same, by a link: nobody vouches for a client that named itself, so a browser is not sent to it before a person
    /// has seen where (RFC 9700, section 4.11.2).
    Link {
        /// What is wrong.
        error: OAuthError,
        /// Where the client is told.
        url: Box<Url>,
        /// The same for people.
        goes_to: String,
    },
}

/// What a server offers.
pub struct Offer<'a> {
    /// Its issuer, which its answers name.
    pub issuer: &'a str,
    /// The one resource tokens are for.
    pub resource: &'a str,
    /// The scopes it gives.
    pub scopes: &'a Scopes,
    /// The scopes of a request that names none.
    pub default: &'a Scopes,
}

/// Reads the fields of a query or a form, each given once.
///
/// # Errors
/// When a field stands twice (RFC 6749, section 3.1).
pub fn fields(text: &str) -> Result<Form, OAuthError> {
    let mut form = Form::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if form.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(OAuthError::invalid_request("a parameter stands twice"));
        }
    }
    Ok(form)
}

impl AuthorizationRequest {
    /// Judges the fields of a request of a client that was found.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn read(form: &Form, client: &Client, offer: &Offer<'_>) -> Result<Self, Refusal> {
        let field = |name: &str| form.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let as_written = field("redirect_uri");
        let redirect_uri = client.redirect(as_written).ok_or_else(|| {
            Refusal::Page(OAuthError::invalid_request("the redirect_uri is not one that the client has registered"))
        })?;
        let state = field("state").filter(|state| state.len() <= MAX_STATE);
        let read = || {
            if field("state").is_some() && state.is_none() {
                return Err(OAuthError::invalid_request("the state is too long"));
            }
            if ["request", "request_uri"].iter().any(|name| field(name).is_some()) {
                return Err(OAuthError {
                    error: "request_not_supported",
                    ..OAuthError::invalid_request("request objects are not read")
                });
            }
            if field("response_type") != Some("code") {
                return Err(OAuthError {
                    error: "unsupported_response_type",
                    ..OAuthError::invalid_request("response_type is code")
                });
            }
            if field("response_mode").is_some_and(|mode| mode != "query") {
                return Err(OAuthError::invalid_request("response_mode is query"));
            }
            if field("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "none")) {
                return Err(OAuthError {
                    error: "interaction_required",
                    ..OAuthError::invalid_request("a person has to consent")
                });
            }
            let challenge = field("code_challenge")
                .ok_or_else(|| OAuthError::invalid_request("code_challenge is missing (PKCE)"))?;
            if field("code_challenge_method") != Some("S256") {
                return Err(OAuthError::invalid_request("code_challenge_method is S256"));
            }
            if challenge.len() != 43 || URL_SAFE_NO_PAD.decode(challenge).map_or(0, |bytes| bytes.len()) != 32 {
                return Err(OAuthError::invalid_request("code_challenge is no SHA-256 in base64url"));
            }
            check_resource(field("resource"), offer.resource)?;
            let scopes = scopes::requested(field("scope"), offer.scopes, offer.default)
                .map_err(|scope| OAuthError::invalid_scope(format!("the scope {scope} is not offered")))?;
            if client.is_paused(None) {
                return Err(OAuthError::temporarily_unavailable("an operator has paused the client"));
            }
            Ok((challenge.to_owned(), scopes::with_reading(scopes)))
        };
        match read() {
            Ok((challenge, scopes)) => Ok(Self {
                client_id: client.id.clone(),
                client_name: client.name.clone(),
                redirect_as_written: as_written.map(str::to_owned),
                state: state.map(str::to_owned),
                scopes,
                challenge,
                redirect_uri,
            }),
            Err(error) => {
                let goes_to = redirect::shown(&redirect_uri);
                let url = refused(redirect_uri, state, offer.issuer, &error);
                Err(match client.origin {
                    Origin::Operator => Refusal::Redirect(url),
                    Origin::Document | Origin::Registered => Refusal::Link { error, url: Box::new(url), goes_to },
                })
            }
        }
    }

    /// Where the person goes with an error.
    #[must_use]
    pub fn refused(&self, issuer: &str, error: &OAuthError) -> Url {
        refused(self.redirect_uri.clone(), self.state.as_deref(), issuer, error)
    }

    /// Where the person goes with a code.
    #[must_use]
    pub fn answered(&self, issuer: &str, code: &str) -> Url {
        back(self.redirect_uri.clone(), self.state.as_deref(), issuer, &[("code", code)])
    }
}

/// Whether a token's resource is ours (RFC 8707). A slash at its end, which some clients add, is no difference.
///
/// # Errors
/// When it is another's.
pub fn check_resource(asked: Option<&str>, ours: &str) -> Result<(), OAuthError> {
    let bare = |text: &str| text.trim_end_matches('/').to_owned();
    match asked {
        Some(asked) if bare(asked) != bare(ours) => {
            Err(OAuthError::invalid_target("tokens of this server are for its own resource alone"))
        }
        _ => Ok(()),
    }
}

/// Whether a verifier is that of a challenge (RFC 7636, section 4.6).
#[must_use]
pub fn is_verifier_of(verifier: &str, challenge: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(is_plain)
        && same(&URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())), challenge)
}

fn refused(uri: Url, state: Option<&str>, issuer: &str, error: &OAuthError) -> Url {
    back(uri, state, issuer, &[("error", error.error), ("error_description", &error.error_description)])
}

fn back(mut uri: Url, state: Option<&str>, issuer: &str, fields: &[(&str, &str)]) -> Url {
    let mut query = uri.query_pairs_mut();
    query.extend_pairs(fields);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", issuer);
    drop(query);
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn client() -> Client {
        Client {
            id: "one".into(),
            name: "One".into(),
            origin: Origin::Registered,
            redirect_uris: vec!["https://app.example/cb?x=1".into(), "http://127.0.0.1/cb".into()],
            secrets: Vec::new(),
            jwks: None,
            role: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            expires_at: None,
            pause: None,
        }
    }

    fn judged(changes: &[(&str, Option<&str>)]) -> Result<AuthorizationRequest, Refusal> {
        let offered = scopes::of_toolsets([("planner", true)]);
        let offer = Offer {
            issuer: "https://gate.example",
            resource: "https://gate.example/mcp",
            scopes: &offered,
            default: &offered,
        };
        let mut form: Form = [
            ("response_type", "code"),
            ("client_id", "one"),
            ("redirect_uri", "https://app.example/cb?x=1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("state", "a b&c"),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (name, value) in changes {
            match value {
                Some(value) => drop(form.insert((*name).to_owned(), (*value).to_owned())),
                None => drop(form.remove(*name)),
            }
        }
        AuthorizationRequest::read(&form, &client(), &offer)
    }

    #[test]
    fn request_that_cannot_be_answered_tells_its_client() {
        let code = |changes: &[(&str, Option<&str>)]| match judged(changes) {
            Ok(_) => "ok".to_owned(),
            Err(Refusal::Page(_)) => "page".to_owned(),
            Err(Refusal::Redirect(_)) => unreachable!("the client has named itself"),
            Err(Refusal::Link { url, .. }) => {
                let query: Form = url.query_pairs().into_owned().collect();
                assert_eq!(
                    (query["state"].as_str(), query["iss"].as_str(), query["x"].as_str()),
                    ("a b&c", "https://gate.example", "1")
                );
                query["error"].clone()
            }
        };
        let long = "x".repeat(44);
        for (changes, expected) in [
            (&[][..], "ok"),
            (&[("scope", Some("planner.read openid"))], "ok"),
            (&[("resource", Some("https://gate.example/mcp"))], "ok"),
            (&[("resource", Some("https://gate.example/mcp/"))], "ok"),
            (&[("redirect_uri", None)], "page"),
            (&[("redirect_uri", Some("https://app.example/cb"))], "page"),
            (&[("redirect_uri", Some("https://evil.example/cb?x=1"))], "page"),
            (&[("response_type", Some("token"))], "unsupported_response_type"),
            (&[("response_type", Some("code id_token"))], "unsupported_response_type"),
            (&[("response_type", None)], "unsupported_response_type"),
            (&[("response_mode", Some("fragment"))], "invalid_request"),
            (&[("code_challenge", None)], "invalid_request"),
            (&[("code_challenge", Some(""))], "invalid_request"),
            (&[("code_challenge", Some(&long))], "invalid_request"),
            (&[("code_challenge", Some("short"))], "invalid_request"),
            (&[("code_challenge_method", None)], "invalid_request"),
            (&[("code_challenge_method", Some("plain"))], "invalid_request"),
            (&[("code_challenge_method", Some("s256"))], "invalid_request"),
            (&[("resource", Some("https://other.example/mcp"))], "invalid_target"),
            (&[("resource", Some("https://gate.example"))], "invalid_target"),
            (&[("resource", Some("https://gate.example/mcp?x"))], "invalid_target"),
            (&[("scope", Some("planner.read mail.read"))], "invalid_scope"),
            (&[("scope", Some("*"))], "invalid_scope"),
            (&[("prompt", Some("none"))], "interaction_required"),
            (&[("request_uri", Some("https://x"))], "request_not_supported"),
            (&[("request", Some("e.e.e"))], "request_not_supported"),
        ] {
            assert_eq!(code(changes), expected, "{changes:?}");
        }
    }

    #[test]
    fn verifier_belongs_to_its_challenge() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"; // RFC 7636, appendix B
        assert!(is_verifier_of(verifier, CHALLENGE));
        for wrong in
            ["", CHALLENGE, &verifier[..42], &format!("{verifier}="), &verifier.to_lowercase(), &"a".repeat(129)]
        {
            assert!(!is_verifier_of(wrong, CHALLENGE), "{wrong}");
        }
    }

    #[test]
    fn repeated_parameter_is_refused() {
        assert!(fields("a=1&b=2").is_ok());
        assert_eq!(fields("a=1&b=2&a=1").unwrap_err().error, "invalid_request");
    }
}
