//! What `daemonset/` is applied by: a kustomization and a Helm chart that come to the same.
//!
//! `scripts/daemonset` builds kubectl, helm and promtool and runs these.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod chart;
mod copied;
mod monitoring;
mod render;
