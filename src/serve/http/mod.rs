//! The calls over HTTP: the same messages in proto3 JSON.
//!
//! - `router`: finds the call that a method and a path mean
//! - `calls`: reads a request, makes its call, and answers; `response`: writes the answer
//! - `query`, `body`: read a request's path, query and body
//! - `json`: reads and writes messages; `pick_response`: writes a pick's answer
//! - `openapi`: writes `schema/openapi.json`, the OpenAPI description of these calls, for a test

mod body;
mod calls;
mod json;
#[cfg(test)]
mod openapi;
pub(super) mod pick_response;
mod query;
mod response;
mod router;

pub(super) use calls::{answer, pick, refuse_unread, report};
pub use response::PRODUCT;
pub use router::PATHS;
pub(super) use router::{Route, Routed, route};
