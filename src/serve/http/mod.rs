//! The calls over HTTP: the same messages in proto3 JSON.
//!
//! - `routes`: turns a request into its call and back
//! - `json`: reads and writes messages; `pick_response`: writes a pick's answer
//! - `query`, `body`: read a request's path, query and body
//! - `openapi`: writes `schema/openapi.json`, the OpenAPI description of these calls, for a test

mod body;
mod json;
#[cfg(test)]
mod openapi;
pub(super) mod pick_response;
mod query;
mod routes;

pub(super) use routes::refuse_unread;
pub use routes::{FastPath, PATHS, PRODUCT, router};
