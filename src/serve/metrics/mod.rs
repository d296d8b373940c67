//! The metrics of an agent, for Prometheus.
//!
//! - `scrape`: all metrics; `endpoints`: the optional metrics of single endpoints
//! - `encode`: writes a metric
//!
//! `docs/metrics.md` lists every metric. A test compares the two.

mod encode;
mod endpoints;
mod scrape;

pub use scrape::{Series, scrape};
