//! One agent per node. It answers, for each request and for any language, which endpoint to use.
//!
//! This list is a tour in reading order. A module may only use those above it. A pick enters at
//! [`serve`], finds its table in [`publish`], and [`plan`] has decided what stands in that table.
//!
//! - [`catalog`]: the services and endpoints that are known: merged from sources, validated, versioned
//! - [`policy`]: the settings of a service and where each came from
//! - [`load`]: what this node observes of endpoints: requests in flight, latency, outcomes
//! - [`plan`]: pure functions from catalog, policy and load to groups, weights and scores, with reasons
//! - [`discovery`]: the catalog as xDS resources, in a form for each kind of client
//! - [`source`]: reads services from files, a Kubernetes cluster or a control plane into the catalog
//! - [`config`]: the agent's configuration file
//! - [`publish`]: the thread that adds counters up and writes tables; wake-ups
//! - [`leases`]: the names by which callers report how their picks went
//! - [`state`]: what the next agent reads: services last known good, ejected endpoints
//! - [`api`]: the messages of `proto/pointsman/v1`, generated
//! - [`socket`]: the Unix socket itself: its address, its lock, its listener
//! - [`serve`]: answers callers: gRPC and HTTP on the socket, and the admin pages
//! - [`agent`]: the agent's process: start-up order, readiness, take-over, shutdown
//! - [`control_plane`]: the control plane's process: it publishes services by xDS
//! - [`csi`]: the kubelet's plugin that gives each pod a folder with its own socket
//! - [`terminal`]: text for people: lines and tables
//! - [`sim`]: a simulator: the planner, publisher and picker of the agent on virtual time
//! - [`mod@bench`], [`demo`]: measure what the agent costs and how well it balances
//! - [`cli`]: the command line: arguments and printing
//!
//! Any module may use `clock`, `identity`, `quota`, `printable` and `log_limit`, which use nothing.
//! The table, the counters and the picker are a separate crate, `pointsman-table`.

pub mod agent;
pub mod api;
pub mod bench;
#[cfg(test)]
mod captured_log;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control_plane;
pub mod csi;
pub mod demo;
pub mod discovery;
pub mod identity;
pub mod leases;
pub mod load;
pub mod log_limit;
pub mod plan;
pub mod policy;
pub mod printable;
pub mod publish;
pub mod quota;
pub mod serve;
pub mod sim;
pub mod socket;
pub mod source;
pub mod state;
pub mod suggest;
pub mod terminal;
