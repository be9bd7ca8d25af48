//! Forged and edge tokens (T-01, T-02): one table. Unless a line says otherwise the signature is real.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use graphgate::auth::Principal;
use graphgate::auth::entra::TokenError;
use serde_json::{Value, json};

use super::{APP_ID, AUDIENCE, CLIENT, Desk, PERSON};

/// What is expected of a token.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    User,
    App,
    Refused,
}
use Wanted::{App, Refused, User};

/// Changes of claims: `null` removes one.
#[allow(clippy::needless_pass_by_value)] // literals are handed in
fn changed(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    let Value::Object(members) = &mut claims else { unreachable!() };
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| *value != json!("REMOVED"));
    claims
}

/// Claims that are changed one or a few at a time, for a person's token (version 2).
fn of_persons(desk: &Desk) -> Vec<(&'static str, Value, Wanted)> {
    let now = desk.start.timestamp();
    let gone = "REMOVED";
    let tenant = desk.tenant.tenant_id.as_str();
    let other = "99999999-9999-9999-9999-999999999999";
    let v1 = format!("https://sts.windows.net/{tenant}/");
    let authority = desk.tenant.authority_url.as_str().trim_end_matches('/').to_owned();
    vec![
        ("as it should be", json!({}), User),
        ("audience is the id URI", json!({"aud": AUDIENCE}), User),
        ("several scopes", json!({"scp": "User.Read Planner.Read"}), User),
        ("with roles besides", json!({"roles": ["Planner.Read"]}), User),
        ("a guest of our tenant", json!({"idp": "https://sts.windows.net/other/", "acct": 1}), User),
        ("kind said", json!({"idtyp": "user"}), User),
        ("client in capitals", json!({"azp": CLIENT.to_uppercase()}), User),
        ("within the skew after its end", json!({"exp": now - 59}), User),
        ("within the skew before its start", json!({"nbf": now + 60}), User),
        ("no aud", json!({"aud": gone}), Refused),
        ("no iss", json!({"iss": gone}), Refused),
        ("no exp", json!({"exp": gone}), Refused),
        ("no nbf", json!({"nbf": gone}), Refused),
        ("no tid", json!({"tid": gone}), Refused),
        ("no ver", json!({"ver": gone}), Refused),
        ("no azp", json!({"azp": gone}), Refused),
        ("no oid", json!({"oid": gone}), Refused),
        ("no sub", json!({"sub": gone}), Refused),
        ("no scp and no roles: an id token", json!({"scp": gone, "nonce": "n"}), Refused),
        ("an id token with roles", json!({"scp": gone, "roles": ["Planner.Read"], "nonce": "n"}), Refused),
        ("a person's roles without a scope", json!({"scp": gone, "roles": ["Planner.Read"]}), Refused),
        (
            "an id token whose sub is its oid",
            json!({"scp": gone, "roles": ["Planner.Read"], "sub": PERSON, "nonce": "n"}),
            Refused,
        ),
        ("kind says application", json!({"idtyp": "app"}), Refused),
        ("empty scope", json!({"scp": ""}), Refused),
        ("blank scope", json!({"scp": "  "}), Refused),
        ("scope as a list", json!({"scp": ["Planner.Read"]}), Refused),
        ("audience of Graph", json!({"aud": "https://graph.microsoft.com"}), Refused),
        ("another audience", json!({"aud": other}), Refused),
        ("audience with a slash more", json!({"aud": format!("{AUDIENCE}/")}), Refused),
        ("audience in capitals", json!({"aud": AUDIENCE.to_uppercase()}), Refused),
        ("audience is a prefix", json!({"aud": &APP_ID[..35]}), Refused),
        ("audience as a list", json!({"aud": [APP_ID, other]}), Refused),
        ("audience empty", json!({"aud": ""}), Refused),
        ("audience null", json!({"aud": null}), Refused),
        ("another tenant altogether", json!({"tid": other, "iss": format!("{authority}/{other}/v2.0")}), Refused),
        ("tid of another tenant", json!({"tid": other}), Refused),
        ("issuer of another tenant", json!({"iss": format!("{authority}/{other}/v2.0")}), Refused),
        ("issuer common", json!({"iss": format!("{authority}/common/v2.0")}), Refused),
        ("issuer with a slash more", json!({"iss": format!("{authority}/{tenant}/v2.0/")}), Refused),
        ("issuer of another cloud", json!({"iss": format!("https://login.microsoftonline.us/{tenant}/v2.0")}), Refused),
        ("issuer as a list", json!({"iss": [desk.issuer(), v1]}), Refused),
        ("issuer empty", json!({"iss": ""}), Refused),
        ("version 2 by the issuer of version 1", json!({"iss": v1}), Refused),
        ("version 1 by the issuer of version 2", json!({"ver": "1.0", "appid": CLIENT}), Refused),
        ("version 3", json!({"ver": "3.0"}), Refused),
        ("version as a number", json!({"ver": 2.0}), Refused),
        ("expired", json!({"exp": now - 60}), Refused),
        ("expired long ago", json!({"exp": 0}), Refused),
        ("expiry before all time", json!({"exp": i64::MIN}), Refused),
        ("expiry as a text", json!({"exp": (now + 3600).to_string()}), Refused),
        ("expiry as a fraction", json!({"exp": 1.0e18}), Refused),
        ("expiry beyond all numbers", json!({"exp": u64::MAX}), Refused),
        ("expiry null", json!({"exp": null}), Refused),
        ("not valid yet", json!({"nbf": now + 61}), Refused),
        ("valid in another century", json!({"nbf": i64::MAX}), Refused),
        ("start as a text", json!({"nbf": "0"}), Refused),
        ("another client", json!({"azp": other}), Refused),
        ("client empty", json!({"azp": ""}), Refused),
        ("client of version 1 in version 2", json!({"azp": gone, "appid": CLIENT}), Refused),
        ("object id is no id", json!({"oid": "../users"}), Refused),
        ("object id empty", json!({"oid": ""}), Refused),
        ("roles as a text", json!({"roles": "Planner.Read"}), Refused),
    ]
}

/// The same for an application's token (version 1).
fn of_applications(desk: &Desk) -> Vec<(&'static str, Value, Wanted)> {
    let gone = "REMOVED";
    let issuer = desk.issuer();
    vec![
        ("as it should be", json!({}), App),
        ("kind not said", json!({"idtyp": gone}), App),
        ("in version 2", json!({"ver": "2.0", "iss": issuer, "azp": CLIENT, "aud": APP_ID}), App),
        ("no roles", json!({"roles": gone}), Refused),
        ("roles empty", json!({"roles": []}), Refused),
        ("with a scope", json!({"scp": "Planner.Read"}), Refused),
        ("no appid", json!({"appid": gone}), Refused),
        ("client of version 2 in version 1", json!({"appid": gone, "azp": CLIENT}), Refused),
        ("another client", json!({"appid": PERSON}), Refused),
        ("sub is not its oid", json!({"sub": CLIENT}), Refused),
        ("kind says user", json!({"idtyp": "user"}), Refused),
        (
            "issuer without its slash",
            json!({"iss": format!("https://sts.windows.net/{}", desk.tenant.tenant_id)}),
            Refused,
        ),
        ("issuer over http", json!({"iss": format!("http://sts.windows.net/{}/", desk.tenant.tenant_id)}), Refused),
    ]
}

/// Headers that lie, over good claims.
fn headers() -> Vec<(&'static str, Value, Wanted)> {
    vec![
        ("type of an access token", json!({"typ": "at+jwt"}), User),
        ("no type", json!({"typ": null}), User),
        ("no algorithm", json!({"alg": null}), Refused),
        ("none", json!({"alg": "none"}), Refused),
        ("None", json!({"alg": "None"}), Refused),
        ("RS384", json!({"alg": "RS384"}), Refused),
        ("PS256", json!({"alg": "PS256"}), Refused),
        ("ES256", json!({"alg": "ES256"}), Refused),
        ("HS256", json!({"alg": "HS256"}), Refused),
        ("rs256", json!({"alg": "rs256"}), Refused),
        ("algorithm as a list", json!({"alg": ["RS256"]}), Refused),
        ("no kid", json!({"kid": null}), Refused),
        ("kid as a path", json!({"kid": "../../dev/null"}), Refused),
        ("kid as SQL", json!({"kid": "x' OR '1'='1"}), Refused),
        ("kid empty", json!({"kid": ""}), Refused),
        ("kid as a number", json!({"kid": 1}), Refused),
        ("a key of its own", json!({"jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}), Refused),
        ("keys elsewhere", json!({"jku": "https://evil.example/keys"}), Refused),
        ("a certificate elsewhere", json!({"x5u": "https://evil.example/cert"}), Refused),
        ("a certificate", json!({"x5c": ["MIIB"]}), Refused),
        ("an extension we must know", json!({"crit": ["exp"], "exp": 1}), Refused),
        ("an encrypted token's type", json!({"typ": "JWE"}), Refused),
    ]
}

/// Texts that were never signed like that.
async fn texts(desk: &Desk) -> Vec<(&'static str, String)> {
    let good = desk.sign(&desk.person(), &json!({})).await;
    let (header, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let encode = |value: Value| BASE64.encode(value.to_string());
    let twice = |claims: String, header: Value| async move {
        desk.control("entra/sign", json!({"claims": claims, "header": header})).await["token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let doubled = |name: &str, value: &str| {
        format!("{},\"{name}\":\"{value}\"}}", desk.person().to_string().trim_end_matches('}'))
    };
    let other = encode(changed(&desk.person(), json!({"oid": CLIENT})));
    let published: Value = reqwest::get(format!(
        "{}/{}/discovery/v2.0/keys",
        desk.tenant.authority_url.as_str().trim_end_matches('/'),
        desk.tenant.tenant_id
    ))
    .await
    .unwrap()
    .json()
    .await
    .unwrap();
    let modulus = published["keys"][0]["n"].as_str().unwrap();
    let kid = published["keys"][0]["kid"].as_str().unwrap();
    let symmetric = |secret: &[u8]| {
        let text = format!("{}.{claims}", encode(json!({"alg": "HS256", "typ": "JWT", "kid": kid})));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", BASE64.encode(tag.as_ref()))
    };
    vec![
        ("no signature", format!("{header}.{claims}.")),
        ("none without a signature", format!("{}.{claims}.", encode(json!({"alg": "none", "kid": kid})))),
        ("none with a signature", format!("{}.{claims}.{signature}", encode(json!({"alg": "none", "kid": kid})))),
        ("HS256 with the public modulus", symmetric(modulus.as_bytes())),
        ("HS256 with the decoded modulus", symmetric(&BASE64.decode(modulus).unwrap())),
        ("HS256 with nothing", symmetric(b"")),
        ("claims exchanged", format!("{header}.{other}.{signature}")),
        ("header exchanged", format!("{}.{claims}.{signature}", encode(json!({"alg": "RS256", "kid": kid})))),
        ("signature cut", format!("{header}.{claims}.{}", &signature[..signature.len() - 4])),
        ("signature grown", format!("{good}AAAA")),
        ("a byte of the signature", format!("{header}.{claims}.{}", flipped(signature))),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{good}.x")),
        ("five parts", format!("{header}.x.{claims}.y.{signature}")),
        ("padding", format!("{header}=.{claims}.{signature}")),
        ("a blank before", format!(" {good}")),
        ("a blank within", format!("{header}. {claims}.{signature}")),
        ("standard base64", format!("{header}.{claims}.{}", signature.replace('-', "+").replace('_', "/"))),
        ("header is no JSON", format!("{}.{claims}.{signature}", BASE64.encode("RS256"))),
        ("header is a list", format!("{}.{claims}.{signature}", encode(json!(["RS256", kid])))),
        ("claims are a list", twice("[]".to_owned(), json!({})).await),
        ("claims are empty", twice(String::new(), json!({})).await),
        ("claims are cut", twice(desk.person().to_string()[..40].to_owned(), json!({})).await),
        ("audience twice", twice(doubled("aud", APP_ID), json!({})).await),
        ("tenant twice", twice(doubled("tid", &desk.tenant.tenant_id), json!({})).await),
        ("issuer twice", twice(doubled("iss", &desk.issuer()), json!({})).await),
        ("scope twice", twice(doubled("scp", "GraphGate.Admin"), json!({})).await),
        ("key id twice", {
            let header = format!(r#"{{"alg":"RS256","kid":"other","kid":"{kid}"}}"#);
            twice(desk.person().to_string(), json!(header)).await
        }),
        ("deep JSON", twice(format!("{}{}", "[".repeat(5000), "]".repeat(5000)), json!({})).await),
        ("too long", desk.sign(&changed(&desk.person(), json!({"name": "x".repeat(16_384)})), &json!({})).await),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("letters", "eyJ.eyJ.eyJ".to_owned()),
    ]
}

fn flipped(signature: &str) -> String {
    let (first, rest) = signature.split_at(1);
    format!("{}{rest}", if first == "A" { "B" } else { "A" })
}

#[tokio::test]
async fn forged_and_edge_case_tokens_are_judged_by_the_table() {
    let desk = Desk::start().await;
    let mut cases: Vec<(String, String, Wanted)> = Vec::new();
    for (name, changes, wanted) in of_persons(&desk) {
        let token = desk.sign(&changed(&desk.person(), changes), &json!({})).await;
        cases.push((format!("person: {name}"), token, wanted));
    }
    for (name, changes, wanted) in of_applications(&desk) {
        let token = desk.sign(&changed(&desk.application(), changes), &json!({})).await;
        cases.push((format!("application: {name}"), token, wanted));
    }
    for (name, header, wanted) in headers() {
        cases.push((format!("header: {name}"), desk.sign(&desk.person(), &header).await, wanted));
    }
    for (name, text) in texts(&desk).await {
        cases.push((format!("text: {name}"), text, Refused));
    }
    assert!(cases.len() >= 110, "{}", cases.len());
    let mut wrong = Vec::new();
    for (name, token, wanted) in &cases {
        let found = desk.identify(token).await;
        let is = match &found {
            Ok(caller) if caller.kind == Principal::User => User,
            Ok(_) => App,
            Err(TokenError::Refused(_) | TokenError::Expired) => Refused,
            Err(error) => panic!("{name}: {error}"),
        };
        if is != *wanted {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn caller_identity_comes_from_token_claims() {
    let desk = Desk::start().await;
    let person = desk.identify(&desk.sign(&desk.person(), &json!({})).await).await.unwrap();
    assert_eq!(person.name, format!("user:{PERSON}"));
    assert_eq!(person.plan_scope.member().unwrap().as_str(), PERSON);
    assert!(person.may_write("planner") && !person.may_read("reports") && !person.grant.is_operator());
    let held = changed(&desk.person(), json!({"roles": ["Planner.Read"], "scp": "user_impersonation"}));
    let held = desk.identify(&desk.sign(&held, &json!({})).await).await.unwrap();
    assert!(held.may_read("planner") && !held.may_write("planner"), "no more than the person's role");
    let application = desk.identify(&desk.sign(&desk.application(), &json!({})).await).await.unwrap();
    assert_eq!((application.name, application.object_id), (format!("app:{CLIENT}"), None));
    assert!(application.plan_scope.is_everywhere());
    let posing = changed(&desk.application(), json!({"roles": ["user_impersonation"]}));
    assert!(desk.identify(&desk.sign(&posing, &json!({})).await).await.unwrap().grant.is_nothing());
}

#[tokio::test]
async fn token_errors_do_not_repeat_the_token() {
    let desk = Desk::start().await;
    let token = desk.sign(&changed(&desk.person(), json!({"aud": "canary-7f3a"})), &json!({})).await;
    let told = desk.identify(&token).await.unwrap_err().to_string();
    assert!(!told.contains("canary") && !told.contains("eyJ"), "{told}");
}

/// Random damage to good tokens: none is accepted, none panics. `FUZZ_TOKENS` says how many; 20,000.
#[tokio::test]
async fn damaged_tokens_are_never_accepted() {
    let desk = Desk::start().await;
    let good = desk.sign(&desk.person(), &json!({})).await;
    let random = graphgate::ids::Entropy::seeded(11);
    let pick = |below: usize| usize::try_from(random.number() % u64::try_from(below).unwrap()).unwrap();
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= ";
    let rounds = std::env::var("FUZZ_TOKENS").map_or(20_000, |number| number.parse().expect("a number"));
    for round in 0..rounds {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..=pick(3) {
            let place = pick(bytes.len());
            match pick(3) {
                0 => bytes[place] = letters[pick(letters.len())],
                1 => drop(bytes.remove(place)),
                _ => bytes.insert(place, letters[pick(letters.len())]),
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        // The last character of a signature carries bits that mean nothing: those may differ.
        let same = text == good || (text.len() == good.len() && text[..text.len() - 1] == good[..good.len() - 1]);
        assert!(same || desk.identify(&text).await.is_err(), "round {round}: {text}");
    }
    println!("{rounds} damaged tokens, none accepted");
}
