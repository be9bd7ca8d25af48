//! As whom Microsoft Graph is called.
//!
//! An identity carries a provider of tokens and no token, because work may outlive one. It is an argument of every call,
//! given by who makes it and never ambient.

use std::sync::Arc;

use crate::azure::TokenProvider;
use crate::ids::UserId;

/// In whose name Graph is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Identity {
    /// The application, with the credential of the deployment.
    #[default]
    Application,
    /// A person, with tokens that were delegated.
    Person(Person),
}

/// A person and where tokens come from that act for them.
#[derive(Debug, Clone)]
pub struct Person {
    /// The object id in Entra.
    pub id: UserId,
    /// Gives tokens for this person alone.
    pub tokens: Arc<dyn TokenProvider>,
}

/// Two are the same person, though their tokens come from elsewhere.
impl PartialEq for Person {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Person {}
