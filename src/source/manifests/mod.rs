//! Kubernetes objects, whether a cluster's API server or a file brings them.
//!
//! - [`service`]: what a Service object says; `fallback`: which services stand in for it; [`endpoint_slice`]: what an EndpointSlice says
//! - [`slice_union`]: services made of both

pub mod endpoint_slice;
mod fallback;
pub mod service;
pub mod slice_union;
