//! Acting as a person: [signing in with Microsoft](microsoft), [the accounts](accounts) that are connected so, and callers
//! who bring [a token of their own](on_behalf_of).
//!
//! Tokens for Microsoft Graph stay here: callers get tokens of GraphGate, by the [authorization
//! server](super::authorization_server).

pub mod accounts;
pub mod microsoft;
pub mod on_behalf_of;
