//! Keys that a connected person makes for an agent or a pipeline, on *Accounts*.

use serde_json::json;

use super::{ADELE, Answer, Browser, Deployment, EMRE};

/// Somebody who is signed in to the pages.
async fn signed_in(gate: &Deployment, who: &str) -> Browser {
    let mut browser = Browser::default();
    gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await;
    let entra = gate.post(&gate.url("pages/sign-in"), &[], Some(&mut browser)).await;
    let form = gate.at_entra(entra.location.as_ref().unwrap(), who).await;
    assert_eq!(gate.callback(&form, &mut browser).await.status, 303);
    browser
}

async fn make(gate: &Deployment, browser: &mut Browser, more: &[(&str, &str)]) -> Answer {
    let token = gate.get(&gate.url("pages/accounts"), Some(browser)).await.field("token");
    let mut form = vec![("token", token.as_str()), ("name", "Nightly"), ("days", "90")];
    form.extend(more);
    gate.post(&gate.url("pages/accounts/keys"), &form, Some(browser)).await
}

/// The key a page shows.
fn key(page: &Answer) -> String {
    let at = page.text.find("gg_").unwrap_or_else(|| panic!("{page:?}"));
    page.text[at..].split('<').next().unwrap().to_owned()
}

#[tokio::test]
async fn key_of_a_person_acts_as_that_person_and_ends_with_the_account() {
    let gate = Deployment::start().await;
    let client = gate.register("Consent").await;
    gate.tokens(&client, &["directory.read"], ADELE).await; // so that directory permissions are consented to
    let mut browser = signed_in(&gate, ADELE).await;
    let page = make(&gate, &mut browser, &[("use.directory", "on"), ("read_only", "on")]).await;
    let text = key(&page);
    assert_eq!(page.headers["cache-control"], "no-store");
    let found = gate.call(&text, "find_people", json!({"search": "Emre"})).await;
    assert_eq!((found.status, &found.json()["people"][0]["upn"]), (200, &json!(EMRE)), "{found:?}");
    let requests = gate.control("GET", "requests?last=100", json!({})).await;
    let is_search = |one: &&serde_json::Value| one["path"].as_str().is_some_and(|path| path.contains("/users?"));
    let searches: Vec<_> = requests["requests"].as_array().unwrap().iter().filter(is_search).collect();
    assert!(!searches.is_empty() && searches.iter().all(|one| one["auth"] == "delegated"), "{searches:?}");
    // It opens what it was made for and no more, and the page shows it without its text.
    assert_eq!(gate.call(&text, "list_plans", json!({})).await.status, 403);
    let page = gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await;
    assert!(page.text.contains("Nightly") && page.text.contains("read: directory") && !page.text.contains(&text));
    let request = gate.http.get(gate.url("mcp/status")).bearer_auth(&text);
    let status = gate.send(request, None).await.json();
    assert_eq!((&status["kind"], &status["ms365"]["as"]), (&json!("api_key"), &json!(ADELE)), "{status}");
    assert_eq!(status["ms365"]["tools_count"], 1);

    // Another person neither sees nor ends it.
    let id = text.split('_').nth(1).unwrap().to_owned();
    let mut other = signed_in(&gate, EMRE).await;
    let page = gate.get(&gate.url("pages/accounts"), Some(&mut other)).await;
    assert!(!page.text.contains("Nightly"));
    let revoke = [("token", page.field("token")), ("key", id.clone())];
    let revoke: Vec<(&str, &str)> = revoke.iter().map(|(name, value)| (*name, value.as_str())).collect();
    gate.post(&gate.url("pages/accounts/keys/revoke"), &revoke, Some(&mut other)).await;
    assert_eq!(gate.call(&text, "find_people", json!({"search": "Emre"})).await.status, 200);

    // Leaving ends it, also when the person comes back later.
    let page = gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await;
    let (token, person) = (page.field("token"), page.field("person"));
    gate.post(&gate.url("pages/accounts/disconnect"), &[("token", &token), ("person", &person)], Some(&mut browser))
        .await;
    let refused = gate.call(&text, "find_people", json!({"search": "Emre"})).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let mut browser = signed_in(&gate, ADELE).await;
    assert_eq!(gate.call(&text, "find_people", json!({"search": "Emre"})).await.status, 401);

    let page = make(&gate, &mut browser, &[("use.planner", "on")]).await;
    let text = key(&page);
    assert_eq!(gate.call(&text, "list_plans", json!({})).await.status, 200);
    let token = gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await.field("token");
    let id = text.split('_').nth(1).unwrap().to_owned();
    gate.post(&gate.url("pages/accounts/keys/revoke"), &[("token", &token), ("key", &id)], Some(&mut browser)).await;
    assert_eq!(
        gate.call(&text, "list_plans", json!({})).await.status,
        401,
        "this process made it, and ends it at once"
    );
}

#[tokio::test]
async fn key_that_nobody_could_have_meant_is_not_made() {
    let gate = Deployment::start().await;
    let mut browser = signed_in(&gate, ADELE).await;
    for more in [
        vec![],
        vec![("use.nothing", "on")],
        vec![("use.planner", "on"), ("days", "100000")],
        vec![("use.planner", "on"), ("name", "")],
    ] {
        let token = gate.get(&gate.url("pages/accounts"), Some(&mut browser)).await.field("token");
        let mut form = std::collections::BTreeMap::from([("token", token.as_str()), ("name", "x"), ("days", "30")]);
        form.extend(more.clone());
        let form: Vec<(&str, &str)> = form.into_iter().collect();
        let page = gate.post(&gate.url("pages/accounts/keys"), &form, Some(&mut browser)).await;
        assert!(page.status == 400 && !page.text.contains("gg_"), "{more:?}: {page:?}");
    }
    let form = [("token", "forged"), ("name", "x"), ("days", "30"), ("use.planner", "on")];
    assert_eq!(gate.post(&gate.url("pages/accounts/keys"), &form, Some(&mut browser)).await.status, 400);
    let page = gate.post(&gate.url("pages/accounts/keys"), &form, None).await;
    assert!(page.text.contains("Sign in with Microsoft") && !page.text.contains("gg_"), "{page:?}");
}

#[tokio::test]
async fn call_beyond_the_scopes_of_a_client_says_what_to_ask_the_person_for() {
    let gate = Deployment::start().await;
    let client = gate.register("Reader").await;
    let tokens = gate.tokens(&client, &["planner.read"], ADELE).await;
    let call = |name: &str| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}});
    let mcp = async |name: &str| {
        let request = gate.http.post(gate.url("mcp")).bearer_auth(&tokens.access).json(&call(name));
        gate.send(request.header("accept", "application/json, text/event-stream"), None).await
    };
    for refused in [mcp("create_task").await, gate.call(&tokens.access, "create_task", json!({})).await] {
        assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("PERM_001")), "{refused:?}");
        let header = refused.headers["www-authenticate"].to_str().unwrap();
        assert!(
            header.contains("error=\"insufficient_scope\"") && header.contains("scope=\"planner.read planner.write\""),
            "{header}"
        );
        assert!(header.contains("resource_metadata="), "{header}");
    }
    // What the scopes cover, and what nobody offers, goes its usual way.
    assert_eq!(mcp("list_plans").await.status, 200);
    assert_eq!(mcp("no_such_tool").await.status, 200);
    let wider = gate.tokens(&client, &["planner.read", "planner.write"], ADELE).await;
    let tried = gate.call(&wider.access, "create_task", json!({})).await;
    assert_eq!(tried.status, 400, "the call itself is judged now: {tried:?}");
}
