//! Acting as a person: [signing in with Microsoft](microsoft), and [the accounts](accounts) that are connected so.
//!
//! Tokens for Microsoft Graph stay here: callers get tokens of GraphGate, by the [authorization
//! server](super::authorization_server).

pub mod accounts;
pub mod microsoft;
