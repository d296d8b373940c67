//! The client's end of a stream.
//!
//! - [`delta`]: incremental xDS
//! - [`event`]: what a client learns

pub mod delta;
pub mod event;

pub use delta::DeltaClient;
pub use event::Event;
