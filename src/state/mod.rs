//! What outlives an agent: the services last known good, which endpoints were put aside, and where
//! its node is.
//!
//! - [`record`]: how it is written down: [`record::State`]
//! - [`services`]: services to and from it; [`judgements`]: who is put aside, and [`locality`]: where
//!   the node is, likewise
//! - [`mod@file`]: the file in the `--state` folder: complete or absent, never half
//! - [`configuration`]: the last one that was good
//! - [`keeper`]: [`Keeper`], which loads it at the start and writes it as things change

pub mod configuration;
pub mod file;
pub mod judgements;
pub mod keeper;
pub mod locality;
pub mod record;
pub mod services;

pub use keeper::{Keeper, Origins};
