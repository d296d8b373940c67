//! All that Prometheus reads of an agent.
//!
//! - `scrape`: every metric; `endpoints`: those of single ones, for whoever wants them
//! - `encode`: how one is written
//!
//! `docs/metrics.md` lists every metric: a test holds the two together.

mod encode;
mod endpoints;
mod scrape;

pub use scrape::{Series, scrape};
