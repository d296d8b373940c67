//! The server's end of a stream.
//!
//! - [`delta`]: incremental xDS; [`sotw`]: state of the world, which gRPC speaks
//! - `interest`: what a stream subscribes to in a type; `due`: the names that it may have to send
//! - [`pieces`]: how a response is encoded
//! - [`limits`]: what a client may make a stream hold; [`rejection`]: what clients reject
//! - [`status`]: how a subscription is doing

pub mod delta;
mod due;
mod interest;
pub mod limits;
pub mod pieces;
pub mod rejection;
pub mod sotw;
pub mod status;

pub use delta::DeltaStream;
pub use limits::RequestError;
pub use pieces::InPieces;
pub use rejection::Rejection;
pub use sotw::SotwStream;
pub use status::{Answer, SubscriptionStatus};
