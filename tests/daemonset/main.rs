//! The two ways to apply `daemonset/`: a kustomization and a Helm chart with the same result.
//!
//! `scripts/daemonset` builds kubectl, helm and promtool, and runs these tests.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod chart;
mod copied;
mod monitoring;
mod render;
