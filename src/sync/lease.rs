//! Who may act on a plan: a lease in the plan's own partition, with a fencing token. Pure.
//!
//! Every transaction in which the engine follows up on Planner rewrites the `f` row under the condition that it is as
//! it was read, so the store itself refuses a holder that was overtaken while it stalled. The lease costs nothing
//! extra: it is taken by the transaction that notes what is about to be sent and given back by the one that stores
//! the answer. Callers' own writes need no lease.
//!
//! Clocks of two instances are never compared: a lease has run out when *this* instance has seen the row unchanged
//! for [`LEASE`] on its own clock.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::mutant::{Mutant, is_on};
use crate::crash;
use crate::rows::StoreError;

/// How long a holder may be silent before others take over.
pub const LEASE: TimeDelta = TimeDelta::seconds(10);

/// How long a holder may be silent before this process takes over.
#[must_use]
pub fn length() -> TimeDelta {
    crash::lease().unwrap_or(LEASE)
}

/// The value of a plan's `f` row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The instance that wrote it last.
    pub holder: String,
    /// Grows with every change of holder.
    pub token: u64,
    /// The holder has calls under way. Otherwise anybody may take over at once.
    #[serde(default)]
    pub busy: bool,
}

/// What the holder of a lease does after a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It calls Planner: the lease must be held, and checked now, even when there is nothing else to write.
    Calls,
    /// It is done, unless it has other work on the plan under way.
    Rests,
}

/// Decides whether `me` may act, having seen the fence unchanged for so long: the fence to write, or `None` while
/// somebody else holds it.
#[must_use]
pub fn claim(fence: Option<&Fence>, me: &str, unchanged_for: TimeDelta, busy: bool) -> Option<Fence> {
    let token = match fence {
        None => 1,
        Some(fence) if fence.holder == me => fence.token,
        Some(fence) if !fence.busy || unchanged_for >= length() => fence.token + 1,
        Some(fence) if is_on(Mutant::NoFence) => fence.token,
        Some(_) => return None,
    };
    Some(Fence { holder: me.to_owned(), token, busy })
}

/// Why a follow-up was not committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WorkError {
    /// Another instance has calls under way on the plan.
    #[error("another instance is working on the plan")]
    Held,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str, busy: bool) -> Fence {
        Fence { holder: holder.into(), token: 7, busy }
    }

    #[test]
    fn busy_lease_is_not_taken_before_it_expires() {
        let fence = held("a", true);
        assert_eq!(claim(Some(&fence), "b", LEASE - TimeDelta::milliseconds(1), true), None);
        assert_eq!(claim(Some(&fence), "b", LEASE, true), Some(Fence { token: 8, ..held("b", true) }));
    }

    #[test]
    fn idle_lease_is_handed_over_at_once_with_a_greater_fencing_token() {
        let taken = claim(Some(&held("a", false)), "b", TimeDelta::zero(), false);
        assert_eq!(taken, Some(Fence { token: 8, ..held("b", false) }));
    }

    #[test]
    fn lease_renewal_keeps_the_fencing_token() {
        assert_eq!(claim(Some(&held("a", true)), "a", TimeDelta::zero(), false), Some(held("a", false)));
        assert_eq!(claim(None, "a", TimeDelta::zero(), true).map(|fence| fence.token), Some(1));
    }
}
