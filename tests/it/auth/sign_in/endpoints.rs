//! Requests that nobody honest sends, each with the one right answer.

use serde_json::{Value, json};

use super::{ADELE, BACK, Browser, Deployment, Tokens, VERIFIER};

/// A field that is changed, and to what; `None` leaves it out.
type Change<'a> = (&'a str, Option<&'a str>);

#[tokio::test]
async fn authorization_request_that_is_not_right_never_reaches_entra() {
    let gate = Deployment::start().await;
    let client = gate.register("Edge").await;
    let other = "http://127.0.0.1:9/other";
    let long = "x".repeat(9000);
    let page: &[&[Change<'_>]] = &[
        &[("client_id", None)],
        &[("client_id", Some(""))],
        &[("client_id", Some("client_0000"))],
        &[("client_id", Some("../client"))],
        &[("client_id", Some("client|x"))],
        &[("client_id", Some(&long))],
        &[("client_id", Some("https://127.0.0.1/client.json"))],
        &[("client_id", Some("https://localhost/client.json"))],
        &[("client_id", Some("https://169.254.169.254/latest"))],
        &[("client_id", Some("https://[::1]/client.json"))],
        &[("client_id", Some("https://10.0.0.1/client.json"))],
        &[("client_id", Some("https://2130706433/client.json"))],
        &[("client_id", Some("https://metadata.google.internal/x"))],
        &[("client_id", Some("http://example.com/client.json"))],
        &[("client_id", Some("https://example.com/"))],
        &[("client_id", Some("https://example.com:8443/client.json"))],
        &[("client_id", Some("https://u@example.com/client.json"))],
        &[("client_id", Some("file:///etc/passwd"))],
        &[("client_id", Some("javascript:alert(1)"))],
        &[("redirect_uri", Some(other))],
        &[("redirect_uri", Some("http://127.0.0.1:9/callback/"))],
        &[("redirect_uri", Some("http://127.0.0.1:9/callback?x"))],
        &[("redirect_uri", Some("http://127.0.0.1:9/callback#x"))],
        &[("redirect_uri", Some("http://127.0.0.1:9/CALLBACK"))],
        &[("redirect_uri", Some("http://127.0.0.1:9/callback/../other"))],
        &[("redirect_uri", Some("http://127.0.0.1:9/%63allback"))],
        &[("redirect_uri", Some("https://127.0.0.1:9/callback"))],
        &[("redirect_uri", Some("http://localhost:9/callback"))],
        &[("redirect_uri", Some("http://127.0.0.1.evil.example/callback"))],
        &[("redirect_uri", Some("http://127.0.0.1:9@evil.example/callback"))],
        &[("redirect_uri", Some("http://evil.example/callback"))],
        &[("redirect_uri", Some("//evil.example/callback"))],
        &[("redirect_uri", Some("javascript:alert(1)"))],
        &[("redirect_uri", Some("data:text/html,x"))],
        &[("redirect_uri", Some("http://127.0.0.1:9/callback\r\nset-cookie: a=b"))],
        &[("redirect_uri", Some(" http://127.0.0.1:9/callback"))],
    ];
    for changes in page {
        let answer = asked(&gate, &client, changes).await;
        assert!((400..500).contains(&answer.status) || answer.status == 429, "{changes:?}: {answer:?}");
        assert!(answer.location.is_none(), "{changes:?} leads to {:?}", answer.location);
    }
    let told: &[(&[Change<'_>], &str)] = &[
        (&[("response_type", None)], "unsupported_response_type"),
        (&[("response_type", Some("token"))], "unsupported_response_type"),
        (&[("response_type", Some("id_token"))], "unsupported_response_type"),
        (&[("response_type", Some("code token"))], "unsupported_response_type"),
        (&[("response_type", Some("CODE"))], "unsupported_response_type"),
        (&[("response_mode", Some("fragment"))], "invalid_request"),
        (&[("response_mode", Some("form_post"))], "invalid_request"),
        (&[("code_challenge", None)], "invalid_request"),
        (&[("code_challenge", Some("short"))], "invalid_request"),
        (&[("code_challenge", Some(&"x".repeat(128)))], "invalid_request"),
        (&[("code_challenge", Some(&"=".repeat(43)))], "invalid_request"),
        (&[("code_challenge_method", None)], "invalid_request"),
        (&[("code_challenge_method", Some("plain"))], "invalid_request"),
        (&[("code_challenge_method", Some("S512"))], "invalid_request"),
        (&[("resource", Some("https://evil.example/mcp"))], "invalid_target"),
        (&[("resource", Some("https://graph.microsoft.com"))], "invalid_target"),
        (&[("resource", Some("not an address"))], "invalid_target"),
        (&[("scope", Some("mail.read"))], "invalid_scope"),
        (&[("scope", Some("planner.read planner.admin"))], "invalid_scope"),
        (&[("scope", Some("planner.*"))], "invalid_scope"),
        (&[("scope", Some("Planner.Read"))], "invalid_scope"),
        (&[("scope", Some("directory.write"))], "invalid_scope"),
        (&[("scope", Some("https://graph.microsoft.com/.default"))], "invalid_scope"),
        (&[("prompt", Some("none"))], "interaction_required"),
        (&[("request", Some("eyJ.e.e"))], "request_not_supported"),
        (&[("request_uri", Some("https://evil.example/r"))], "request_not_supported"),
        (&[("state", Some(&"s".repeat(5000)))], "invalid_request"),
    ];
    for (changes, error) in told {
        // Nobody vouches for a client that named itself: it is told by a link that a person follows.
        let answer = asked(&gate, &client, changes).await;
        assert_eq!((answer.status, answer.location.is_none()), (400, true), "{changes:?}");
        let link = answer.text.split("href=\"").nth(2).unwrap_or_else(|| panic!("{changes:?}: {}", answer.text));
        let link = link.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
        let url = url::Url::parse(&link).unwrap();
        assert!(link.starts_with(BACK), "{changes:?}: {link}");
        let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(query["error"], *error, "{changes:?}");
        assert_eq!(query["iss"], gate.url("").trim_end_matches('/'));
    }
    // A parameter that stands twice; both spellings of one address; a form of another kind.
    let twice = gate.get(&format!("{}&client_id=x", gate.authorize_url(&client, &[])), None).await;
    assert_eq!(twice.status, 400);
    assert!(60 < page.len() + told.len(), "{}", page.len() + told.len());
}

async fn asked(gate: &Deployment, client: &str, changes: &[Change<'_>]) -> super::Answer {
    let url = url::Url::parse(&gate.authorize_url(client, &[])).unwrap();
    let mut pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        pairs.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let path = format!("{}?{query}", gate.url("oauth/authorize"));
    // Longer than a request line may be: the same by POST.
    if path.len() > 8000 {
        let request = gate.http.post(gate.url("oauth/authorize"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(query);
        return gate.send(request, None).await;
    }
    gate.get(&path, None).await
}

#[tokio::test]
async fn token_request_that_is_not_right_is_refused_with_its_code() {
    let gate = Deployment::start().await;
    let (client, other) = (gate.register("One").await, gate.register("Other").await);
    let fresh = gate.code(&client, &["planner.read"], ADELE).await;
    let good = |code: &str| {
        vec![
            ("grant_type".to_owned(), "authorization_code".to_owned()),
            ("client_id".to_owned(), client.clone()),
            ("code".to_owned(), code.to_owned()),
            ("code_verifier".to_owned(), VERIFIER.to_owned()),
            ("redirect_uri".to_owned(), BACK.to_owned()),
        ]
    };
    // None of these uses the code up.
    let harmless: &[(&[Change<'_>], u16, &str)] = &[
        (&[("grant_type", None)], 400, "invalid_request"),
        (&[("grant_type", Some("password"))], 400, "unsupported_grant_type"),
        (&[("grant_type", Some("implicit"))], 400, "unsupported_grant_type"),
        (&[("grant_type", Some("urn:ietf:params:oauth:grant-type:device_code"))], 400, "unsupported_grant_type"),
        (&[("grant_type", Some("client_credentials"))], 400, "unauthorized_client"),
        (&[("grant_type", Some("refresh_token"))], 400, "invalid_request"),
        (&[("client_id", None)], 401, "invalid_client"),
        (&[("client_id", Some("client_unknown"))], 401, "invalid_client"),
        (&[("client_id", Some(&other))], 400, "invalid_grant"),
        (&[("client_secret", Some("guess"))], 401, "invalid_client"),
        (&[("client_assertion", Some("a.b.c"))], 401, "invalid_client"),
        (&[("code", None)], 400, "invalid_request"),
        (&[("code", Some("ggac_0000"))], 400, "invalid_grant"),
        (&[("code", Some("%00"))], 400, "invalid_grant"),
        (&[("code_verifier", None)], 400, "invalid_request"),
        (&[("resource", Some("https://evil.example/"))], 400, "invalid_target"),
    ];
    for (changes, status, error) in harmless {
        let answer = posted(&gate, good(&fresh), changes).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (*status, Some(*error)), "{changes:?}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    let tokens = Tokens::of(&posted(&gate, good(&fresh), &[]).await);
    // These do: a client that has the code and not the verifier has stolen it.
    let burning: &[&[Change<'_>]] = &[
        &[("code_verifier", Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXx"))],
        &[("code_verifier", Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"))],
        &[("code_verifier", Some("short"))],
        &[("redirect_uri", Some("http://127.0.0.1:9/other"))],
        &[("redirect_uri", Some("http://127.0.0.1:10/callback"))],
    ];
    for changes in burning {
        let code = gate.code(&client, &["planner.read"], ADELE).await;
        let answer = posted(&gate, good(&code), changes).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_grant")), "{changes:?}");
        assert_eq!(posted(&gate, good(&code), &[]).await.status, 400, "{changes:?}: the code is used up");
    }
    // Refresh tokens: of another client, of another kind, altered in every place.
    for (client_id, token) in [(&other, &tokens.refresh), (&client, &tokens.access), (&client, &fresh)] {
        assert_eq!(gate.refresh(client_id, token).await.json()["error"], "invalid_grant");
    }
    let mut altered = 0;
    for (place, letter) in tokens.refresh.char_indices() {
        let other = if letter == 'A' { "B" } else { "A" };
        let mut text = tokens.refresh.clone();
        text.replace_range(place..=place, other);
        // The last letter of base64 has bits that mean nothing.
        let is_last = tokens.refresh[place + 1..].starts_with('.') || place + 1 == tokens.refresh.len();
        if !is_last {
            assert_eq!(gate.refresh(&client, &text).await.status, 400, "letter {place}");
            altered += 1;
        }
    }
    assert!(altered > 60, "{altered}");
    let scope =
        [("grant_type", "refresh_token"), ("client_id", client.as_str()), ("refresh_token", tokens.refresh.as_str())];
    let wider = gate.token(&[&scope[..], &[("scope", "planner.read planner.write")]].concat()).await;
    assert_eq!(wider.json()["error"], "invalid_scope");
    assert_eq!(gate.token(&scope).await.status, 200, "nothing was lost by it");
}

async fn posted(gate: &Deployment, mut pairs: Vec<(String, String)>, changes: &[Change<'_>]) -> super::Answer {
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        pairs.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    gate.token(&pairs).await
}

#[tokio::test]
async fn access_token_altered_in_any_place_opens_nothing() {
    let gate = Deployment::start().await;
    let client = gate.register("Forged").await;
    let tokens = gate.tokens(&client, &["planner.read"], ADELE).await;
    let text = &tokens.access;
    for place in (0..text.len() - 1).filter(|place| !text[place + 1..].starts_with('.')) {
        let mut forged = text.clone();
        forged.replace_range(place..=place, if &text[place..=place] == "A" { "B" } else { "A" });
        let request = gate.http.get(gate.url("api/agent/tasks?limit=1")).bearer_auth(&forged);
        let status = gate.send(request, None).await.status;
        assert!(matches!(status, 401 | 429), "letter {place}: {status}");
    }
    assert_eq!(gate.call(text, "list_plans", json!({})).await.status, 200);
}

#[tokio::test]
async fn registration_takes_only_clients_that_can_be_safe() {
    let gate = Deployment::start().await;
    let with = |changes: Value| {
        let mut body = json!({"client_name": "x", "redirect_uris": [BACK]});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        body.to_string()
    };
    let many: Vec<String> = (0..21).map(|number| format!("https://a.example/{number}")).collect();
    for (body, error) in [
        (String::new(), "invalid_client_metadata"),
        ("[]".to_owned(), "invalid_client_metadata"),
        ("{".repeat(60_000), "invalid_client_metadata"),
        ("[".repeat(60_000), "invalid_client_metadata"),
        (with(json!({"redirect_uris": []})), "invalid_redirect_uri"),
        (with(json!({"redirect_uris": "x"})), "invalid_client_metadata"),
        (with(json!({"redirect_uris": many})), "invalid_redirect_uri"),
        (with(json!({"redirect_uris": ["http://evil.example/"]})), "invalid_redirect_uri"),
        (with(json!({"redirect_uris": ["javascript:alert(1)"]})), "invalid_redirect_uri"),
        (with(json!({"redirect_uris": ["https://a.example/#x"]})), "invalid_redirect_uri"),
        (with(json!({"redirect_uris": ["https://a.example/", "data:,x"]})), "invalid_redirect_uri"),
        (with(json!({"redirect_uris": ["*"]})), "invalid_redirect_uri"),
        (with(json!({"client_secret": "mine"})), "invalid_client_metadata"),
        (with(json!({"grant_types": ["password"]})), "invalid_client_metadata"),
        (with(json!({"grant_types": ["client_credentials"]})), "invalid_client_metadata"),
        (with(json!({"response_types": ["token"]})), "invalid_client_metadata"),
        (with(json!({"client_name": 7})), "invalid_client_metadata"),
    ] {
        let answer = gate.send(gate.http.post(gate.url("oauth/register")).body(body.clone()), None).await;
        let shown: String = body.chars().take(100).collect();
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some(error)), "{shown}");
    }
    let answer = gate
        .send(
            gate.http
                .post(gate.url("oauth/register"))
                .body(with(json!({"client_name": "\u{202e}gate\u{0}\n<script>"}))),
            None,
        )
        .await;
    assert_eq!(answer.status, 201);
    let (name, id) = (answer.json()["client_name"].clone(), answer.json()["client_id"].clone());
    assert!(!name.as_str().unwrap().contains(['\u{202e}', '\n', '\u{0}']), "{name}");
    let page = gate.get(&gate.authorize_url(id.as_str().unwrap(), &[]), Some(&mut Browser::default())).await;
    assert!(!page.text.contains("<script>"), "{}", page.text);
}

/// What anybody may throw at the endpoints: never a fault of ours, never a panic.
#[tokio::test]
async fn garbage_at_the_endpoints_is_refused_and_never_a_fault() {
    let gate = Deployment::start().await;
    let client = gate.register("Fuzzed").await;
    let count: u64 = std::env::var("OAUTH_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let endpoints = [
        "oauth/token",
        "oauth/register",
        "oauth/revoke",
        "oauth/consent",
        "oauth/callback",
        "oauth/authorize",
        "pages/accounts/disconnect",
    ];
    let words = [
        "grant_type",
        "authorization_code",
        "refresh_token",
        "client_credentials",
        "client_id",
        client.as_str(),
        "code",
        "ggac_",
        "ggrt_",
        "ggat_",
        "code_verifier",
        VERIFIER,
        "redirect_uri",
        BACK,
        "scope",
        "planner.read",
        "resource",
        "state",
        "ticket",
        "consent.",
        "answer",
        "allow",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "token",
        "error",
        "error_description",
        "authorization",
        "person",
        "%00",
        "%ff",
        "\u{fffd}",
        "=",
        "&",
        "+",
        ";",
        "{",
        "}",
        "[",
        "\"",
        "\\",
        ":",
        ",",
        "redirect_uris",
        "client_name",
        "https://",
        "http://127.0.0.1/",
        "javascript:",
        "null",
        "true",
        "1e999",
        "-1",
        "\r\n",
        "\u{0}",
        "😀",
    ];
    let fuzz = |worker: u64, share: u64| {
        let (gate, words) = (&gate, &words);
        async move {
            let entropy = graphgate::ids::Entropy::seeded(worker);
            let pick = |most: usize| usize::try_from(entropy.number() % u64::try_from(most).unwrap()).unwrap();
            for number in 0..share {
                let mut body = Vec::new();
                for _ in 0..pick(24) {
                    body.extend_from_slice(words[pick(words.len())].as_bytes());
                    match pick(5) {
                        0 => body.push(b'='),
                        1 => body.push(b'&'),
                        2 => body.push(u8::try_from(pick(256)).unwrap()),
                        _ => {}
                    }
                }
                let endpoint = endpoints[pick(endpoints.len())];
                let kind = [
                    "application/x-www-form-urlencoded",
                    "application/json",
                    "text/plain",
                    "application/x-www-form-urlencoded; charset=x",
                ][pick(4)];
                let mut request = gate.http.post(gate.url(endpoint)).header("content-type", kind).body(body.clone());
                if pick(4) == 0 {
                    request = request.header("authorization", format!("Basic {}", words[pick(40)].trim()));
                }
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let shown = String::from_utf8_lossy(&body).into_owned();
                assert!(status < 500, "{worker}/{number}: {endpoint} {kind} {shown:?}: {status}");
                // Who is not signed in to a page is shown where to.
                assert!(
                    status >= 300 || matches!(endpoint, "oauth/register" | "pages/accounts/disconnect"),
                    "{endpoint} {shown:?}: {status}"
                );
            }
        }
    };
    let workers = 4;
    futures::future::join_all((0..workers).map(|worker| fuzz(worker, count / workers))).await;
    assert_eq!(gate.get(&gate.url("health/live"), None).await.status, 200);
}
