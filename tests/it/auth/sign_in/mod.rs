//! People sign in through the authorization server, over Entra as the simulated tenant plays it: the real program, real
//! HTTP, and a browser that keeps cookies and follows forms.

mod accounts;
mod endpoints;
mod flow;
mod on_behalf_of;
mod person_keys;

use std::collections::BTreeMap;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use crate::support::process::{Folder, GRAPHGATE, Process};

const ADELE: &str = "AdeleV@contoso.onmicrosoft.com";
const EMRE: &str = "EmreO@contoso.onmicrosoft.com";
const BACK: &str = "http://127.0.0.1:9/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// An answer: status, where it leads, what it says.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    location: Option<Url>,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// A parameter that went back to the client.
    fn back(&self, name: &str) -> String {
        let url = self.location.as_ref().unwrap_or_else(|| panic!("it leads nowhere: {self:?}"));
        url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    }

    /// The value of a hidden field.
    fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let loose = format!("name={name} value=\"");
        let at = self.text.find(&mark).map(|at| at + mark.len());
        let at = at.or_else(|| self.text.find(&loose).map(|at| at + loose.len()));
        let rest = &self.text[at.unwrap_or_else(|| panic!("no field {name} in {}", self.text))..];
        rest[..rest.find('"').unwrap()].replace("&amp;", "&").replace("&#x2F;", "/").replace("&#47;", "/")
    }
}

/// A deployment that people sign in to, on a tenant of its own.
struct Deployment {
    process: Process,
    _folder: Folder,
    http: reqwest::Client,
}

/// Somebody's browser: the cookies that our server gave it.
#[derive(Debug, Default, Clone)]
struct Browser(BTreeMap<String, String>);

impl Deployment {
    async fn start() -> Self {
        Self::with(&[], &[]).await
    }

    async fn with(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let mut command = Command::new(GRAPHGATE);
        command.args(["dev", "--port", "0", "--sim-port", "0", "--sign-in"]).args(arguments);
        command.envs(settings.iter().copied());
        let process = Process::start(command, &folder.0.join("ready.json")).await;
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { process, _folder: folder, http }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.process.text("api_url"))
    }

    async fn send(&self, request: reqwest::RequestBuilder, browser: Option<&mut Browser>) -> Answer {
        let request = match &browser {
            Some(Browser(cookies)) if !cookies.is_empty() => {
                let pairs: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                request.header("cookie", pairs.join("; "))
            }
            _ => request,
        };
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        if let Some(Browser(cookies)) = browser {
            for cookie in headers.get_all("set-cookie") {
                let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = headers.get("location").map(|to| to.to_str().unwrap().parse().unwrap());
        Answer { status: answer.status().as_u16(), location, headers, text: answer.text().await.unwrap() }
    }

    async fn get(&self, url: &str, browser: Option<&mut Browser>) -> Answer {
        self.send(self.http.get(url), browser).await
    }

    async fn post(&self, url: &str, pairs: &[(&str, &str)], browser: Option<&mut Browser>) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = self.http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body);
        self.send(request, browser).await
    }

    async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/{path}", self.process.text("control_url"));
        let request = self.http.request(method.parse().unwrap(), url).body(body.to_string());
        let answer = self.send(request, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// A client that registers itself; answers its id.
    async fn register(&self, name: &str) -> String {
        let metadata = json!({ "client_name": name, "redirect_uris": [BACK], "token_endpoint_auth_method": "none" });
        let request = self.http.post(self.url("oauth/register")).json(&metadata);
        let answer = self.send(request, None).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["client_id"].as_str().unwrap().to_owned()
    }

    fn authorize_url(&self, client: &str, more: &[(&str, &str)]) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", BACK),
            ("state", "s-1"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        pairs.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        pairs.extend(more);
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("{}?{query}", self.url("oauth/authorize"))
    }

    /// The person consents to some scopes; answers where Entra is.
    async fn consent(&self, client: &str, scopes: &[&str], browser: &mut Browser) -> Answer {
        let page = self.get(&self.authorize_url(client, &[]), Some(browser)).await;
        assert_eq!(page.status, 200, "{page:?}");
        let ticket = page.field("ticket");
        let mut form = vec![("ticket", ticket.as_str()), ("answer", "allow")];
        form.extend(scopes.iter().map(|scope| (*scope, "on")));
        self.post(&self.url("oauth/consent"), &form, Some(browser)).await
    }

    /// Somebody signs in at Entra; answers the form that Entra's page sends on.
    async fn at_entra(&self, url: &Url, who: &str) -> Vec<(String, String)> {
        let page =
            self.post(url.as_str(), &[("user", who), ("answer", "yes"), ("mfa", "yes"), ("all", "yes")], None).await;
        assert_eq!(page.status, 200, "{page:?}");
        let names = ["code", "state", "error", "error_description"];
        let there = names.into_iter().filter(|name| {
            page.text.contains(&format!("name=\"{name}\"")) || page.text.contains(&format!("name={name} "))
        });
        there.map(|name| (name.to_owned(), page.field(name))).collect()
    }

    async fn callback(&self, form: &[(String, String)], browser: &mut Browser) -> Answer {
        let pairs: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.post(&self.url("oauth/callback"), &pairs, Some(browser)).await
    }

    /// All the way to a code.
    async fn code(&self, client: &str, scopes: &[&str], who: &str) -> String {
        let mut browser = Browser::default();
        let entra = self.consent(client, scopes, &mut browser).await;
        let form = self.at_entra(entra.location.as_ref().unwrap(), who).await;
        let mut landed = self.callback(&form, &mut browser).await;
        assert_eq!(landed.status, 303, "{landed:?}");
        if let Some(again) = landed.location.clone().filter(|url| url.path().contains("/oauth2/v2.0/")) {
            // Entra has asked this person for more.
            landed = self.callback(&self.at_entra(&again, who).await, &mut browser).await;
        }
        assert_eq!((landed.back("state").as_str(), landed.back("error").as_str()), ("s-1", ""), "{landed:?}");
        landed.back("code")
    }

    async fn token(&self, pairs: &[(&str, &str)]) -> Answer {
        self.post(&self.url("oauth/token"), pairs, None).await
    }

    async fn redeem(&self, client: &str, code: &str) -> Answer {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("code_verifier", VERIFIER),
            ("redirect_uri", BACK),
        ];
        self.token(&pairs).await
    }

    async fn refresh(&self, client: &str, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", token)]).await
    }

    /// All the way to tokens.
    async fn tokens(&self, client: &str, scopes: &[&str], who: &str) -> Tokens {
        Tokens::of(&self.redeem(client, &self.code(client, scopes, who).await).await)
    }

    /// A call of a tool.
    async fn call(&self, token: &str, tool: &str, arguments: Value) -> Answer {
        let request = self.http.post(self.url(&format!("api/tools/{tool}"))).bearer_auth(token).json(&arguments);
        self.send(request, None).await
    }
}

/// Tokens of a client.
#[derive(Debug, Clone)]
struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}
