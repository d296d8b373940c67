//! The calls over HTTP: the same messages in proto3 JSON.
//!
//! - `routes`: from a request to its call and back
//! - `json`: how messages are read and written; `pick_response`: how a pick's answer is
//! - `openapi`: all of it, described

mod json;
mod openapi;
pub(super) mod pick_response;
mod routes;

pub(super) use routes::refuse_unread;
pub use routes::{Often, PATHS, PRODUCT, router};
