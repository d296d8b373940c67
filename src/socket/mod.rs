//! The Unix socket itself. This module uses nothing else of the crate.
//!
//! - [`address`]: the socket's path or URI
//! - [`lock`]: lets one agent at a time have the socket
//! - [`listener`]: makes the listening socket; [`group`]: finds the number of its group
//! - [`closing`]: waits for the sockets of a process that was killed
//! - [`descriptors`]: sends messages with file descriptors

// This crate is a program, not a library: most names need no doc comment.
#![allow(missing_docs)]

pub mod address;
pub mod closing;
pub mod descriptors;
pub mod group;
pub mod listener;
pub mod lock;
