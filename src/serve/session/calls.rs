//! The calls of one message, as they came: one that can't be read fails by itself.

use bytes::Bytes;
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use super::super::{Error, Violation, grpc, limits};
use crate::api::v1;

/// A `SessionRequest`, whose calls are read one by one.
#[derive(Default)]
pub(super) struct Calls {
    message: Bytes,
    /// Bytes read so far.
    read: usize,
    /// Calls read so far.
    taken: usize,
}

impl Calls {
    /// The tag of `SessionRequest.calls`.
    const TAG: u32 = 1;

    pub(super) fn of(message: Bytes) -> Self {
        Self { message, read: 0, taken: 0 }
    }

    /// The next one, as it was written; none: that was all.
    ///
    /// # Errors
    /// No more can be made of the message.
    pub(super) fn next(&mut self) -> Result<Option<Written<'_>>, Error> {
        let mut rest = &self.message[self.read..];
        while !rest.is_empty() {
            let wrong = |error| grpc::malformed(&error);
            let (tag, wire_type) = decode_key(&mut rest).map_err(wrong)?;
            if (tag, wire_type) != (Self::TAG, WireType::LengthDelimited) {
                skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(wrong)?;
                continue;
            }
            let length = decode_varint(&mut rest).map_err(wrong)?;
            let call =
                usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
            let Some((call, rest)) = call else {
                let wrong = format!("has {length} bytes, of which {} were sent", rest.len());
                return Err(Violation::new(format!("calls[{}]", self.taken), wrong).into());
            };
            self.read = self.message.len() - rest.len();
            self.taken += 1;
            return Ok(Some(Written { call, over: self.taken > limits::MAX_SESSION_CALLS }));
        }
        self.read = self.message.len();
        Ok(None)
    }
}

/// One call, not read yet.
pub(super) struct Written<'a> {
    call: &'a [u8],
    /// There were as many as may be before it.
    over: bool,
}

impl Written<'_> {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, under the number that it came with.
    pub(super) fn read(&self) -> Result<v1::SessionCall, (u64, Error)> {
        if self.over {
            let limit = limits::MAX_SESSION_CALLS;
            let error = Error::TooMany { what: "calls of one message", limit };
            return Err((number(self.call), error));
        }
        v1::SessionCall::decode(self.call)
            .map_err(|error| (number(self.call), grpc::malformed(&error)))
    }
}

/// As much of a `SessionCall` as its answer needs.
#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(uint64, tag = "1")]
    id: u64,
}

/// The number of a call that is not read otherwise; 0 where it comes after what can't be read.
fn number(mut call: &[u8]) -> u64 {
    let mut numbered = Number::default();
    // What was read before the mistake stays.
    numbered.merge(&mut call).ok();
    numbered.id
}
