//! stub
use super::call::{Call,Outcome}; use super::error::GraphError; use super::super::state::Tenant;
pub fn route(_c:&Call,_t:&mut Tenant)->Outcome{Err(GraphError::no_segment("x"))}
