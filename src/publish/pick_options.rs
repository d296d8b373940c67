//! What a caller asks of a pick.

use std::net::SocketAddr;

use crate::identity::Identity;

/// The options of one pick.
#[derive(Clone, Copy, Debug)]
pub struct PickOptions<'a> {
    pub exclude: &'a [SocketAddr],
    /// The key to hash by.
    pub key: Option<&'a [u8]>,
    /// The number of distinct endpoints, at least 1. A pick gets fewer if there are no more.
    pub count: u32,
    /// The cost of the request, at least 1.
    pub cost: u32,
    /// The identity on whose behalf the caller picks.
    pub caller: Identity,
}
