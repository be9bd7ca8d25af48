//! Who runs the program: the Azure Functions host, or nobody but itself.

/// Who calls the program's timers and queues, and in front of whom it listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostMode {
    /// A person, a container, Kubernetes: the program's own scheduler calls timers and queues.
    #[default]
    Standalone,
    /// The Azure Functions host: it calls timers and queues, may send a request twice, and ends what takes long.
    Functions,
}

impl HostMode {
    /// Whether the Functions host runs the program.
    #[must_use]
    pub const fn is_functions(self) -> bool {
        matches!(self, Self::Functions)
    }
}
