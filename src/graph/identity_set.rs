//! Who did something, as Graph's `identitySet` says it.

use serde::{Deserialize, Deserializer};

use crate::ids::UserId;

/// The person and the application behind an act. Either may be unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Wire")]
pub struct Identities {
    /// The person's id.
    pub user: Option<UserId>,
    /// The application's id.
    pub application: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    user: Option<Identity>,
    application: Option<Identity>,
}

#[derive(Deserialize)]
struct Identity {
    id: Option<String>,
}

impl From<Wire> for Identities {
    fn from(wire: Wire) -> Self {
        let id = |identity: Option<Identity>| identity.and_then(|identity| identity.id);
        Self {
            // an app acting alone may stand here with an id that names no user
            user: id(wire.user).and_then(|id| UserId::parse(&id).ok()),
            application: id(wire.application),
        }
    }
}

/// Reads `null` as the default: Graph writes it where a value is unset.
pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads `null`, absent and `""` alike as `None`.
pub(super) fn empty_is_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<String>,
    T::Error: std::fmt::Display,
{
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.filter(|text| !text.is_empty()).map(T::try_from).transpose().map_err(serde::de::Error::custom)
}
