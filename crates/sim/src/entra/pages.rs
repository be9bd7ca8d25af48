//! The two pages a person sees: consent for the authorization code flow, and the place to enter a device code.
//! There are no passwords: one picks the user to be.

use chrono::TimeDelta;
use serde_json::Value;

use super::super::http::{Form, Reply, Request};
use super::super::simulator::Simulator;
use super::Code;

const CODE_LIFETIME: i64 = 600;

/// GET and POST /{tenant}/oauth2/v2.0/authorize. A `login_hint` with `prompt=none` consents without the page,
/// for programs that drive the flow themselves.
pub fn authorize(simulator: &Simulator, request: &Request) -> Reply {
    let query = request.query();
    let client_id = query.get("client_id").unwrap_or_default();
    let Some(app) = simulator.read(|t| t.application(client_id).cloned()) else {
        return page(
            400,
            "Sign in",
            &format!("<p>AADSTS700016: there is no application <code>{}</code>.</p>", escape(client_id)),
        );
    };
    let Some(redirect) = query.get("redirect_uri").and_then(|uri| url::Url::parse(uri).ok()) else {
        return page(400, "Sign in", "<p>AADSTS900971: no reply address provided.</p>");
    };
    let loopback = matches!(redirect.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if !loopback && !matches!(redirect.scheme(), "https" | "vscode" | "cursor") {
        return page(400, "Sign in", "<p>AADSTS50011: the redirect URI is not allowed.</p>");
    }
    if query.get("response_type") != Some("code") {
        return back(
            redirect,
            &query,
            &[
                ("error", "unsupported_response_type"),
                ("error_description", "AADSTS70005: only response_type=code is supported."),
            ],
        );
    }
    if query.get("code_challenge").is_some() && query.get("code_challenge_method") != Some("S256") {
        return back(
            redirect,
            &query,
            &[
                ("error", "invalid_request"),
                ("error_description", "AADSTS501491: only code_challenge_method=S256 is supported."),
            ],
        );
    }
    let form = request.form();
    let silent = query.get("prompt") == Some("none");
    let user = if request.method == "POST" {
        form.get("user")
    } else if silent {
        query.get("login_hint")
    } else {
        None
    };
    if request.method == "POST" && form.get("answer") == Some("no") {
        return back(
            redirect,
            &query,
            &[
                ("error", "access_denied"),
                ("error_description", "AADSTS65004: User declined to consent to access the app."),
            ],
        );
    }
    let Some((user, _)) = user.and_then(|user| simulator.read(|t| t.find_user(user))) else {
        if silent {
            return back(
                redirect,
                &query,
                &[
                    ("error", "login_required"),
                    ("error_description", "AADSTS50058: a silent sign-in request was sent but no user is signed in."),
                ],
            );
        }
        let scopes = query.get("scope").unwrap_or_default();
        let list: String = scopes.split_whitespace().map(|s| format!("<li><code>{}</code></li>", escape(s))).collect();
        let hint = query.get("login_hint").unwrap_or_default();
        return page(
            200,
            "Permissions requested",
            &format!(
                "<p><b>{}</b> would like to:</p><ul>{list}</ul><form method=post>{}\
             <p><button name=answer value=yes>Accept</button> <button class=plain name=answer value=no>Cancel</button></p></form>",
                escape(&app.display_name),
                people(simulator, hint)
            ),
        );
    };
    let value = simulator.write(|t| t.rng.opaque(72));
    let own = |name: &str| query.get(name).map(str::to_owned);
    let code = Code {
        client_id: app.client_id,
        redirect_uri: query.get("redirect_uri").unwrap_or_default().to_owned(),
        user,
        scope: query.get("scope").unwrap_or_default().to_owned(),
        challenge: own("code_challenge"),
        nonce: own("nonce"),
        expires: simulator.clock.now() + TimeDelta::seconds(CODE_LIFETIME),
    };
    simulator.entra.sessions().codes.insert(value.clone(), code);
    back(redirect, &query, &[("code", &value)])
}

fn back(mut redirect: url::Url, query: &Form, parameters: &[(&str, &str)]) -> Reply {
    redirect.query_pairs_mut().extend_pairs(parameters);
    if let Some(state) = query.get("state") {
        redirect.query_pairs_mut().append_pair("state", state);
    }
    Reply::text(302, String::new()).with("location", redirect)
}

/// GET and POST /{tenant}/oauth2/deviceauth
pub fn device(simulator: &Simulator, request: &Request) -> Reply {
    let form = request.form();
    if request.method != "POST" {
        let code = request.query().get("user_code").unwrap_or_default().to_owned();
        return page(
            200,
            "Enter code",
            &format!(
                "<form method=post><p><label>Code <input name=user_code value=\"{}\" autofocus></label></p>{}\
             <p><button name=answer value=yes>Sign in</button> <button class=plain name=answer value=no>Decline</button></p></form>",
                escape(&code),
                people(simulator, "")
            ),
        );
    }
    let wanted = form.get("user_code").unwrap_or_default().trim().to_ascii_uppercase();
    let user = simulator.read(|t| t.find_user(form.get("user").unwrap_or_default()));
    let now = simulator.clock.now();
    let mut sessions = simulator.entra.sessions();
    let device = sessions.devices.values_mut().find(|d| d.user_code == wanted && d.expires > now);
    match (device, user) {
        (Some(device), _) if form.get("answer") == Some("no") => {
            device.declined = true;
            page(200, "Declined", "<p>The device was not signed in. You may close this page.</p>")
        }
        (Some(device), Some((user, _))) => {
            device.approved_by = Some(user);
            page(200, "Done", "<p>The device is signed in. You may close this page.</p>")
        }
        _ => page(400, "Enter code", "<p>That code did not work: it is wrong or has expired.</p>"),
    }
}

fn people(simulator: &Simulator, hint: &str) -> String {
    let options: String = simulator.read(|t| {
        let users = t.users.all();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        users
            .into_iter()
            .map(|(_, user)| {
                let user = user.object();
                let (upn, name) = (text(user.get("userPrincipalName")), text(user.get("displayName")));
                let chosen = if upn.eq_ignore_ascii_case(hint) { " selected" } else { "" };
                format!("<option value=\"{}\"{chosen}>{} ({})</option>", escape(&upn), escape(&name), escape(&upn))
            })
            .collect()
    });
    format!("<p><label>Signed in as <select name=user>{options}</select></label></p>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn page(status: u16, title: &str, body: &str) -> Reply {
    Reply::html(
        status,
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{title}</title>\
         <style>:root{{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}}body{{display:grid;place-items:center;min-height:95vh}}\
         main{{max-width:28rem;padding:2rem;border:1px solid #8884;border-radius:12px}}h1{{font-size:1.3rem;margin:0 0 1rem}}\
         button{{padding:.5rem 1.2rem;border:0;border-radius:6px;background:#2f6fed;color:#fff;font:inherit;cursor:pointer}}\
         button.plain{{background:#8883;color:inherit}}select,input{{font:inherit;padding:.3rem;max-width:100%}}small{{opacity:.7}}</style>\
         <main><h1>{title}</h1>{body}<small>Simulated tenant: no password, nothing leaves this machine.</small></main></html>"
        ),
    )
}
