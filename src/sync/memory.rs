//! A budget for what all replicas of a process take at hand: beyond it, the plans that nobody has asked for for longest are
//! put away, until somebody does. Questions about all plans and the engine's own reads do not count as asking for one.
//!
//! The ledger is locked last: a thread that enters something in it may hold the rows of a plan, and a thread that holds
//! the ledger takes no rows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use super::handle::PlanHandle;
use crate::ids::PlanId;

/// A budget, and who has how much of it.
pub struct Memory {
    /// In bytes.
    budget: usize,
    /// Counts uses of plans: who was used later has the greater number.
    uses: AtomicU64,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    plans: HashMap<PlanId, (Weak<PlanHandle>, usize)>,
    total: usize,
}

impl Memory {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self { budget, uses: AtomicU64::new(1), ledger: Mutex::default() })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Bytes that all plans together take, about.
    #[must_use]
    pub fn total(&self) -> usize {
        self.ledger().total
    }

    /// The number of a use that begins now.
    pub(super) fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a plan in from now on.
    pub fn admit(&self, plan: &Arc<PlanHandle>) {
        let mut ledger = self.ledger();
        let known = ledger.plans.insert(plan.id.clone(), (Arc::downgrade(plan), 0));
        ledger.total = ledger.total.saturating_sub(known.map_or(0, |(_, bytes)| bytes));
    }

    /// Notes what a plan takes.
    pub(super) fn enter(&self, plan: &PlanId, bytes: usize) {
        self.ledger().enter(plan, bytes);
    }

    /// While all plans together take too much, puts those away that were not asked for for longest, `but` one.
    pub(super) fn make_room(&self, but: &PlanId) {
        for other in self.chosen(but) {
            other.put_away();
        }
    }

    /// Which plans are to be put away.
    fn chosen(&self, but: &PlanId) -> Vec<Arc<PlanHandle>> {
        let mut ledger = self.ledger();
        if ledger.total <= self.budget {
            return Vec::new();
        }
        ledger.forget_gone();
        let others: Vec<(Arc<PlanHandle>, usize)> =
            ledger.plans.values().filter_map(|(other, bytes)| Some((other.upgrade()?, *bytes))).collect();
        // Somewhat more than needed, so that not each further task has a plan put away.
        let mut excess = ledger.total.saturating_sub(self.budget - self.budget / 16);
        drop(ledger);
        let mut others: Vec<_> =
            others.into_iter().filter(|(other, _)| other.id != *but && other.is_at_hand()).collect();
        others.sort_by_cached_key(|(other, _)| other.last_use());
        let chosen = others.into_iter().take_while(|(_, bytes)| {
            let goes_on = excess > 0;
            excess = excess.saturating_sub(*bytes);
            goes_on
        });
        chosen.map(|(other, _)| other).collect()
    }
}

impl Ledger {
    fn enter(&mut self, plan: &PlanId, bytes: usize) {
        if let Some((_, known)) = self.plans.get_mut(plan) {
            self.total = (self.total + bytes).saturating_sub(*known);
            *known = bytes;
        }
    }

    /// A plan that the deployment has dropped takes nothing any more.
    fn forget_gone(&mut self) {
        let mut gone = 0;
        self.plans.retain(|_, (plan, bytes)| {
            let stays = plan.strong_count() > 0;
            gone += if stays { 0 } else { *bytes };
            stays
        });
        self.total = self.total.saturating_sub(gone);
    }
}
