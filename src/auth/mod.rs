//! Who is calling: established at the edge, once a request, and handed down as a value.

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
}
