//! The calls over HTTP: the same messages in proto3 JSON.
//!
//! - `routes`: from a request to its call and back
//! - `json`: how messages are read and written; `pick_response`: how a pick's answer is
//! - `query`, `body`: what a request says in its path and behind its head
//! - `openapi`: all of it, described

mod body;
mod json;
mod openapi;
pub(super) mod pick_response;
mod query;
mod routes;

pub(super) use routes::refuse_unread;
pub use routes::{FastPath, PATHS, PRODUCT, router};
