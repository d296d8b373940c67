//! Services, their endpoints and names: merged from all sources, validated, versioned.
//!
//! - [`name`]: how a service is called; `similar_names`: services that a misspelt name may mean
//! - [`model`]: [`Service`], [`Endpoint`], [`Health`]; [`endpoint_ref`]: one endpoint of a shared list
//! - [`locality`]: where an agent runs
//! - [`change`]: what a source tells; [`store`]: [`Catalog`], all services, shared between threads
//! - [`progress`]: how far the sources have read
//! - `name_index`: names of services whose endpoints are not known; [`interest`]: which services
//!   callers ask for
//! - [`lookup`]: from a caller's name to a service and a port
//! - [`hints`]: the zones or nodes from which a source wants an endpoint to be used
//! - [`eligibility`]: which of the listed endpoints may serve; `own_node`: services for callers on an
//!   endpoint's own node; `fallback`: services that stand in for another
//! - [`brake`]: keeps endpoints for a minute when a source drops most of them at once; `brakes`: those of
//!   all services
//! - [`last_good`]: services of an earlier run, until their source answers; `previous_value`: the value
//!   of a setting before an invalid one

pub mod brake;
mod brakes;
pub mod change;
pub mod eligibility;
pub mod endpoint_ref;
mod fallback;
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
mod own_node;
mod previous_value;
pub mod progress;
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
    Eligibility, Endpoint, Family, Health, Hints, Labels, MOST_FALLBACKS, NodeScope, Port,
    PreviousValue, Service, Setting, SettingError,
};
pub use name::{NameError, PortRef, ServiceName, ServiceRef};
pub use store::{BrakeCounts, Catalog};
