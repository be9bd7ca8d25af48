//! Change notifications: the door, the work behind it, and the keeper of subscriptions.

mod door;
mod journal;
mod journey;
mod keeper;
