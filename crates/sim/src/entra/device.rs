//! The device code flow: a code for the person, another for polling, and Entra's answers to polls that come
//! too soon, too often or too late.

use chrono::TimeDelta;
use serde_json::json;

use super::super::http::{Reply, Request};
use super::super::simulator::Simulator;
use super::people::Directory;
use super::refusal::Refusal;
use super::{Device, SignIn};

const LIFETIME: i64 = 900;
const INTERVAL: i64 = 5;

/// POST /{tenant}/oauth2/v2.0/devicecode
pub fn start(simulator: &Simulator, request: &Request, directory: &Directory) -> Reply {
    let form = request.form();
    let client_id = form.get("client_id").unwrap_or_default();
    let app = match simulator.read(|t| directory.application(t, client_id)) {
        Ok(app) => app,
        Err(refusal) => return refusal.reply(simulator),
    };
    let Some(scope) = form.get("scope") else {
        return Refusal::missing("scope").reply(simulator);
    };
    let (device_code, user_code) = simulator.write(|t| {
        let letters: String = t
            .rng
            .opaque(60)
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_uppercase())
            .take(9)
            .collect();
        (t.rng.opaque(80), letters)
    });
    let device = Device {
        client_id: app.client_id,
        user_code: user_code.clone(),
        tenant: directory.tenant_id.clone(),
        scope: scope.to_owned(),
        expires: simulator.clock.now() + TimeDelta::seconds(LIFETIME),
        last_poll: None,
        interval: INTERVAL,
        approved_by: None,
        declined: false,
    };
    simulator.entra.sessions().devices.insert(device_code.clone(), device);
    let page = format!("{}/{}/oauth2/deviceauth", request.origin, directory.tenant_id);
    Reply::json(
        200,
        &json!({
            "user_code": user_code, "device_code": device_code, "verification_uri": page,
            "expires_in": LIFETIME, "interval": INTERVAL,
            "message": format!("To sign in, use a web browser to open the page {page} and enter the code {user_code} to authenticate."),
        }),
    )
}

/// A poll: the sign-in and the scope once somebody approved, else the reason to wait or to give up.
pub fn redeem(simulator: &Simulator, device_code: &str, client_id: &str) -> Result<(SignIn, String), Refusal> {
    let refuse = |error, number, words: &str| Err(Refusal::new(error, number, words));
    let now = simulator.clock.now();
    let mut sessions = simulator.entra.sessions();
    let Some(device) = sessions.devices.get_mut(device_code).filter(|d| d.client_id == client_id) else {
        return refuse(
            "bad_verification_code",
            70_018,
            "The device code is not known or belongs to another application.",
        );
    };
    if device.expires <= now {
        sessions.devices.remove(device_code);
        return refuse(
            "expired_token",
            70_020,
            "The provided value for the input parameter 'device_code' is not valid. This device code has expired.",
        );
    }
    if device.declined {
        sessions.devices.remove(device_code);
        return refuse("authorization_declined", 70_017, "The user declined the request.");
    }
    let Some(sign_in) = device.approved_by.clone() else {
        let hasty = device.last_poll.is_some_and(|last| now < last + TimeDelta::seconds(device.interval));
        device.last_poll = Some(now);
        if hasty {
            device.interval += INTERVAL;
            return refuse("slow_down", 70_016, "The client polls too often. Add five seconds to the interval.");
        }
        return refuse(
            "authorization_pending",
            70_016,
            "OAuth 2.0 device flow error. Authorization is pending. Continue polling.",
        );
    };
    let scope = device.scope.clone();
    sessions.devices.remove(device_code);
    Ok((sign_in, scope))
}
