//! What the sign-in service holds in memory: sign-ins, the codes and tokens that descend from them, and how long they live.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::clients::Platform;
use super::tokens::Family;

/// A person who signed in; codes, refresh tokens and sessions descend from it.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub tenant: String,
    pub user: String,
    /// In changes of the tenant.
    pub born: u64,
    pub at: DateTime<Utc>,
    pub mfa: bool,
}

/// What a PKCE verifier is compared with.
#[derive(Clone, Debug)]
pub enum Challenge {
    Plain(String),
    S256(String),
}

/// An authorization code.
#[derive(Clone, Debug)]
pub struct Code {
    pub client_id: String,
    pub redirect_uri: String,
    pub platform: Platform,
    pub sign_in: SignIn,
    pub scope: String,
    pub challenge: Option<Challenge>,
    pub nonce: Option<String>,
    pub capable: bool,
    pub expires: DateTime<Utc>,
    pub redeemed: bool,
}

/// A device code on its way.
pub struct Device {
    pub client_id: String,
    pub user_code: String,
    pub tenant: String,
    pub scope: String,
    pub expires: DateTime<Utc>,
    pub last_poll: Option<DateTime<Utc>>,
    pub interval: i64,
    pub approved_by: Option<SignIn>,
    pub declined: bool,
}

/// A refresh token.
#[derive(Clone, Debug)]
pub struct Refresh {
    pub client_id: String,
    pub sign_in: SignIn,
    pub issued: DateTime<Utc>,
    pub expires: DateTime<Utc>,
    pub family: Family,
}

#[derive(Default)]
pub struct Sessions {
    pub codes: HashMap<String, Code>,
    pub devices: HashMap<String, Device>,
    pub refresh: HashMap<String, Refresh>,
    /// Browsers in which somebody signed in, by cookie.
    pub browsers: HashMap<String, SignIn>,
}

/// How long new tokens live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lifetimes {
    /// Access tokens.
    #[serde(rename = "expires_in")]
    pub access: i64,
    /// Access tokens for Graph of clients that understand claims challenges.
    #[serde(rename = "cae_expires_in")]
    pub evaluated: i64,
    /// Refresh tokens, except those of single-page applications.
    #[serde(rename = "refresh_expires_in")]
    pub refresh: i64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { access: 3_599, evaluated: 28 * 3_600 - 1, refresh: 90 * 86_400 }
    }
}
