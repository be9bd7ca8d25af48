//! Who is notified of a plan's transactions: listeners in this process, and, through a relay, other instances.

use tokio::sync::{broadcast, watch};

use super::handle::PlanHandle;
use crate::ids::PlanId;
use crate::rows::StoreError;

/// A transaction of this process on a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The plan.
    pub plan: PlanId,
    /// The transaction's number; it is the plan's newest for now.
    pub number: u64,
}

/// Who receives the transactions of all plans together.
pub(super) struct OfAll {
    /// Of this process's own.
    commits: broadcast::Sender<Committed>,
    /// Also those of other instances that were announced.
    news: broadcast::Sender<Committed>,
}

impl PlanHandle {
    /// The same, and each of its transactions goes to those who listen to all plans: `commits` has this process's own,
    /// `news` also those of other instances that were announced.
    #[must_use]
    pub fn telling(mut self, commits: broadcast::Sender<Committed>, news: broadcast::Sender<Committed>) -> Self {
        self.of_all = Some(OfAll { commits, news });
        self
    }

    /// Whether anybody in this process listens to the plan.
    #[must_use]
    pub fn is_listened_to(&self) -> bool {
        self.committed.receiver_count() > 0
    }

    /// The number of the newest transaction of this process; changes with each.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Wakes the plan's listeners in this process; answers the number of the newest transaction.
    fn announce(&self) -> u64 {
        let sequence = self.sequence();
        self.committed.send_replace(sequence);
        if let Some(OfAll { news, .. }) = &self.of_all {
            let _nobody = news.send(Committed { plan: self.id.clone(), number: sequence });
        }
        sequence
    }

    /// As [`Self::announce`], for a transaction of this process: other instances may need it too.
    pub(super) fn announce_own(&self) {
        let number = self.announce();
        if let Some(OfAll { commits, .. }) = &self.of_all {
            let _nobody = commits.send(Committed { plan: self.id.clone(), number });
        }
    }

    /// Another instance says that it has come to this transaction: the listeners here are woken, once it is in memory.
    /// Answers whether anything was read for it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn heard(&self, number: u64) -> Result<bool, StoreError> {
        if !self.is_listened_to() {
            return Ok(false);
        }
        if self.sequence() >= number {
            self.announce_loaded();
            return Ok(false);
        }
        self.ensure_current().await?;
        self.announce();
        Ok(true)
    }

    /// Reads whether another instance has committed more, and wakes the listeners here if so.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn poll(&self) -> Result<(), StoreError> {
        self.ensure_current().await?;
        self.announce_loaded();
        Ok(())
    }

    /// Announces what another part of this process has loaded since the last announcement; after a restored backup
    /// that is an older state.
    fn announce_loaded(&self) {
        let announced = *self.committed.borrow();
        if announced != self.sequence() {
            self.announce();
        }
    }
}
