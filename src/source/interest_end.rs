//! How long a source follows a service after the last caller asked for it.

use std::time::Duration;

use rand::RngExt;

use crate::catalog::{Catalog, ServiceName};

/// A service that nobody asks for during this time is no longer followed. Services of occasional
/// callers (a job every five minutes) stay. Range 1 min to 1 day.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Random extra time, as a part of it: services that were first asked for at the same time do not
/// expire at the same time.
const FORGET_SPREAD: f64 = 0.25;

/// Completes when nobody has asked for the service for a while. Its interest has ended then.
pub(super) async fn until_nobody_asks(catalog: &Catalog, name: &ServiceName) {
    loop {
        let longer = rand::rng().random_range(1.0..=1.0 + FORGET_SPREAD);
        tokio::time::sleep(FORGET_AFTER.mul_f64(longer)).await;
        if catalog.expire_interest(name) {
            return;
        }
    }
}
