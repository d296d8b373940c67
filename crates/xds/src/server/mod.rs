//! The server's end of a stream.
//!
//! - [`delta`]: incremental xDS; [`sotw`]: state of the world, which gRPC speaks
//! - `interest`: what a stream subscribes to in a type; `due`: the names that it may have to send
//! - [`limits`]: what a client may make a stream hold; [`rejection`]: what clients reject

pub mod delta;
mod due;
mod interest;
pub mod limits;
pub mod rejection;
pub mod sotw;

pub use delta::DeltaStream;
pub use limits::RequestError;
pub use rejection::Rejection;
pub use sotw::SotwStream;
