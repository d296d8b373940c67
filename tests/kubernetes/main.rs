//! The source `kubernetes` against a real API server with the real controller of EndpointSlices.
//!
//! `scripts/kubernetes` starts the control plane and runs these; there are no nodes, so that the
//! tests say what becomes of pods. Each test has a namespace and an agent of its own.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod away;
mod changes;
mod cluster;
mod here;
mod in_a_pod;
mod lines;
mod on_demand;
mod proxy;
mod purpose;
mod rights;
mod taint;
