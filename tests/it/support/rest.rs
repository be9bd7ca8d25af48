//! Requests to the REST interface, and answers read to their end.

use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Fails unless this is a whole problem document with this status and code.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:#?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:graphgate:error:{code}"));
        assert_eq!(self.body["request_id"], self.header("x-request-id"));
        for member in ["title", "detail", "class", "changed"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {self:#?}");
        }
        assert!(self.body["retryable"].is_boolean(), "{self:#?}");
        let (body, details) = (&self.body, &self.body["details"]);
        assert_eq!((&body["error"], &body["message"]), (&body["class"], &body["detail"]), "{self:#?}");
        for member in ["code", "hint", "changed", "retryable"] {
            assert_eq!(details[member], body[member], "{member} in {self:#?}");
        }
        let nothing = self.body["detail"].as_str().unwrap_or_default().ends_with("; nothing was changed");
        assert_eq!(nothing, body["changed"] == "nothing", "{self:#?}");
        self
    }

    /// Fails unless the problem's text holds `part`.
    #[track_caller]
    pub fn assert_says(&self, part: &str) {
        let text = format!("{} {}", self.body["detail"], self.body["hint"]);
        assert!(text.contains(part), "`{part}` in {text}");
    }
}

/// Sends a request with further headers and any body.
pub async fn send(base: &Url, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Answer {
    let url = base.join(path).expect("an address");
    let mut request = reqwest::Client::new().request(method.parse().expect("a method"), url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.body(body);
    }
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or_default();
    Answer { status, headers, text, body }
}

/// Sends a request without a body.
pub async fn ask(base: &Url, method: &str, path: &str) -> Answer {
    send(base, method, path, &[], None).await
}

/// Sends JSON.
pub async fn tell(base: &Url, method: &str, path: &str, body: Value) -> Answer {
    send(base, method, path, &[("content-type", "application/json")], Some(body.to_string())).await
}
