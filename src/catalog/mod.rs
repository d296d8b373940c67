//! What is known of services: names, endpoints, versions; merged from the sources and validated.
//!
//! - [`name`]: how a service is called, and what was probably meant
//! - [`model`]: [`Service`], [`Endpoint`], [`Health`]

pub mod model;
pub mod name;

pub use model::{Endpoint, Health, Labels, Port, Service, Setting};
pub use name::{PortRef, ServiceName, ServiceRef};

/// All services known, from all sources; shared by reference between threads.
/// Contract (to be built in `catalog/store.rs`).
pub struct Catalog {}

/// What a caller's name led to.
#[derive(Clone, Debug)]
pub struct Found {
    /// The service as it is now.
    pub service: std::sync::Arc<Service>,
    /// Index of the port meant.
    pub port: usize,
}
