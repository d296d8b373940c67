//! The settings of a service, and where each came from.
//!
//! - [`Policy`]: what holds for one service
//! - [`settings`]: every setting by name, with its range
//! - [`resolve`](resolve::resolve): which of the values said about a service holds
//! - [`problems`](problems::problems): what is wrong in them

pub mod model;
pub mod problems;
pub mod resolve;
pub mod settings;

pub use model::{Mode, OutlierPolicy, Policy, RetryPolicy, StrategyName, ZoneMode};
pub use problems::{Problems, problems};
pub use resolve::{ConfigPolicies, Layers, Origin, Overridden, Resolved, resolve};
