//! The state that outlives an agent: the last known services, outlier states, and the node's
//! locality.
//!
//! - [`record`]: its format: [`record::State`]
//! - [`services`]: services to and from it; [`judgements`]: outlier states, and [`locality`]: where
//!   the node is, likewise
//! - [`mod@file`]: the file in the `--state` folder: complete or absent, never half
//! - [`configuration`]: the last valid configuration
//! - [`keeper`]: [`Keeper`], which loads it at the start and writes it after changes

pub mod configuration;
pub mod file;
pub mod judgements;
pub mod keeper;
pub mod locality;
pub mod record;
pub mod services;

pub use keeper::{Keeper, Origins};
