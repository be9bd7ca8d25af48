//! The shapes of new Planner resources, for whoever fills a tenant without going through requests.

pub use super::buckets::blank as bucket;
pub use super::details::{blank as task_details, summary};
pub use super::plans::{blank as plan, blank_details as plan_details};
pub use super::tasks::blank as task;
