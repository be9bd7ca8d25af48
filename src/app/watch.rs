//! The wiring of what is watched: subscriptions, the endpoint for notifications, and the work behind it.

use std::sync::Arc;

use url::Url;

use crate::auth::Gate;
use crate::auth::entra::Entra;
use crate::clock::Clock;
use crate::config::Config;
use crate::http_client::{HttpClient, redact};
use crate::queue::{Mailbox, Queue};
use crate::services::Environment;
use crate::services::directory::Directory;
use crate::services::notifications::{self, ContentDecryptor, Notifications, PostSelfTest, Samples, ValidationTokens};
use crate::services::planner::Planner;
use crate::services::subscriptions::{self, GraphSubscriptions, Subscriptions};

/// What is declared is watched from the start, not from the timer's first time on; Graph calls back, so that it has to
/// wait until the port is open.
pub(super) async fn first_renewal(subscriptions: Arc<Subscriptions>) {
    if subscriptions.are_declared()
        && let Err(error) = subscriptions.renew().await
    {
        tracing::warn!(%error, "what is declared cannot be watched yet");
    }
}

pub(super) fn subscriptions(
    config: &Config,
    environment: &Environment,
    (planner, directory): (&Arc<Planner>, &Arc<Directory>),
    gate: Arc<Gate>,
) -> Arc<Subscriptions> {
    let parts = subscriptions::Parts {
        gate,
        directory: directory.clone(),
        remote: Arc::new(GraphSubscriptions(environment.graph.clone())),
        certificate: config.decryptor.as_ref().map(ContentDecryptor::certificate),
    };
    Arc::new(Subscriptions::new(environment, planner.clone(), config.subscriptions.clone(), parts))
}

/// How Graph proves that it sends content: with a token for our application, signed by Entra.
fn validation_tokens(config: &Config, http: &HttpClient, clock: &Clock) -> Option<ValidationTokens> {
    let configured = config.authority.as_deref().and_then(|authority| Url::parse(authority).ok());
    let public = || Url::parse("https://login.microsoftonline.com/").ok();
    let authority = config.loopback_authority.clone().or(configured).or_else(public)?;
    let (tenant, application) = (config.tenant.clone(), config.application_id.clone()?);
    let accepted = ValidationTokens::accepted(authority, tenant, application);
    Some(ValidationTokens::new(Entra::new(accepted, http, clock.clone())))
}

/// The way to our own public address, for samples.
pub(super) fn post_self_test(http: &HttpClient) -> PostSelfTest {
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

/// What notifications are about, and what is refreshed for them.
pub(super) struct Watched<'a> {
    pub(super) planner: &'a Arc<Planner>,
    pub(super) directory: &'a Arc<Directory>,
    pub(super) subscriptions: &'a Arc<Subscriptions>,
}

pub(super) fn notifications(
    config: &Config,
    environment: &Environment,
    watched: &Watched<'_>,
    queue: Arc<dyn Queue>,
    http: &HttpClient,
) -> Arc<Notifications> {
    let Environment { tables, clock, entropy, keyring, .. } = environment.clone();
    let parts = notifications::Parts {
        mailbox: Mailbox::new(queue, tables.tables().clone(), clock.clone(), entropy),
        subscriptions: watched.subscriptions.clone(),
        planner: watched.planner.clone(),
        directory: watched.directory.clone(),
        validation_tokens: validation_tokens(config, http, &clock),
        decryptor: config.decryptor.clone(),
        samples: Samples::new(keyring, clock),
        post_self_test: post_self_test(http),
    };
    Arc::new(Notifications::new(environment, parts))
}
