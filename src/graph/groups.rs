//! Microsoft 365 groups: what holds plans.
//!
//! <https://learn.microsoft.com/graph/api/resources/group>

use serde::Deserialize;

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::identity_set::null_is_default;
use super::request::Request;
use super::users::{SELECT, User};
use crate::http_client::Workload;
use crate::ids::{GroupId, UserId};

const GROUP_SELECT: &str = "$select=id,displayName,description,mail,visibility";

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// The object id.
    pub id: GroupId,
    /// The name people see.
    #[serde(default, deserialize_with = "null_is_default")]
    pub display_name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The mail address.
    pub mail: Option<String>,
    /// `Public`, `Private` or `HiddenMembership`.
    pub visibility: Option<String>,
}

impl Client {
    /// Lists all Microsoft 365 groups.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_groups(&self, call: &Call) -> Result<Vec<Group>, Error> {
        let path = format!("/groups?$filter=groupTypes/any(c:c%20eq%20'Unified')&{GROUP_SELECT}&$top=999");
        self.list(call, &Request::get("list_groups", Workload::Directory, path)).await
    }

    /// Returns the group, or `None` when it does not exist.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_group(&self, call: &Call, group: &GroupId) -> Result<Option<Group>, Error> {
        let path = format!("/groups/{group}?{GROUP_SELECT}");
        self.find(call, &Request::get("get_group", Workload::Directory, path)).await
    }

    /// Lists the groups a user belongs to, directly or through other groups; none where there is no such user.
    ///
    /// # Errors
    /// See [`Error`]; Graph refuses to list more than 11,000.
    pub async fn list_groups_of_user(&self, call: &Call, user: &UserId) -> Result<Vec<GroupId>, Error> {
        #[derive(Deserialize)]
        struct Groups {
            value: Vec<GroupId>,
        }
        // A POST that only reads: the whole answer at once, without the index that lags behind changes of membership.
        let body = serde_json::json!({ "securityEnabledOnly": false });
        let path = format!("/users/{user}/getMemberGroups");
        let asked = Request::post("list_groups_of_user", Workload::Directory, &path, &body);
        let found = self.find::<Groups>(call, &Request { safe: true, only_reads: true, ..asked }).await?;
        Ok(found.map(|groups| groups.value).unwrap_or_default())
    }

    /// Lists the members of a group that are users. Owners are members only if added as such.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_group_members(&self, call: &Call, group: &GroupId) -> Result<Vec<User>, Error> {
        // A cast is an advanced query: it needs the header and `$count`.
        let path = format!("/groups/{group}/members/microsoft.graph.user?$count=true&{SELECT}&$top=999");
        let request = Request { eventual: true, ..Request::get("list_group_members", Workload::Directory, path) };
        self.list(call, &request).await
    }
}
