//! Settings of the gate: which ways of proving oneself are open.

use chrono::TimeDelta;

use crate::auth::entra;
use crate::auth::roles::Roles;
use crate::azure::Secret;

/// Settings of the gate.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The deployment's one key.
    pub key: Option<Secret>,
    /// Ask for a key of the book although nothing else is configured.
    pub requires_key: bool,
    /// Whose tokens are accepted.
    pub entra: Option<entra::Config>,
    /// Believe the platform's principal header: it signs callers in.
    pub easy_auth: bool,
    /// The role of callers whose Functions key the host has checked.
    pub host_key_role: Option<String>,
    /// People sign in with Microsoft here, and callers bring tokens of our own authorization server; says the same as
    /// [`super::Gate::with_server`], before there is one.
    pub signs_in: bool,
    /// What roles mean.
    pub roles: Roles,
    /// Calls a minute for each caller; 0 is no limit.
    pub calls_per_minute: u32,
    /// Start although nobody is asked who they are.
    pub lets_anybody_in: bool,
    /// The address people reach the server by, for clients that search for the sign-in service.
    pub public_url: Option<url::Url>,
    /// How old the signature of a request may be.
    pub signature_window: TimeDelta,
}

impl Config {
    /// Whether callers have to prove who they are.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.key.is_some()
            || self.requires_key
            || self.entra.is_some()
            || self.easy_auth
            || self.host_key_role.is_some()
            || self.signs_in
    }

    /// The ways of proving oneself, for people who check the set-up.
    #[must_use]
    pub fn ways(&self) -> Vec<&'static str> {
        let ways = [
            (self.easy_auth, "App Service sign-in"),
            (self.entra.is_some(), "Entra tokens"),
            (self.key.is_some(), "the deployment's key"),
            (self.host_key_role.is_some(), "Functions keys"),
            (self.signs_in, "sign-in with Microsoft"),
            (self.asks(), "keys of `graphgate keys`"),
        ];
        ways.into_iter().filter_map(|(on, way)| on.then_some(way)).collect()
    }
}
