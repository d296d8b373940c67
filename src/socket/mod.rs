//! The Unix socket itself, whoever serves it. Uses nothing else of this crate.
//!
//! - [`address`]: where it is
//! - [`lock`]: whose it is: one agent at a time
//! - [`listener`]: how it appears, complete; [`group`]: whose group it has
//! - [`descriptors`]: messages over it that bring open files along

pub mod address;
pub mod descriptors;
pub mod group;
pub mod listener;
pub mod lock;
