//! Subscriptions to change notifications.
//!
//! <https://learn.microsoft.com/graph/api/resources/subscription>

use chrono::{DateTime, SecondsFormat, Utc};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::identity_set::null_is_default;
use super::request::{Request, encode};
use crate::http_client::Workload;

/// A subscription as Graph lists it. The secret it was created with is never shown again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Graph's id.
    pub id: String,
    /// What is watched.
    pub resource: String,
    /// Which changes, comma-separated.
    pub change_type: String,
    /// Where notifications go.
    #[serde(default, deserialize_with = "null_is_default")]
    pub notification_url: String,
    /// When it ends.
    #[serde(rename = "expirationDateTime")]
    pub expires_at: DateTime<Utc>,
}

/// A subscription to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewSubscription {
    /// What to watch.
    pub resource: String,
    /// Which changes, comma-separated.
    pub change_type: String,
    /// Where notifications go.
    pub notification_url: String,
    /// Where lifecycle notifications go; cannot be added later.
    pub lifecycle_notification_url: String,
    /// When it ends.
    #[serde(rename = "expirationDateTime", serialize_with = "instant")]
    pub expires_at: DateTime<Utc>,
    /// What every notification has to carry; up to 128 characters.
    pub client_state: String,
    /// Whether notifications carry the changed resource, encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_resource_data: Option<bool>,
    /// The certificate to encrypt for: base64 of its DER form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_certificate: Option<String>,
    /// Our name of the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_certificate_id: Option<String>,
}

fn text(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn instant<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(at))
}

impl Client {
    /// Lists the subscriptions of this application.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_subscriptions(&self, call: &Call) -> Result<Vec<Subscription>, Error> {
        let path = "/subscriptions".to_owned();
        self.list(call, &Request::get("list_subscriptions", Workload::Subscriptions, path)).await
    }

    /// Creates a subscription. Graph calls the receiver before it answers.
    ///
    /// # Errors
    /// See [`Error`]; a conflict means that this application has one on the same resource and changes.
    pub async fn create_subscription(&self, call: &Call, new: &NewSubscription) -> Result<Subscription, Error> {
        let request = Request::post("create_subscription", Workload::Subscriptions, "/subscriptions", new);
        self.fetch(call, &request).await
    }

    /// Renews a subscription, which also reauthorises it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn renew_subscription(&self, call: &Call, id: &str, until: DateTime<Utc>) -> Result<Subscription, Error> {
        let path = format!("/subscriptions/{}", encode(id));
        let body = json!({ "expirationDateTime": text(&until) });
        let request = Request::plain("renew_subscription", Workload::Subscriptions, Method::PATCH, path, Some(body));
        self.fetch(call, &request).await
    }

    /// Deletes a subscription; one that is gone already is fine.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_subscription(&self, call: &Call, id: &str) -> Result<(), Error> {
        let path = format!("/subscriptions/{}", encode(id));
        let request = Request::plain("delete_subscription", Workload::Subscriptions, Method::DELETE, path, None);
        match self.send(call, &request).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}
