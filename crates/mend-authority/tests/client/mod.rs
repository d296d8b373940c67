//! A client that uses at random everything that HTTP/2 and HPACK allow a client.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod cases;
pub(crate) mod choppy;
pub(crate) mod frames;
pub(crate) mod hpack;
pub(crate) mod requests;

/// Whether `http`, and so h2, accepts it.
pub(crate) fn accepted(authority: &[u8]) -> bool {
    http::uri::Authority::try_from(authority).is_ok()
}
