//! Change notifications: the endpoint, the worker, and the reconciler of subscriptions.

mod endpoint;
mod journal;
mod journey;
mod reconciler;
