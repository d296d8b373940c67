//! What is known of services: names, endpoints, versions; merged from the sources and validated.
//!
//! - [`name`]: how a service is called; `similar_names`: what a misspelt name probably means
//! - [`model`]: [`Service`], [`Endpoint`], [`Health`]; [`endpoint_ref`]: one of a list
//! - [`store`]: [`Catalog`], all of it, shared between threads
//! - `name_index`: names of services without what is in them; [`interest`]: what somebody wants to
//!   know of
//! - [`lookup`]: from a caller's name to a service and a port
//! - [`hints`]: from where a source would like an endpoint to be used
//! - [`eligibility`]: which of the endpoints that a source lists are to serve here
//! - [`brake`]: a wrong line or selector doesn't empty a service at once
//! - [`last_good`]: services of an earlier run, until their source has its say; `previous_value`: what held
//!   before a setting that is wrong

pub mod brake;
pub mod change;
pub mod eligibility;
pub mod endpoint_ref;
pub mod hints;
pub mod interest;
mod intern;
pub mod last_good;
pub mod locality;
pub mod lookup;
mod merge;
pub mod model;
pub mod name;
mod name_index;
mod previous_value;
#[cfg(test)]
pub(crate) mod sample;
mod similar_names;
pub mod store;
mod validate;

pub use change::{Change, SourceId};
pub use endpoint_ref::EndpointRef;
pub use interest::{Account, Interest, Interests};
pub(crate) use intern::Interner;
pub use last_good::LastGood;
pub use locality::Locality;
pub use lookup::{Found, LookupError};
pub use model::{
    Eligibility, Endpoint, Family, Health, Hints, Labels, NodeScope, Port, PreviousValue, Service,
    Setting, SettingError,
};
pub use name::{NameError, PortRef, ServiceName, ServiceRef};
pub use store::{BrakeCounts, Catalog};
