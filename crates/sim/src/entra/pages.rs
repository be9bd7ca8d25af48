//! The pages a person sees. Every one is a plain form that a browser shows and a script can post.

use serde_json::Value;

use super::super::http::Reply;
use super::super::simulator::Simulator;
use super::consent::{Item, needs_administrator};
use super::people::Directory;
use super::refusal::Refusal;

/// Who signs in.
pub fn sign_in(simulator: &Simulator, app: &str, directory: &Directory, hint: &str) -> Reply {
    page(
        200,
        "Sign in",
        &format!(
            "<p>to continue to <b>{}</b></p><form method=post>{}\
             <p><button>Sign in</button> <button class=plain name=answer value=no>Cancel</button></p></form>",
            escape(app),
            people(simulator, directory, hint)
        ),
    )
}

/// What a person is asked to consent to.
pub fn consent(app: &str, items: &[Item], hidden: &[(&str, String)], administrator: bool) -> Reply {
    let all = if administrator {
        "<p><label><input type=checkbox name=all value=yes> Consent on behalf of your organization</label></p>"
    } else {
        ""
    };
    page(
        200,
        "Permissions requested",
        &format!(
            "<p><b>{}</b> would like to:</p><ul>{}</ul><form method=post>{}{all}\
             <p><button name=answer value=yes>Accept</button> <button class=plain name=answer value=no>Cancel</button></p></form>",
            escape(app),
            list(items),
            fields(hidden)
        ),
    )
}

/// An administrator has to consent first.
pub fn approval_needed(app: &str, items: &[Item]) -> Reply {
    page(
        200,
        "Need admin approval",
        &format!(
            "<p><b>{}</b> needs permission to access resources in your organization that only an admin can grant.</p><ul>{}</ul>\
             <form method=post><p><button class=plain name=answer value=no>Return to the application without granting consent</button></p></form>",
            escape(app),
            list(items)
        ),
    )
}

/// The second factor.
pub fn second_factor(refusal: &Refusal, hidden: &[(&str, String)]) -> Reply {
    page(
        200,
        "More information required",
        &format!(
            "<p>{}</p><form method=post>{}<p><button name=mfa value=yes>Approve sign in request</button></p></form>",
            escape(&refusal.words),
            fields(hidden)
        ),
    )
}

/// A refusal that cannot go back to the application.
pub fn refused(refusal: &Refusal) -> Reply {
    note(
        refusal.status,
        "Sorry, but we're having trouble signing you in.",
        &format!("AADSTS{}: {}", refusal.number, refusal.words),
    )
}

/// A page with one sentence.
pub fn note(status: u16, title: &str, words: &str) -> Reply {
    page(status, title, &format!("<p>{}</p>", escape(words)))
}

/// The answer of the authorization endpoint as a form that posts itself.
pub fn form_post(redirect: &str, parameters: &[(&'static str, String)]) -> Reply {
    Reply::html(
        200,
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>Working...</title><form method=POST name=hiddenform action=\"{}\">{}\
             <noscript><p>Script is disabled. Click Submit to continue.</p><input type=submit value=Submit></noscript></form>\
             <script>document.forms[0].submit()</script></html>",
            escape(redirect),
            fields(parameters)
        ),
    )
}

/// Where a device code is entered.
pub fn device(simulator: &Simulator, code: &str, directory: &Directory) -> Reply {
    page(
        200,
        "Enter code",
        &format!(
            "<form method=post><p><label>Code <input name=user_code value=\"{}\" autofocus></label></p>{}\
             <p><button name=answer value=yes>Sign in</button> <button class=plain name=answer value=no>Decline</button></p></form>",
            escape(code),
            people(simulator, directory, "")
        ),
    )
}

fn list(items: &[Item]) -> String {
    let line = |item: &Item, name: &String| {
        let admin = if needs_administrator(item, name) { " (admin)" } else { "" };
        format!("<li><code>{}/{}</code>{admin}</li>", escape(&item.resource), escape(name))
    };
    items.iter().flat_map(|item| item.names.iter().map(move |name| line(item, name))).collect()
}

fn fields(hidden: &[(&str, String)]) -> String {
    hidden.iter().map(|(name, value)| format!("<input type=hidden name={name} value=\"{}\">", escape(value))).collect()
}

/// Everybody of both tenants: a stranger has to be able to try.
fn people(simulator: &Simulator, directory: &Directory, hint: &str) -> String {
    let (own, other) = simulator.read(|t| {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let users = t.users.all().into_iter().map(|(_, user)| {
            let user = user.object();
            (text(user.get("userPrincipalName")), text(user.get("displayName")))
        });
        let strangers = t.rights.partner.people.iter();
        let strangers = strangers.map(|p| (p.user_principal_name.clone(), p.display_name.clone()));
        (users.collect::<Vec<_>>(), strangers.collect::<Vec<_>>())
    });
    let all = if directory.first { [own, other] } else { [other, own] };
    let option = |(upn, name): &(String, String)| {
        let chosen = if upn.eq_ignore_ascii_case(hint) { " selected" } else { "" };
        format!("<option value=\"{}\"{chosen}>{} ({})</option>", escape(upn), escape(name), escape(upn))
    };
    let options: String = all.iter().flatten().map(option).collect();
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
         <style>:root{{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}}body{{display:grid;place-items:center;min-height:95vh;background:Canvas;color:CanvasText}}\
         main{{box-sizing:border-box;width:min(28rem,100%);min-width:0;overflow-wrap:anywhere;padding:2rem;border:1px solid #8884;border-radius:12px}}h1{{font-size:1.3rem;margin:0 0 1rem}}\
         button{{padding:.5rem 1.2rem;border:0;border-radius:6px;background:#2f6fed;color:#fff;font:inherit;cursor:pointer}}\
         button.plain{{background:#8883;color:inherit}}select,input{{font:inherit;padding:.3rem;max-width:100%}}small{{opacity:.7}}</style>\
         <main><h1>{title}</h1>{body}<small>Simulated tenant: no password, nothing leaves this machine.</small></main></html>"
        ),
    )
}
