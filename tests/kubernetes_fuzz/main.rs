//! A differential fuzz of the source `kubernetes`. It makes random changes at a real API server, with
//! agents in two zones and with faults. An oracle computes the right answers of the agents.
//!
//! `scripts/kubernetes-fuzz` starts a control plane and runs this, because the fuzz stops the API
//! server now and then. Each sequence of steps has its own namespace and agents. At each check it waits
//! until nothing changes any more, and asks each agent for each name. An answer that differs from the
//! oracle's is a mismatch. The fuzz then shrinks the sequence to the steps that the mismatch needs.

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
