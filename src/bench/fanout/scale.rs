//! How much is measured.

use std::time::Duration;

/// The services that each agent follows.
pub(super) const FOLLOWED: usize = 50;
/// The time until memory that only the start needed is freed.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

pub(super) struct Scale {
    pub(super) agents: usize,
    pub(super) services: usize,
    /// The pods of the large service.
    pub(super) pods: usize,
    /// Single changes.
    pub(super) single: usize,
    /// Of the restart, in seconds.
    pub(super) length: f64,
}
