//! The endpoints a person meets in a browser: authorization, an administrator's consent, device codes, sign-out. Each is
//! driven by form posts: `user` signs in, `mfa=yes` is the second factor, `answer=yes` or `no` is the consent. There are no
//! passwords. A script may send all of it in one post; a browser keeps the sign-in in the cookie `ESTSAUTH`.
//!
//! Entra shows some refusals of a person (a disabled account, a stranger, no assignment) on its own page. Here all of them
//! go back to the application, once its redirect URI is known to be right, so that a program can be tested with them.
//!
//! Long because the four share the steps of a sign-in.

use chrono::TimeDelta;

use super::super::http::{Form, Reply, Request};
use super::super::simulator::Simulator;
use super::super::state::Application;
use super::clients::Platform;
use super::consent::{self, Asked, Item};
use super::grants::Demand;
use super::pages;
use super::people::{Directory, Person};
use super::refusal::Refusal;
use super::{Challenge, Code, GRAPH, SignIn};

const CODE_LIFETIME: i64 = 600;
const COOKIE: &str = "ESTSAUTH";

/// What comes of a request: a page, or parameters for the application.
enum Step {
    Page(Reply),
    Back(Vec<(&'static str, String)>),
}

/// The way back to the application.
struct Return {
    redirect: url::Url,
    mode: Mode,
    state: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Query,
    Fragment,
    FormPost,
}

impl Return {
    fn reply(mut self, mut parameters: Vec<(&'static str, String)>) -> Reply {
        parameters.extend(self.state.map(|state| ("state", state)));
        match self.mode {
            Mode::Query => drop(self.redirect.query_pairs_mut().extend_pairs(&parameters)),
            Mode::Fragment => {
                let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
                self.redirect.set_fragment(Some(&text));
            }
            Mode::FormPost => return pages::form_post(self.redirect.as_str(), &parameters),
        }
        Reply::text(302, String::new()).with("location", self.redirect)
    }
}

/// GET and POST /{tenant}/oauth2/v2.0/authorize
pub fn authorize(simulator: &Simulator, request: &Request, directory: &Directory) -> Reply {
    let query = request.query();
    let (app, platform, redirect) = match registered(simulator, directory, &query) {
        Ok(found) => found,
        Err(refusal) => return pages::refused(&refusal),
    };
    let mode = match query.get("response_mode") {
        None | Some("query") => Some(Mode::Query),
        Some("fragment") => Some(Mode::Fragment),
        Some("form_post") => Some(Mode::FormPost),
        Some(_) => None,
    };
    let back = Return { redirect, mode: mode.unwrap_or(Mode::Query), state: query.get("state").map(str::to_owned) };
    let mut browser = Browser::of(simulator, request, directory);
    let decided = match mode {
        Some(_) => decide(simulator, request, directory, &app, platform, &query, &mut browser),
        None => Err(unsupported("response_mode", query.get("response_mode"))),
    };
    let reply = match decided {
        Ok(Step::Page(page)) => page,
        Ok(Step::Back(parameters)) => back.reply(parameters),
        Err(refusal) => back.reply(refusal.parameters(simulator)),
    };
    browser.remember(reply)
}

/// The application and its redirect URI: as long as they are not right, nothing goes back.
fn registered(
    simulator: &Simulator,
    directory: &Directory,
    query: &Form,
) -> Result<(Application, Platform, url::Url), Refusal> {
    let app = simulator.read(|t| directory.application(t, query.get("client_id").unwrap_or_default()))?;
    let Some(uri) = query.get("redirect_uri") else {
        return Err(Refusal::new("invalid_request", 900_971, "No reply address provided."));
    };
    match (app.redirect_uris.platform(uri), url::Url::parse(uri)) {
        (Some(platform), Ok(url)) => Ok((app, platform, url)),
        _ => {
            let words = format!(
                "The redirect URI '{uri}' specified in the request does not match the redirect URIs configured for the application '{}'. Make sure the redirect URI sent in the request matches one added to your application in the Azure portal. Navigate to https://aka.ms/redirectUriMismatchError to learn more about how to troubleshoot this error.",
                app.client_id
            );
            Err(Refusal::new("invalid_request", 50_011, words))
        }
    }
}

fn unsupported(name: &str, value: Option<&str>) -> Refusal {
    let words = format!("Unsupported '{name}' value: '{}'.", value.unwrap_or_default());
    Refusal::new("invalid_request", 90_023, words)
}

fn decide(
    simulator: &Simulator,
    request: &Request,
    directory: &Directory,
    app: &Application,
    platform: Platform,
    query: &Form,
    browser: &mut Browser,
) -> Result<Step, Refusal> {
    if query.get("response_type") != Some("code") {
        let words = "The provided value for the input parameter 'response_type' isn't supported: only 'code' is.";
        return Err(Refusal::new("unsupported_response_type", 70_005, words));
    }
    let challenge = challenge(query, platform)?;
    let demand = Demand::of(query)?;
    let scope = query.get("scope").ok_or_else(|| Refusal::missing("scope"))?;
    let asked = Asked::parse(scope);
    let prompt = query.get("prompt").unwrap_or_default();
    if !["", "none", "login", "consent", "select_account"].contains(&prompt) {
        return Err(unsupported("prompt", Some(prompt)));
    }
    let form = request.form();
    if browser.answer == Some(Answer::No) {
        return Err(Refusal::new("access_denied", 65_004, "User declined to consent to access the app."));
    }
    let hint = query.get("login_hint").unwrap_or_default();
    if !browser.posted {
        // A person who is signed in is good enough unless the request wants another one, or a fresher sign-in.
        let fits = |sign_in: &SignIn| {
            let person = simulator.read(|t| directory.person(t, app, &sign_in.user));
            let named =
                person.is_ok_and(|p| [&p.preferred, &p.upn, &p.id].iter().any(|n| n.eq_ignore_ascii_case(hint)));
            !["login", "select_account"].contains(&prompt)
                && (hint.is_empty() || named)
                && demand.not_before.is_none_or(|at| sign_in.at.timestamp() >= at)
        };
        browser.sign_in = browser.sign_in.take().filter(fits);
    } else if let Some(user) = form.get("user") {
        let person = simulator.read(|t| directory.person(t, app, user)).map_err(|r| r.named("access_denied"))?;
        browser.enter(simulator, directory, &person, &form);
    }
    let Some(sign_in) = browser.sign_in.clone() else {
        if prompt == "none" {
            let words = "Session information is not sufficient for single-sign-on: a silent sign-in request was sent but no user is signed in.";
            return Err(Refusal::new("login_required", 50_058, words));
        }
        return Ok(Step::Page(pages::sign_in(simulator, &app.display_name, directory, hint)));
    };
    let person = simulator.read(|t| directory.person(t, app, &sign_in.user)).map_err(|r| r.named("access_denied"))?;
    let silent = prompt == "none";
    if let Some(page) = second_factor(simulator, app, &person, &sign_in, &asked, browser, silent)? {
        return Ok(Step::Page(page));
    }
    let items = simulator.read(|t| consent::wanted(t, directory, app, &person.id, &asked))?;
    let force = prompt == "consent" && browser.answer != Some(Answer::Yes);
    if let Some(page) = consented(simulator, directory, app, &person, &sign_in, items, browser, silent, force)? {
        return Ok(Step::Page(page));
    }
    let value = simulator.write(|t| format!("1.A{}", t.rng.opaque(72)));
    let code = Code {
        client_id: app.client_id.clone(),
        redirect_uri: query.get("redirect_uri").unwrap_or_default().to_owned(),
        platform,
        sign_in,
        scope: scope.to_owned(),
        challenge,
        nonce: query.get("nonce").map(str::to_owned),
        capable: demand.capable,
        expires: simulator.clock.now() + TimeDelta::seconds(CODE_LIFETIME),
        redeemed: false,
    };
    simulator.entra.sessions().codes.insert(value.clone(), code);
    Ok(Step::Back(vec![("code", value), ("session_state", uuid::Uuid::new_v4().to_string())]))
}

/// The PKCE challenge of a request: S256, or plain outside of single-page applications, which need one.
fn challenge(query: &Form, platform: Platform) -> Result<Option<Challenge>, Refusal> {
    let refuse = |number, words: &str| Err(Refusal::new("invalid_request", number, words));
    let Some(value) = query.get("code_challenge") else {
        if platform == Platform::Spa {
            return refuse(
                9_002_325,
                "Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
            );
        }
        return Ok(None);
    };
    if !(43..=128).contains(&value.len()) {
        return refuse(501_491, "Invalid size of Code_Challenge parameter.");
    }
    match query.get("code_challenge_method") {
        Some("S256") => Ok(Some(Challenge::S256(value.to_owned()))),
        None | Some("plain") if platform != Platform::Spa => Ok(Some(Challenge::Plain(value.to_owned()))),
        method => Err(unsupported("code_challenge_method", method)),
    }
}

/// The page for a second factor, if Conditional Access wants one.
fn second_factor(
    simulator: &Simulator,
    app: &Application,
    person: &Person,
    sign_in: &SignIn,
    asked: &Asked,
    browser: &Browser,
    silent: bool,
) -> Result<Option<Reply>, Refusal> {
    let resources = asked.resources.iter().map(|(resource, _)| resource.as_str());
    let resources: Vec<&str> = if asked.resources.is_empty() { vec![GRAPH] } else { resources.collect() };
    for resource in resources {
        match simulator.read(|t| t.rights.admit(app, person, resource, sign_in.mfa)) {
            Ok(()) => {}
            Err(refusal) if silent => return Err(refusal),
            Err(refusal) if refusal.number == 53_003 => return Err(refusal.named("access_denied")),
            Err(refusal) => {
                let mut hidden = vec![("user", person.preferred.clone())];
                hidden.extend((browser.answer == Some(Answer::Yes)).then(|| ("answer", "yes".to_owned())));
                return Ok(Some(pages::second_factor(&refusal, &hidden)));
            }
        }
    }
    Ok(None)
}

/// Asks for the consent that is missing, or writes it down once the person gave it.
#[allow(clippy::too_many_arguments)]
fn consented(
    simulator: &Simulator,
    directory: &Directory,
    app: &Application,
    person: &Person,
    sign_in: &SignIn,
    items: Vec<Item>,
    browser: &Browser,
    silent: bool,
    force: bool,
) -> Result<Option<Reply>, Refusal> {
    let missing = simulator.read(|t| consent::missing(t, directory, &person.id, items.clone()));
    if missing.is_empty() && !force {
        return Ok(None);
    }
    if silent {
        return Err(Refusal::consent(app).named("consent_required"));
    }
    let administrator = simulator.read(|t| t.is_administrator(directory, &person.id));
    let beyond = missing.iter().any(|item| item.names.iter().any(|name| consent::needs_administrator(item, name)));
    let agreed = browser.answer == Some(Answer::Yes);
    if beyond && !administrator {
        if agreed {
            let words = format!(
                "An administrator of {} has set a policy that prevents you from granting {} the permissions it is requesting. Contact an administrator of {}, who can grant permissions to this application on your behalf.",
                directory.display_name, app.display_name, directory.display_name
            );
            return Err(Refusal::new("access_denied", 90_094, words));
        }
        return Ok(Some(pages::approval_needed(&app.display_name, &missing)));
    }
    if agreed {
        let user = (!(administrator && browser.for_all)).then_some(person.id.as_str());
        simulator.write(|t| consent::grant(t, directory, user, &missing));
        return Ok(None);
    }
    let shown = if force { &items } else { &missing };
    let mut hidden = vec![("user", person.preferred.clone())];
    hidden.extend(sign_in.mfa.then(|| ("mfa", "yes".to_owned())));
    Ok(Some(pages::consent(&app.display_name, shown, &hidden, administrator)))
}

/// GET and POST /{tenant}/v2.0/adminconsent and /{tenant}/adminconsent: an administrator consents for all. Without a scope
/// parameter, to all that is registered.
pub fn admin_consent(simulator: &Simulator, request: &Request, directory: &Directory) -> Reply {
    let query = request.query();
    let (app, _, redirect) = match registered(simulator, directory, &query) {
        Ok(found) => found,
        Err(refusal) => return pages::refused(&refusal),
    };
    let back = Return { redirect, mode: Mode::Query, state: query.get("state").map(str::to_owned) };
    let mut browser = Browser::of(simulator, request, directory);
    let reply = match administrator_decides(simulator, request, directory, &app, &query, &mut browser) {
        Ok(Step::Page(page)) => page,
        Ok(Step::Back(parameters)) => back.reply(parameters),
        Err(refusal) => back.reply(refusal.parameters(simulator)),
    };
    browser.remember(reply)
}

fn administrator_decides(
    simulator: &Simulator,
    request: &Request,
    directory: &Directory,
    app: &Application,
    query: &Form,
    browser: &mut Browser,
) -> Result<Step, Refusal> {
    if browser.answer == Some(Answer::No) {
        return Err(Refusal::new("permission_denied", 65_004, "The admin canceled the request"));
    }
    let form = request.form();
    if let Some(user) = form.get("user").filter(|_| browser.posted) {
        let person = simulator.read(|t| directory.person(t, app, user)).map_err(|r| r.named("access_denied"))?;
        browser.enter(simulator, directory, &person, &form);
    }
    let Some(sign_in) = browser.sign_in.clone() else {
        return Ok(Step::Page(pages::sign_in(simulator, &app.display_name, directory, "")));
    };
    let person = simulator.read(|t| directory.person(t, app, &sign_in.user)).map_err(|r| r.named("access_denied"))?;
    if !simulator.read(|t| t.is_administrator(directory, &person.id)) {
        let words = "This operation can only be performed by an administrator. Sign out and sign in as an administrator or contact one of your organization's administrators.";
        return Err(Refusal::new("access_denied", 90_093, words));
    }
    let scope = query.get("scope").unwrap_or("openid profile offline_access https://graph.microsoft.com/.default");
    let items = simulator.read(|t| consent::wanted(t, directory, app, "", &Asked::parse(scope)))?;
    if browser.answer != Some(Answer::Yes) {
        let hidden = [("user", person.preferred)];
        return Ok(Step::Page(pages::consent(&app.display_name, &items, &hidden, false)));
    }
    simulator.write(|t| consent::grant(t, directory, None, &items));
    let given = |item: &Item| item.names.iter().map(|name| format!("{}/{name}", item.resource)).collect::<Vec<_>>();
    let scopes: Vec<String> = items.iter().flat_map(given).collect();
    let tenant = directory.tenant_id.clone();
    Ok(Step::Back(vec![("admin_consent", "True".to_owned()), ("tenant", tenant), ("scope", scopes.join(" "))]))
}

/// GET /{tenant}/oauth2/v2.0/logout: the browser forgets the person.
pub fn logout(simulator: &Simulator, request: &Request) -> Reply {
    if let Some(cookie) = cookie(request) {
        simulator.entra.sessions().browsers.remove(&cookie);
    }
    let query = request.query();
    let uri = query.get("post_logout_redirect_uri");
    let known = |uri: &&str| simulator.read(|t| t.applications.iter().any(|a| a.redirect_uris.platform(uri).is_some()));
    let reply = match uri.filter(known) {
        Some(uri) => Reply::text(302, String::new()).with("location", uri),
        None => pages::note(200, "Signed out", "You signed out of your account."),
    };
    reply.with("set-cookie", format!("{COOKIE}=; Path=/; Max-Age=0"))
}

/// GET and POST /{tenant}/oauth2/deviceauth: the code that a device shows is entered here, with what a sign-in needs.
pub fn device(simulator: &Simulator, request: &Request, directory: &Directory) -> Reply {
    let form = request.form();
    if request.method != "POST" {
        let code = request.query().get("user_code").unwrap_or_default().to_owned();
        return pages::device(simulator, &code, directory);
    }
    let wanted = form.get("user_code").unwrap_or_default().trim().to_ascii_uppercase();
    let now = simulator.clock.now();
    let found = {
        let mut sessions = simulator.entra.sessions();
        let device = sessions.devices.values_mut().find(|d| {
            d.user_code == wanted && d.expires > now && d.tenant == directory.tenant_id && d.approved_by.is_none()
        });
        if let Some(device) = device.filter(|_| form.get("answer") == Some("no")) {
            device.declined = true;
            return pages::note(200, "Declined", "The device was not signed in. You may close this page.");
        }
        sessions
            .devices
            .values()
            .find(|d| d.user_code == wanted && d.expires > now && d.approved_by.is_none())
            .filter(|d| d.tenant == directory.tenant_id)
            .map(|d| (d.client_id.clone(), d.scope.clone()))
    };
    let Some((client_id, scope)) = found else {
        return pages::note(400, "Enter code", "That code did not work: it is wrong or has expired.");
    };
    match approve(simulator, request, directory, &client_id, &scope) {
        Err(refusal) => pages::refused(&refusal),
        Ok(Err(page)) => page,
        Ok(Ok(sign_in)) => {
            let mut sessions = simulator.entra.sessions();
            if let Some(device) = sessions.devices.values_mut().find(|d| d.user_code == wanted) {
                device.approved_by = Some(sign_in);
            }
            pages::note(200, "Done", "The device is signed in. You may close this page.")
        }
    }
}

/// The sign-in of a person who approves a device, or the next page.
fn approve(
    simulator: &Simulator,
    request: &Request,
    directory: &Directory,
    client_id: &str,
    scope: &str,
) -> Result<Result<SignIn, Reply>, Refusal> {
    let form = request.form();
    let app = simulator.read(|t| directory.application(t, client_id))?;
    let person = simulator.read(|t| directory.person(t, &app, form.get("user").unwrap_or_default()))?;
    let sign_in = fresh(simulator, directory, &person, &form);
    let asked = Asked::parse(scope);
    // The page named the application and was answered with "Sign in": that is the consent.
    let browser = Browser { sign_in: None, posted: true, answer: Some(Answer::Yes), for_all: false, cookie: None };
    if let Err(refusal) = second_factor(simulator, &app, &person, &sign_in, &asked, &browser, true) {
        if refusal.number == 53_003 {
            return Err(refusal);
        }
        let code = form.get("user_code").unwrap_or_default().to_owned();
        let hidden = [("user", person.preferred), ("user_code", code), ("answer", "yes".to_owned())];
        return Ok(Err(pages::second_factor(&refusal, &hidden)));
    }
    let items = simulator.read(|t| consent::wanted(t, directory, &app, &person.id, &asked))?;
    consented(simulator, directory, &app, &person, &sign_in, items, &browser, false, false)?;
    Ok(Ok(sign_in))
}

/// A sign-in of now.
fn fresh(simulator: &Simulator, directory: &Directory, person: &Person, form: &Form) -> SignIn {
    if person.provider.is_some() {
        simulator.write(|t| accept(t, &person.id));
    }
    SignIn {
        tenant: directory.tenant_id.clone(),
        user: person.id.clone(),
        born: simulator.read(|t| t.changes),
        at: simulator.clock.now(),
        mfa: form.get("mfa") == Some("yes"),
    }
}

/// A guest who signs in for the first time accepts the invitation.
fn accept(tenant: &mut super::super::state::Tenant, guest: &str) {
    let Some(mut user) = tenant.users.get(guest).map(super::super::table::Entity::object) else { return };
    if user.get("externalUserState").and_then(serde_json::Value::as_str) == Some("PendingAcceptance") {
        user.insert("externalUserState".to_owned(), "Accepted".into());
        tenant.replace(|t| &mut t.users, guest, &user);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
}

/// The browser at the other end: who is signed in there, and what was posted.
struct Browser {
    sign_in: Option<SignIn>,
    posted: bool,
    answer: Option<Answer>,
    /// An administrator consents for the whole organization.
    for_all: bool,
    /// A cookie to set.
    cookie: Option<String>,
}

fn cookie(request: &Request) -> Option<String> {
    let cookies = request.header("cookie")?.split(';');
    cookies.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, v)| v.to_owned())
}

impl Browser {
    fn of(simulator: &Simulator, request: &Request, directory: &Directory) -> Self {
        let form = request.form();
        let posted = request.method == "POST";
        let known = cookie(request).and_then(|cookie| simulator.entra.sessions().browsers.get(&cookie).cloned());
        let holds = |sign_in: &SignIn| {
            let alive = simulator.read(|t| t.rights.holds(&sign_in.user, super::rights::Held::Public, sign_in.born));
            alive && sign_in.tenant == directory.tenant_id
        };
        Self {
            sign_in: known.filter(holds),
            posted,
            answer: match form.get("answer").filter(|_| posted) {
                Some("yes") => Some(Answer::Yes),
                Some("no") => Some(Answer::No),
                _ => None,
            },
            for_all: form.get("all") == Some("yes"),
            cookie: None,
        }
    }

    /// A person signs in here.
    fn enter(&mut self, simulator: &Simulator, directory: &Directory, person: &Person, form: &Form) {
        let sign_in = fresh(simulator, directory, person, form);
        let cookie = simulator.write(|t| t.rng.opaque(48));
        simulator.entra.sessions().browsers.insert(cookie.clone(), sign_in.clone());
        self.sign_in = Some(sign_in);
        self.cookie = Some(cookie);
    }

    fn remember(self, reply: Reply) -> Reply {
        match self.cookie {
            Some(cookie) => reply.with("set-cookie", format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax")),
            None => reply,
        }
    }
}
