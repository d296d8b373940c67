//! The Unix socket itself, whoever serves it. Uses nothing else of this crate.
//!
//! - [`address`]: where it is
//! - [`lock`]: whose it is: one agent at a time
//! - [`listener`]: how it appears, complete; [`group`]: whose group it has

pub mod address;
pub mod group;
pub mod listener;
pub mod lock;
