//! The agent as a process: its socket, its command line, and what it makes of bad input.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod bad_calls;
mod bad_names;
mod command_line;
mod grpc;
mod http;
mod leases;
mod lifetime;
mod signals;
mod socket;
mod state;
mod takeover;
