//! The settings of a service, and where each came from.
//!
//! - [`Policy`]: how one service is balanced
//! - [`settings`]: every setting by name; [`kind`]: how the text of each kind is read and printed;
//!   `patterns`: what the texts may be, for the JSON Schemas
//! - [`resolve`](resolve::resolve): which of several values of a setting holds
//! - [`problems`](problems::problems): invalid settings of a service

pub mod kind;
pub mod model;
pub(crate) mod patterns;
pub mod problems;
pub mod resolve;
pub mod settings;

pub use kind::Kind;
pub use model::{Mode, OutlierPolicy, Policy, RetryPolicy, StrategyName, ZoneMode};
pub use problems::{Problems, problems};
pub use resolve::{ConfigPolicies, Layers, Origin, Overridden, Resolved, resolve};
