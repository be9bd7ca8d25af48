//! Durable work: it ends well although any process may die at any moment. Four rules, and a type for each:
//!
//! 1. **Claim** ([`Claim`], [`Leases`]). Work is a row. An instance writes into it that it works on it before it does. The
//!    claim is a lease: when its time is over the holder counts as dead, and another instance goes on.
//! 2. **Fence** ([`Versioned`]). A row is written under the version in which it was read, so the store refuses a holder
//!    that was overtaken, and it stops.
//! 3. **Attempt, then done** ([`Steps`]). That a step is attempted is stored before its call goes out, and that it is done
//!    after it. A step that was attempted and is not done may have happened: what the attempt noted (the id of a
//!    draft, a before-image) tells how to find out. It is repeated where that does no harm, or given up.
//! 4. **Compensate**. A run that cannot go on turns back and undoes what it did or attempted, the last step first, and
//!    nothing else.
//!
//! Why that is enough: between any two writes a process may die, and the row says what may have happened until then:
//! nothing new before an attempt is stored, perhaps the one step that is attempted, certainly those that are done. Two
//! instances may both believe that they hold a lease, because one stalled or their clocks differ. Only one of them can
//! write, so the other cannot attempt another step. What it has under way may still happen, and is found as what was
//! attempted is. So a lease that ends too early costs time, and never a step twice, as long as each step can be
//! repeated, looked up or given up.
//!
//! | work | its row | its steps |
//! |---|---|---|
//! | a move to another plan | one of its own in [`Runs`] | the copy and the deletion; undone in reverse |
//! | a run of a report schedule | the schedule's | the report and each delivery; a delivery is looked up or given up |
//! | a subscription | the subscription's | none: its reconciler compares what is wanted with what is, every time |

mod claim;
mod runs;
mod steps;
mod versioned;

pub use claim::{Backoff, Claim, Leases};
pub use runs::{Run, Runs, Taken};
pub use steps::{Next, State, Steps};
pub use versioned::Versioned;
