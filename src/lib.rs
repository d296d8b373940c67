//! One agent per node that answers, per request and for any language, which endpoint should serve.
//!
//! In reading order, from what is known to who asks (a module may only use those above it):
//!
//! - [`catalog`]: services, endpoints, their names; merged, validated, versioned
//! - [`policy`]: the settings of a service and where each came from
//! - [`load`]: what was observed: in flight, latency, outcomes
//! - [`plan`]: pure: from catalog, policy and load to groups, weights and scores, each with a reason
//! - [`source`]: where services come from: files, a Kubernetes cluster
//! - [`config`]: the agent's configuration file
//! - [`publish`]: the task that adds counters up and writes tables; leases; wake-up
//! - [`state`]: what outlives an agent: services last known good, endpoints put aside
//! - [`api`]: the messages of `proto/pointsman/v1`
//! - [`socket`]: the Unix socket itself: where it is, whose it is, how it appears
//! - [`serve`]: who asks: gRPC and HTTP on the socket, the admin pages
//! - [`agent`]: wires a process: start-up order, readiness, take-over, shutdown
//! - [`csi`]: how a pod gets a folder with a socket of its own: a plugin of the kubelet
//! - [`sim`]: the shipped planner, publisher and picker on virtual time
//! - [`mod@bench`], [`demo`]: what proves the effect
//! - [`cli`]: arguments and printing
//!
//! The table, the counters and the picker are a crate of their own, `pointsman-table`.

pub mod agent;
pub mod api;
pub mod bench;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod csi;
pub mod demo;
pub mod identity;
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
