//! A differential fuzz of the source `kubernetes`: random changes of a real API server, agents in two
//! zones, faults; and an oracle that says what the agents should answer.
//!
//! `scripts/kubernetes-fuzz` starts a control plane and runs this, since the API server is stopped
//! now and then. A sequence of steps is played in a namespace of its own, by agents of its own. Now and
//! then it waits until all is quiet, and asks each agent for each name; whoever answers something else
//! than the oracle has made a mismatch, and the sequence is shrunk to the steps that it takes.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../kubernetes/cluster.rs"]
#[allow(dead_code, reason = "most of it makes objects, which are random here")]
mod cluster;
#[path = "../kubernetes/proxy.rs"]
#[allow(dead_code, reason = "nothing hangs here")]
mod proxy;
#[path = "../support/mod.rs"]
mod support;

mod ask;
mod objects;
mod operation;
mod oracle;
mod random;
mod run;
mod shrink;
mod stage;
