//! HTTP/2 frames as bytes (RFC 9113, section 4), for what no client library would send.

/// The first bytes of a connection.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame type.
pub const DATA: u8 = 0;
/// A frame type.
pub const HEADERS: u8 = 1;
/// A frame type.
pub const RST_STREAM: u8 = 3;
/// A frame type.
pub const SETTINGS: u8 = 4;
/// A frame type.
pub const PING: u8 = 6;
/// A frame type.
pub const CONTINUATION: u8 = 9;

/// A flag.
pub const END_STREAM: u8 = 1;
/// A flag.
pub const END_HEADERS: u8 = 4;

/// `GET http://x/v1/services`, from HPACK's static table and one literal.
pub const LIST: &[u8] = b"\x82\x86\x44\x0c/v1/services\x41\x01x";
/// `POST http://x/v1/pick`.
pub const PICK: &[u8] = b"\x83\x86\x44\x08/v1/pick\x41\x01x";

/// The bytes of a frame.
///
/// # Panics
/// The payload is too long for a frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length < 1 << 24);
    let length = length.expect("a payload that a frame can have").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
