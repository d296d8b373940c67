//! What keeps one caller from taking the agent from the others.
//!
//! - [`account`]: what a caller makes the agent hold, out of its share
//! - `tarpit`: how long who is refused again and again waits; `pace`: how often is too often

pub mod account;
pub(super) mod pace;
pub(super) mod tarpit;
