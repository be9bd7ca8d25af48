//! What the Graph client puts on the wire and how it reads what comes back, against a scripted server.
//!
//! Single calls only: conversations belong to the simulated tenant.

mod batch;
mod credential;
mod errors;
mod lists;
mod retry;
mod support;
mod tasks;
