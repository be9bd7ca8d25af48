//! The shapes of new Planner resources, for code that fills a tenant without requests.

pub use super::buckets::blank as bucket;
pub use super::details::{blank as task_details, summary};
pub use super::plans::{blank as plan, blank_details as plan_details};
pub use super::tasks::blank as task;
