//! Change notifications: the door, the work behind it, and the keeper of subscriptions.

mod endpoint;
mod journal;
mod journey;
mod reconciler;
