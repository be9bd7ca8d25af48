//! The whole way, and what ends it.

use std::time::Duration;

use serde_json::json;

use super::{ADELE, Browser, Deployment, EMRE, Tokens};

#[tokio::test]
async fn client_signs_a_person_in_by_the_address_alone_and_calls_as_that_person() {
    let gate = Deployment::start().await;
    // What a client finds, from a 401 on.
    let refused = gate.call("nothing", "list_plans", json!({})).await;
    assert_eq!(refused.status, 401);
    let challenge = refused.headers["www-authenticate"].to_str().unwrap();
    let metadata = challenge.split("resource_metadata=\"").nth(1).unwrap().split('"').next().unwrap();
    let resource = gate.get(metadata, None).await.json();
    let issuer = resource["authorization_servers"][0].as_str().unwrap();
    let server = gate.get(&format!("{issuer}/.well-known/oauth-authorization-server"), None).await.json();
    assert_eq!(server["issuer"], issuer);
    assert!(
        !resource["scopes_supported"].as_array().unwrap().contains(&json!("directory.write")),
        "nothing is written with it"
    );

    let client = gate.register("Story <b>teller</b>").await;
    let mut browser = Browser::default();
    let page = gate
        .get(
            &gate.authorize_url(&client, &[("scope", "directory.read planner.read planner.write")]),
            Some(&mut browser),
        )
        .await;
    assert!(page.text.contains("Story") && !page.text.contains("<b>teller"), "{}", page.text);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(policy.contains("form-action 'self' http://127.0.0.1"), "{policy}");
    let ticket = page.field("ticket");
    let entra = gate
        .post(
            &gate.url("oauth/consent"),
            &[("ticket", &ticket), ("answer", "allow"), ("directory.read", "on"), ("planner.read", "on")],
            Some(&mut browser),
        )
        .await;
    let scope = entra.back("scope");
    assert!(scope.contains("offline_access") && scope.contains("/User.ReadBasic.All"), "{scope}");
    assert_eq!(
        (entra.back("response_mode").as_str(), entra.back("code_challenge_method").as_str()),
        ("form_post", "S256")
    );

    let form = gate.at_entra(entra.location.as_ref().unwrap(), ADELE).await;
    let landed = gate.callback(&form, &mut browser).await;
    assert_eq!(landed.back("iss"), issuer);
    let answer = gate.redeem(&client, &landed.back("code")).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.json()["scope"], "directory.read planner.read", "what was consented to, not what was asked");
    let tokens = Tokens::of(&answer);
    let found = gate.call(&tokens.access, "find_people", json!({"search": "Emre"})).await;
    assert_eq!(found.status, 200, "{found:?}");
    assert_eq!(found.json()["people"][0]["upn"], EMRE);
    let requests = gate.control("GET", "requests?last=200", json!({})).await;
    let is_search =
        |request: &&serde_json::Value| request["path"].as_str().is_some_and(|path| path.contains("/users?"));
    let searches: Vec<_> = requests["requests"].as_array().unwrap().iter().filter(is_search).collect();
    assert!(!searches.is_empty() && searches.iter().all(|request| request["auth"] == "delegated"), "{searches:?}");
    // What was not consented to is not there.
    assert_eq!(gate.call(&tokens.access, "create_task", json!({"title": "x"})).await.status, 403);
    assert_eq!(gate.call(&tokens.access, "list_report_schedules", json!({})).await.status, 403);
}

#[tokio::test]
async fn refresh_tokens_rotate_and_a_lost_answer_signs_nobody_out() {
    let gate = Deployment::start().await;
    let client = gate.register("Rotating").await;
    let first = gate.tokens(&client, &["planner.read"], ADELE).await;
    let second = Tokens::of(&gate.refresh(&client, &first.refresh).await);
    assert_ne!(first.refresh, second.refresh);
    // The answer was lost: the same successor comes again, as often as it takes.
    for _ in 0..3 {
        assert_eq!(Tokens::of(&gate.refresh(&client, &first.refresh).await).refresh, second.refresh);
    }
    let third = Tokens::of(&gate.refresh(&client, &second.refresh).await);
    assert_eq!(gate.call(&third.access, "list_plans", json!({})).await.status, 200);
    // Its successor has been used by now: somebody has a copy.
    let replayed = gate.refresh(&client, &first.refresh).await;
    assert_eq!((replayed.status, replayed.json()["error"].as_str()), (400, Some("invalid_grant")));
    assert_eq!(gate.refresh(&client, &third.refresh).await.status, 400, "the whole family has ended");
    assert_eq!(gate.call(&third.access, "list_plans", json!({})).await.status, 401);
}

#[tokio::test]
async fn twenty_refreshes_at_once_bring_one_successor() {
    let gate = Deployment::start().await;
    let client = gate.register("Eager").await;
    let tokens = gate.tokens(&client, &["planner.read"], ADELE).await;
    let answers = futures::future::join_all((0..20).map(|_| gate.refresh(&client, &tokens.refresh))).await;
    let successors: std::collections::BTreeSet<String> =
        answers.iter().map(|answer| Tokens::of(answer).refresh).collect();
    assert_eq!(successors.len(), 1);
    let next = successors.first().unwrap();
    assert_eq!(gate.refresh(&client, next).await.status, 200);
}

#[tokio::test]
async fn code_is_redeemed_once_and_a_second_time_ends_what_it_gave() {
    let gate = Deployment::start().await;
    let client = gate.register("Twice").await;
    let code = gate.code(&client, &["planner.read"], ADELE).await;
    let tokens = Tokens::of(&gate.redeem(&client, &code).await);
    assert_eq!(gate.redeem(&client, &code).await.json()["error"], "invalid_grant");
    assert_eq!(gate.call(&tokens.access, "list_plans", json!({})).await.status, 401);
    // Of many at once, one at most has tokens, and those have ended too.
    let code = gate.code(&client, &["planner.read"], ADELE).await;
    let answers = futures::future::join_all((0..20).map(|_| gate.redeem(&client, &code))).await;
    assert!(answers.iter().filter(|answer| answer.status == 200).count() <= 1);
    for answer in answers.iter().filter(|answer| answer.status == 200) {
        assert_eq!(gate.refresh(&client, &Tokens::of(answer).refresh).await.status, 400);
    }
}

#[tokio::test]
async fn sign_in_belongs_to_the_browser_that_began_it() {
    let gate = Deployment::start().await;
    let client = gate.register("Fixed").await;
    let (mut hers, mut his) = (Browser::default(), Browser::default());
    let page = gate.get(&gate.authorize_url(&client, &[]), Some(&mut hers)).await;
    let ticket = page.field("ticket");
    let allow = [("ticket", ticket.as_str()), ("answer", "allow"), ("planner.read", "on")];
    for mut other in [Browser::default(), his.clone()] {
        assert_eq!(
            gate.post(&gate.url("oauth/consent"), &allow, Some(&mut other)).await.status,
            400,
            "another browser"
        );
    }
    let entra = gate.post(&gate.url("oauth/consent"), &allow, Some(&mut hers)).await;
    let form = gate.at_entra(entra.location.as_ref().unwrap(), ADELE).await;
    let _page = gate.get(&gate.authorize_url(&client, &[]), Some(&mut his)).await;
    assert_eq!(gate.callback(&form, &mut his).await.status, 400, "fixation");
    assert_eq!(gate.callback(&form, &mut Browser::default()).await.status, 400, "no browser at all");
    assert_eq!(gate.callback(&form, &mut hers).await.status, 303);
    assert_eq!(gate.callback(&form, &mut hers).await.status, 400, "once");
}

#[tokio::test]
async fn person_and_entra_can_refuse_and_the_client_is_told() {
    let gate = Deployment::start().await;
    let client = gate.register("Refused").await;
    let mut browser = Browser::default();
    let page = gate.get(&gate.authorize_url(&client, &[]), Some(&mut browser)).await;
    let ticket = page.field("ticket");
    let told = |answer: &super::Answer| (answer.back("error"), answer.back("state"));
    let denied = ("access_denied".to_owned(), "s-1".to_owned());
    let answer =
        gate.post(&gate.url("oauth/consent"), &[("ticket", &ticket), ("answer", "deny")], Some(&mut browser)).await;
    assert_eq!(told(&answer), denied);
    let nothing =
        gate.post(&gate.url("oauth/consent"), &[("ticket", &ticket), ("answer", "allow")], Some(&mut browser)).await;
    assert_eq!(told(&nothing), denied, "no scope is left");
    let beyond = gate
        .post(
            &gate.url("oauth/consent"),
            &[("ticket", &ticket), ("answer", "allow"), ("mail.write", "on")],
            Some(&mut browser),
        )
        .await;
    assert_eq!(told(&beyond), denied, "a scope that was not asked for");
    let entra = gate.consent(&client, &["planner.read"], &mut browser).await;
    let state = entra.back("state");
    let form = [
        ("state", state),
        ("error", "access_denied".to_owned()),
        ("error_description", "AADSTS65004: <script> \u{e4}\r\nTrace".to_owned()),
    ];
    let form: Vec<(String, String)> = form.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let answer = gate.callback(&form, &mut browser).await;
    assert_eq!(told(&answer), denied);
    assert!(answer.location.unwrap().as_str().is_ascii());
}

#[tokio::test]
async fn person_keeps_reading_and_takes_writing_away() {
    let gate = Deployment::start().await;
    let client = gate.register("Modest").await;
    for (kept, scope) in [(&["planner.read"][..], "planner.read"), (&["planner.write"], "planner.read planner.write")] {
        let mut browser = Browser::default();
        let page = gate.get(&gate.authorize_url(&client, &[("scope", "planner.write")]), Some(&mut browser)).await;
        let ticket = page.field("ticket");
        let mut form = vec![("ticket", ticket.as_str()), ("answer", "allow")];
        form.extend(kept.iter().map(|scope| (*scope, "on")));
        let entra = gate.post(&gate.url("oauth/consent"), &form, Some(&mut browser)).await;
        let form = gate.at_entra(entra.location.as_ref().unwrap(), ADELE).await;
        let landed = gate.callback(&form, &mut browser).await;
        assert_eq!(gate.redeem(&client, &landed.back("code")).await.json()["scope"], scope);
    }
}

#[tokio::test]
async fn what_is_revoked_is_refused_within_thirty_seconds() {
    let gate = Deployment::start().await;
    let client = gate.register("Leaving").await;
    let tokens = gate.tokens(&client, &["planner.read"], ADELE).await;
    assert_eq!(gate.call(&tokens.access, "list_plans", json!({})).await.status, 200);
    let other = gate.register("Other").await;
    let revoke = |client: String, token: String| {
        let gate = &gate;
        async move {
            gate.post(&gate.url("oauth/revoke"), &[("client_id", client.as_str()), ("token", token.as_str())], None)
                .await
                .status
        }
    };
    assert_eq!(revoke(other, tokens.refresh.clone()).await, 200, "no error (RFC 7009), and no effect");
    assert_eq!(gate.call(&tokens.access, "list_plans", json!({})).await.status, 200);
    assert_eq!(revoke(client.clone(), tokens.access.clone()).await, 200);
    assert_eq!(gate.call(&tokens.access, "list_plans", json!({})).await.status, 401);
    assert_eq!(gate.refresh(&client, &tokens.refresh).await.status, 400);
}

#[tokio::test]
async fn accounts_page_shows_clients_and_disconnects_them() {
    let gate = Deployment::start().await;
    let client = gate.register("Shown").await;
    let tokens = gate.tokens(&client, &["planner.read"], ADELE).await;
    let mut browser = Browser::default();
    let page = gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await;
    assert!(page.text.contains("Sign in with Microsoft") && !page.text.contains("Shown"), "{}", page.text);
    let entra = gate.post(&gate.url("pages/sign-in"), &[], Some(&mut browser)).await;
    let form = gate.at_entra(entra.location.as_ref().unwrap(), ADELE).await;
    let landed = gate.callback(&form, &mut browser).await;
    assert_eq!(landed.location.as_ref().unwrap().path(), "/pages/accounts");
    let page = gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await;
    assert!(page.text.contains("Shown") && page.text.contains(ADELE), "{}", page.text);
    let (token, id) = (page.field("token"), page.field("authorization"));
    let url = gate.url("pages/accounts/disconnect");
    // Another site has no token; another person has no right.
    assert_eq!(gate.post(&url, &[("authorization", &id)], Some(&mut browser)).await.status, 400);
    let mut his = Browser::default();
    let entra = gate.post(&gate.url("pages/sign-in"), &[], Some(&mut his)).await;
    let form = gate.at_entra(entra.location.as_ref().unwrap(), EMRE).await;
    gate.callback(&form, &mut his).await;
    let his_page = gate.get(&gate.url("pages/accounts"), Some(&mut his)).await;
    assert!(!his_page.text.contains("Shown"), "a client of hers");
    let his_token = his_page.field("token");
    assert_eq!(gate.post(&url, &[("token", &token), ("authorization", &id)], Some(&mut his)).await.status, 400);
    gate.post(&url, &[("token", &his_token), ("authorization", &id)], Some(&mut his)).await;
    let person = page.field("person");
    assert_eq!(gate.post(&url, &[("token", &his_token), ("person", &person)], Some(&mut his)).await.status, 403);
    assert_eq!(gate.call(&tokens.access, "list_plans", json!({})).await.status, 200, "nothing was disconnected");
    assert_eq!(gate.post(&url, &[("token", &token), ("authorization", &id)], Some(&mut browser)).await.status, 303);
    assert_eq!(gate.call(&tokens.access, "list_plans", json!({})).await.status, 401);
    // Signing in to a page, for which little is asked, takes nothing from clients.
    let searching = gate.tokens(&client, &["directory.read"], ADELE).await;
    let entra = gate.post(&gate.url("pages/sign-in"), &[], Some(&mut browser)).await;
    let form = gate.at_entra(entra.location.as_ref().unwrap(), ADELE).await;
    gate.callback(&form, &mut browser).await;
    assert_eq!(gate.call(&searching.access, "find_people", json!({"search": "Emre"})).await.status, 200);
    let token = gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await.field("token");
    // Everything of hers.
    let tokens = gate.tokens(&client, &["planner.read"], ADELE).await;
    assert_eq!(gate.post(&url, &[("token", &token), ("person", &person)], Some(&mut browser)).await.status, 303);
    assert_eq!(gate.call(&tokens.access, "list_plans", json!({})).await.status, 401);
    let out = gate.post(&gate.url("pages/sign-out"), &[("token", &token)], Some(&mut browser)).await;
    assert_eq!(out.status, 303);
    assert!(gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await.text.contains("Sign in with Microsoft"));
}

#[tokio::test]
async fn session_that_microsoft_has_ended_asks_for_another_sign_in_and_loops_nowhere() {
    let gate = Deployment::with(&[], &[("ACCESS_TOKEN_SECONDS", "5")]).await;
    let client = gate.register("Ended").await;
    let tokens = gate.tokens(&client, &["directory.read"], ADELE).await;
    assert_eq!(gate.call(&tokens.access, "find_people", json!({"search": "Emre"})).await.status, 200);
    gate.control("POST", "entra/revoke", json!({"user": ADELE, "cause": "revoked"})).await;
    gate.control("PUT", "clock", json!({"advance_seconds": 7200})).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let expired = gate.call(&tokens.access, "find_people", json!({"search": "Emre"})).await;
    assert_eq!((expired.status, expired.json()["code"].as_str()), (401, Some("AUTH_002")));
    // Our own tokens are still there; what Microsoft refuses is told with the page where it can be mended.
    let tokens = Tokens::of(&gate.refresh(&client, &tokens.refresh).await);
    let refused = gate.call(&tokens.access, "find_people", json!({"search": "Grady"})).await;
    assert_eq!(refused.json()["code"], "AUTH_003", "{refused:?}");
    assert!(refused.text.contains("pages/accounts"), "{refused:?}");
    // From then on the client has to have the person sign in again, and is told so in OAuth's words.
    let closed = gate.call(&tokens.access, "find_people", json!({"search": "Grady"})).await;
    assert_eq!(closed.status, 401, "{closed:?}");
    assert!(closed.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    assert_eq!(gate.refresh(&client, &tokens.refresh).await.json()["error"], "invalid_grant");
    gate.control("PUT", "clock", json!({"advance_seconds": -7200})).await;
    let again = gate.tokens(&client, &["directory.read"], ADELE).await;
    assert_eq!(gate.call(&again.access, "find_people", json!({"search": "Grady"})).await.status, 200);
}

#[tokio::test]
async fn no_secret_of_a_sign_in_is_logged_or_kept_in_the_clear() {
    let folder = crate::support::process::Folder::new();
    let (data, log) = (folder.0.join("data"), folder.0.join("log"));
    let gate = Deployment::with(
        &["--data", data.to_str().unwrap()],
        &[("LOG_LEVEL", "trace"), ("LOG_FILE", log.to_str().unwrap())],
    )
    .await;
    let client = gate.register("Quiet").await;
    let mut browser = Browser::default();
    let entra = gate.consent(&client, &["directory.read"], &mut browser).await;
    let form = gate.at_entra(entra.location.as_ref().unwrap(), ADELE).await;
    let landed = gate.callback(&form, &mut browser).await;
    let code = landed.back("code");
    let tokens = Tokens::of(&gate.redeem(&client, &code).await);
    let next = Tokens::of(&gate.refresh(&client, &tokens.refresh).await);
    assert_eq!(gate.call(&next.access, "find_people", json!({"search": "Emre"})).await.status, 200);
    let entra_code = form.iter().find(|(name, _)| name == "code").unwrap().1.clone();
    let cookie = browser.0.values().next().unwrap().clone();
    let secrets = [
        code,
        tokens.access,
        tokens.refresh,
        next.access,
        next.refresh,
        entra_code,
        cookie,
        super::VERIFIER.to_owned(),
    ];
    let Deployment { process, .. } = gate;
    drop(process);
    let mut read = 0;
    let mut folders = vec![folder.0.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            read += bytes.len();
            for secret in &secrets {
                let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{secret} in {}", path.display());
            }
        }
    }
    assert!(read > 10_000, "{read} bytes");
}
