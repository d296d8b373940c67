//! Where a request goes by the mode of its service.

use rand::RngExt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::policy::Mode;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// To an endpoint.
    Balanced,
    /// To the virtual IP.
    VirtualIp,
    /// To the virtual IP. An endpoint is picked as well, to show which it would be.
    Shadow,
}

/// A seed of its own makes the choice of the balanced keys independent of the endpoints that those
/// keys hash to.
const MODE_SEED: u64 = 0x6d6f_6465;

impl Routing {
    /// Draws where a request goes. All requests of one key go the same way.
    pub(super) fn draw(mode: Mode, key: Option<&[u8]>) -> Self {
        match mode {
            Mode::On => Self::Balanced,
            Mode::Off => Self::VirtualIp,
            Mode::Shadow => Self::Shadow,
            Mode::Percent(share) => {
                let drawn = match key {
                    Some(key) => xxh3_64_with_seed(key, MODE_SEED) % 100,
                    None => rand::rng().random_range(0..100),
                };
                if drawn < u64::from(share) { Self::Balanced } else { Self::VirtualIp }
            }
        }
    }
}
