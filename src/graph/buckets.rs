//! Buckets.
//!
//! <https://learn.microsoft.com/graph/api/resources/plannerbucket>

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::identity_set::null_is_default;
use super::request::Request;
use super::tasks::Deleted;
use crate::http_client::Workload;
use crate::ids::{BucketId, PlanId};

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Its id.
    pub id: BucketId,
    /// Its plan.
    pub plan_id: PlanId,
    /// Its name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub name: String,
    /// Its place as the service gives it; never sent back.
    #[serde(default, deserialize_with = "null_is_default")]
    pub order_hint: String,
    /// Its version.
    #[serde(rename = "@odata.etag")]
    pub etag: String,
}

/// A change of a bucket: only what is `Some` is sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketPatch {
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new place, `"<previous> <next>!"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_hint: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketBody<'a> {
    name: &'a str,
    plan_id: &'a PlanId,
    order_hint: &'a str,
}

impl Client {
    /// Lists the buckets of a plan.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_buckets(&self, call: &Call, plan: &PlanId) -> Result<Vec<Bucket>, Error> {
        let path = format!("/planner/plans/{plan}/buckets");
        self.list(call, &Request::get("list_buckets", Workload::Planner, path)).await
    }

    /// Returns the bucket, or `None` when it does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_bucket(&self, call: &Call, bucket: &BucketId) -> Result<Option<Bucket>, Error> {
        self.find(call, &get_bucket(bucket)).await
    }

    /// Creates a bucket at `order_hint` (`" !"` is the first place). Not repeated after an ambiguous failure.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::is_ambiguous`] says whether the bucket may exist.
    pub async fn create_bucket(
        &self,
        call: &Call,
        plan: &PlanId,
        name: &str,
        order_hint: &str,
    ) -> Result<Bucket, Error> {
        let body = BucketBody { name, plan_id: plan, order_hint };
        self.fetch(call, &Request::post("create_bucket", Workload::Planner, "/planner/buckets", &body)).await
    }

    /// Changes a bucket.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn update_bucket(
        &self,
        call: &Call,
        bucket: &BucketId,
        etag: &str,
        patch: &BucketPatch,
    ) -> Result<Bucket, Error> {
        let address = format!("/planner/buckets/{bucket}");
        let request = Request::patch("update_bucket", Workload::Planner, address, etag, patch);
        self.change(call, &request, &get_bucket(bucket)).await
    }

    /// Deletes a bucket.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_bucket(&self, call: &Call, bucket: &BucketId, etag: &str) -> Result<Deleted, Error> {
        let path = format!("/planner/buckets/{bucket}");
        self.remove(call, &Request::delete("delete_bucket", Workload::Planner, path, etag)).await
    }
}

fn get_bucket(bucket: &BucketId) -> Request {
    Request::get("get_bucket", Workload::Planner, format!("/planner/buckets/{bucket}"))
}
