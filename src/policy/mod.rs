//! The settings of a service, and where each came from.
//!
//! - [`Policy`]: how one service is balanced
//! - [`settings`]: every setting by name, with its range
//! - [`resolve`](resolve::resolve): which of several values of a setting holds
//! - [`problems`](problems::problems): invalid settings of a service

pub mod model;
pub mod problems;
pub mod resolve;
pub mod settings;

pub use model::{Mode, OutlierPolicy, Policy, RetryPolicy, StrategyName, ZoneMode};
pub use problems::{Problems, problems};
pub use resolve::{ConfigPolicies, Layers, Origin, Overridden, Resolved, resolve};
