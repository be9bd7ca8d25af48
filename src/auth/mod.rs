//! Who is calling: established at the edge, once a request, and handed down as a value.

mod key;

pub use key::ApiKey;

/// A caller of GraphGate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// A stable name, for journal, audit and rate limits: never a secret.
    pub name: String,
}

impl Caller {
    /// Whoever sits at this machine: the command line, standard input, an unprotected loopback server.
    #[must_use]
    pub fn local() -> Self {
        Self { name: "local".into() }
    }

    /// Whoever holds the deployment's key.
    #[must_use]
    pub fn key_holder() -> Self {
        Self { name: "key".into() }
    }
}
