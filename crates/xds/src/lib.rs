//! The xDS protocol without IO.

#![forbid(unsafe_code)]

pub mod proto;
