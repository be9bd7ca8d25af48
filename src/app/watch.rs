//! The wiring of what is watched: subscriptions, the door for notifications, and the work behind it.

use std::sync::Arc;

use url::Url;

use crate::auth::{Gate, entra};
use crate::clock::Clock;
use crate::config::Config;
use crate::graph;
use crate::http_client::{HttpClient, redact};
use crate::ids::Entropy;
use crate::keyring::Keyring;
use crate::queue::{Mailbox, Queue};
use crate::rows::Tables;
use crate::services::metadata::Cache;
use crate::services::notifications::{self, Knock, Notifications, Opener, Proofs, Samples};
use crate::services::planner::Planner;
use crate::services::subscriptions::{self, GraphSubscriptions, Subscriptions};

/// What is declared is watched from the start, not from the timer's first time on; Graph calls back, so that it has to
/// wait until the port is open.
pub(super) async fn first_look(subscriptions: Arc<Subscriptions>) {
    if subscriptions.are_declared()
        && let Err(error) = subscriptions.renew().await
    {
        tracing::warn!(%error, "what is declared cannot be watched yet");
    }
}

/// What several services are built from.
pub(super) struct Shared<'a> {
    pub(super) planner: &'a Arc<Planner>,
    pub(super) metadata: &'a Arc<Cache>,
    pub(super) gate: &'a Arc<Gate>,
    pub(super) tables: &'a Arc<dyn Tables>,
    pub(super) clock: &'a Clock,
    pub(super) entropy: &'a Entropy,
}

pub(super) fn subscriptions(config: &Config, shared: &Shared<'_>, graph: graph::Client) -> Arc<Subscriptions> {
    let parts = subscriptions::Parts {
        tables: shared.tables.clone(),
        tenant: config.planner.tenant.clone(),
        gate: shared.gate.clone(),
        remote: Arc::new(GraphSubscriptions(graph)),
        certificate: config.opener.as_ref().map(Opener::certificate),
        clock: shared.clock.clone(),
        entropy: shared.entropy.clone(),
    };
    Arc::new(Subscriptions::new(shared.planner.clone(), config.subscriptions.clone(), parts))
}

/// How Graph proves that it sends content: with a token for our application, signed by Entra.
fn proofs(config: &Config, http: &HttpClient, clock: &Clock) -> Option<Proofs> {
    let configured = config.authority.as_deref().and_then(|authority| Url::parse(authority).ok());
    let public = || Url::parse("https://login.microsoftonline.com/").ok();
    let authority = config.loopback_authority.clone().or(configured).or_else(public)?;
    let tenant = config.planner.tenant.clone();
    let keys = entra::Keys::new(http.clone(), clock.clone(), authority.clone(), tenant.clone());
    Some(Proofs::new(keys, authority, tenant, config.application_id.clone()?, clock.clone()))
}

/// The way to our own public address, for samples.
pub(super) fn knock(http: &HttpClient) -> Knock {
    let http = http.clone();
    Arc::new(move |url, body| {
        let request = http.reqwest_client(&url).post(url).header(http::header::CONTENT_TYPE, "application/json");
        // Said even of an empty one, as front ends ask for it.
        let request = request.header(http::header::CONTENT_LENGTH, body.len()).body(body);
        Box::pin(async move {
            let answer = request.send().await.map_err(redact::transport)?;
            let status = answer.status();
            Ok((status, answer.text().await.map_err(redact::transport)?))
        })
    })
}

pub(super) fn notifications(
    config: &Config,
    shared: &Shared<'_>,
    subscriptions: &Arc<Subscriptions>,
    queue: Arc<dyn Queue>,
    http: &HttpClient,
    keyring: Keyring,
) -> Arc<Notifications> {
    let (clock, entropy) = (shared.clock.clone(), shared.entropy.clone());
    Arc::new(Notifications::new(notifications::Parts {
        mailbox: Mailbox::new(queue, shared.tables.clone(), clock.clone(), entropy.clone()),
        tables: shared.tables.clone(),
        tenant: config.planner.tenant.clone(),
        subscriptions: subscriptions.clone(),
        planner: shared.planner.clone(),
        metadata: shared.metadata.clone(),
        proofs: proofs(config, http, &clock),
        opener: config.opener.clone(),
        samples: Samples::new(keyring, clock.clone()),
        knock: knock(http),
        clock,
        entropy,
    }))
}
