//! Who asks: gRPC and HTTP/JSON on one Unix socket, and the admin pages beside it.
//!
//! - [`address`], [`claim`], [`listener`], [`group`]: where the socket is, whose it is, how it
//!   appears

pub mod address;
pub mod claim;
pub mod group;
pub mod listener;
