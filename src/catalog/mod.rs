//! What is known of services: names, endpoints, versions; merged from the sources and validated.
//!
//! - [`name`]: how a service is called; [`near`]: what was probably meant
//! - [`model`]: [`Service`], [`Endpoint`], [`Health`]; [`endpoint_ref`]: one of a list
//! - [`store`]: [`Catalog`], all of it, shared between threads
//! - `directory`: names of services without what is in them; [`interest`]: what somebody wants to
//!   know of
//! - [`lookup`]: from a caller's name to a service and a port
//! - [`hints`]: from where a source would like an endpoint to be used
//! - [`terms`]: which of the endpoints that a source lists are to serve here
//! - [`brake`]: a wrong line or selector doesn't empty a service at once
//! - [`last_good`]: services of an earlier run, until their source has its say

pub mod brake;
mod directory;
pub mod endpoint_ref;
pub mod hints;
pub mod interest;
mod intern;
pub mod last_good;
pub mod lookup;
mod merge;
pub mod model;
pub mod name;
pub mod near;
#[cfg(test)]
pub(crate) mod sample;
pub mod store;
pub mod terms;
mod validate;

pub use endpoint_ref::EndpointRef;
pub use hints::Hints;
pub use interest::{Account, Interest, Interests};
pub(crate) use intern::Interner;
pub use last_good::LastGood;
pub use lookup::{Found, LookupError};
pub use model::{Endpoint, Health, Labels, Port, Service, Setting};
pub use name::{NameError, PortRef, ServiceName, ServiceRef};
pub use store::{BrakeCounts, Catalog, Change, SourceId};
pub use terms::{Family, Reach, Terms};
