//! Keeps one caller from taking the agent from the others.
//!
//! - [`account`]: the bytes that the agent holds for a caller, out of the caller's share
//! - `tarpit`: slows a caller down that is refused again and again; `rate_limit`: when it begins to

pub mod account;
pub(super) mod rate_limit;
pub(super) mod tarpit;
