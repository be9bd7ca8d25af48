//! Users of the directory.
//!
//! <https://learn.microsoft.com/graph/api/resources/user>

use serde::Deserialize;

use super::call::Call;
use super::client::Client;
use super::error::Error;
use super::identity_set::null_is_default;
use super::request::{Request, encode, literal};
use crate::http_client::Workload;
use crate::ids::UserId;

/// What the program needs to know of a user; asking for less costs less of the directory's allowance.
pub(super) const SELECT: &str = "$select=id,displayName,userPrincipalName,mail";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The object id.
    pub id: UserId,
    /// The name people see.
    #[serde(default, deserialize_with = "null_is_default")]
    pub display_name: String,
    /// The sign-in name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user_principal_name: String,
    /// The mail address.
    pub mail: Option<String>,
}

impl Client {
    /// Returns the user with an object id or a user principal name, or `None` when there is none.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_user(&self, call: &Call, id_or_upn: &str) -> Result<Option<User>, Error> {
        let path = format!("/users/{}?{SELECT}", encode(id_or_upn));
        self.find(call, &Request::get("get_user", Workload::Directory, path)).await
    }

    /// Lists up to `top` (1 to 999) users whose name, sign-in name or mail address begins with `text`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find_users(&self, call: &Call, text: &str, top: u16) -> Result<Vec<User>, Error> {
        let starts = |field: &str| format!("startswith({field},'{}')", literal(text));
        let filter = ["displayName", "userPrincipalName", "mail"].map(starts).join("%20or%20");
        let path = format!("/users?$filter={filter}&{SELECT}&$top={}", top.clamp(1, 999));
        self.first_page(call, &Request::get("find_users", Workload::Directory, path)).await
    }

    /// Lists all users.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_users(&self, call: &Call) -> Result<Vec<User>, Error> {
        let path = format!("/users?{SELECT}&$top=999");
        self.list(call, &Request::get("list_users", Workload::Directory, path)).await
    }
}
