//! The source `kubernetes` against a real API server with the real controller of EndpointSlices.
//!
//! `scripts/kubernetes` starts the control plane and runs these tests. There are no nodes, so the tests
//! decide what becomes of pods. Each test has its own namespace and its own agent.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod changes;
mod cluster;
mod events;
mod in_a_pod;
mod lines;
mod locality;
mod on_demand;
mod outage;
mod proxy;
mod purpose;
mod rights;
mod taint;
mod through_control_plane;
