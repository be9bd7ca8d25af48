//! The managed identity endpoint as App Service offers it: GET /msi/token?resource=…&api-version=2019-08-01 with
//! the secret header, over plain http on the loopback address.

use serde_json::{Value, json};

use super::super::http::{Reply, Request};
use super::super::simulator::{IDENTITY_HEADER, Simulator};
use super::people::Directory;
use super::tokens;

/// Answers a managed identity request with a token of the seeded application.
pub async fn token(simulator: &Simulator, request: &Request) -> Reply {
    let query = request.query();
    if request.header("x-identity-header") != Some(IDENTITY_HEADER) {
        return Reply::json(401, &json!({"statusCode": 401, "message": "The X-IDENTITY-HEADER is missing or wrong."}));
    }
    if query.get("api-version") != Some("2019-08-01") {
        return Reply::json(400, &json!({"statusCode": 400, "message": "The api-version has to be 2019-08-01."}));
    }
    let Some(resource) = query.get("resource").filter(|r| !r.is_empty()) else {
        return Reply::json(400, &json!({"statusCode": 400, "message": "The parameter resource is missing."}));
    };
    let Some(app) = simulator.read(|t| t.applications.first().cloned()) else {
        return Reply::json(400, &json!({"statusCode": 400, "message": "No managed identity is assigned."}));
    };
    if let Some(wanted) = query.get("client_id")
        && !wanted.eq_ignore_ascii_case(&app.client_id)
    {
        return Reply::json(400, &json!({"statusCode": 400, "message": "Unable to load the proper Managed Identity."}));
    }
    let scope = format!("{}/.default", resource.trim_end_matches('/').trim_end_matches("/.default"));
    let Some(directory) = simulator.read(|t| Directory::named(t, &t.tenant_id)) else {
        return Reply::json(400, &json!({"statusCode": 400, "message": "No managed identity is assigned."}));
    };
    match tokens::application(simulator, request, &directory, &app, &scope).await {
        Ok(granted) => {
            simulator.stats(|s| s.tokens_issued += 1);
            let expires_on = simulator.clock.now().timestamp() + simulator.entra.lifetimes().access;
            Reply::json(
                200,
                &json!({
                    "access_token": granted.get("access_token").and_then(Value::as_str),
                    "expires_on": expires_on.to_string(), "resource": resource, "token_type": "Bearer",
                    "client_id": app.client_id,
                }),
            )
        }
        Err(refusal) => Reply::json(400, &json!({"statusCode": 400, "message": refusal.words})),
    }
}
