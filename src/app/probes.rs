//! What the REST interface may examine to report on the process: the wiring lends it functions, not parts.

use std::sync::Arc;

use crate::api;
use crate::azure::Credential;
use crate::azure::credential::ScopeStatus;
use crate::http_client::{HttpClient, WorkloadCounts};
use crate::rows::{Partition, StoreError};
use crate::runtime::{Relay, RelayState};
use crate::store::Watched;

/// What the REST interface may look at to report on the process.
pub(super) fn probes(store: Arc<Watched>, health: Partition, http: HttpClient, credential: Credential) -> api::Probes {
    api::Probes {
        store: Box::new(move || {
            let (store, health) = (store.clone(), health.clone());
            Box::pin(async move {
                let trouble = store.trouble(health.name()).await.map_err(|error| error.to_string())?;
                Ok(trouble.map(|error| api::StoreTrouble { summary: summary(&error), reason: error.to_string() }))
            })
        }),
        tokens: Box::new(move || {
            let state = |scope: ScopeStatus| api::TokenState {
                scope: scope.scope,
                expires_at: scope.expires_at,
                last_error: scope.last_error,
            };
            api::Tokens { kind: credential.kind(), scopes: credential.status().into_iter().map(state).collect() }
        }),
        upstream: Box::new(move || {
            let upstream = |WorkloadCounts { workload, breaker_open, .. }| {
                let closed_for = http.closed_for(workload);
                api::Upstream { workload: workload.as_str(), closed_for, breaker_open }
            };
            http.counts().into_iter().map(upstream).collect()
        }),
        redis: None,
    }
}

/// How the connection to Redis is.
pub(super) fn redis(relay: &Relay) -> api::Probe<(bool, chrono::DateTime<chrono::Utc>)> {
    let state = relay.probe();
    Box::new(move || {
        let RelayState { connected, since } = state();
        (connected, since)
    })
}

fn summary(error: &StoreError) -> &'static str {
    match error {
        StoreError::ReadOnly { .. } => "nothing can be written: it is full or read-only",
        StoreError::Broken { .. } => "it is damaged, or its folder was removed",
        _ => "nothing can be written",
    }
}
