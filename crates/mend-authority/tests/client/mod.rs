//! A client that makes use of all that HTTP/2 and HPACK leave to a client, at random.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod cases;
pub(crate) mod choppy;
pub(crate) mod frames;
pub(crate) mod hpack;
pub(crate) mod requests;

/// What `http`, and so h2, says of it.
pub(crate) fn accepted(authority: &[u8]) -> bool {
    http::uri::Authority::try_from(authority).is_ok()
}
