//! Kubernetes objects, whether a cluster's API server or a file brings them.
//!
//! - [`service`]: what a Service object says; [`endpoint_slice`]: what an EndpointSlice says
//! - [`slice_union`]: services made of both

pub mod endpoint_slice;
pub mod service;
pub mod slice_union;
