//! The agent as a process: its socket, its command line, and its answers to bad input.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod authority;
mod bad_calls;
mod bad_names;
mod check;
mod command_line;
mod descriptors;
mod floods;
mod grpc;
mod health_and_reflection;
mod http;
mod isolation;
mod leases;
mod lifetime;
mod misspelt;
mod modes;
mod openapi;
mod pods;
mod quotas;
mod session;
mod settings;
mod signals;
mod socket;
mod state;
mod takeover;
mod watch;
mod witnesses;
mod wrong_settings;
mod zones;
