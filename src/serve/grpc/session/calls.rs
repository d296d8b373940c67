//! Decodes the calls of one message one by one: one that can't be read fails alone.

use bytes::Bytes;
use prost::{
    Message,
    encoding::{DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field},
};

use crate::{
    api::v1,
    serve::{Error, Violation, grpc::framing, limits},
};

/// An encoded `SessionRequest`.
#[derive(Default)]
pub(super) struct Calls {
    message: Bytes,
    read: usize,
    taken: usize,
}

impl Calls {
    /// The tag of `SessionRequest.calls`.
    const TAG: u32 = 1;

    pub(super) fn of(message: Bytes) -> Self {
        Self { message, read: 0, taken: 0 }
    }

    /// The next call, still encoded; `None` after the last.
    ///
    /// # Errors
    /// The rest of the message can't be read.
    pub(super) fn next(&mut self) -> Result<Option<EncodedCall<'_>>, Error> {
        let mut rest = &self.message[self.read..];
        while !rest.is_empty() {
            let wrong = |error| framing::malformed(&error);
            let (tag, wire_type) = decode_key(&mut rest).map_err(wrong)?;
            if tag != Self::TAG {
                skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(wrong)?;
                continue;
            }
            check_wire_type(WireType::LengthDelimited, wire_type).map_err(wrong)?;
            let length = decode_varint(&mut rest).map_err(wrong)?;
            let call =
                usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
            let Some((call, rest)) = call else {
                let wrong = format!("has {length} bytes, of which {} were sent", rest.len());
                return Err(Violation::new(format!("calls[{}]", self.taken), wrong).into());
            };
            self.read = self.message.len() - rest.len();
            self.taken += 1;
            return Ok(Some(EncodedCall { call, over: self.taken > limits::MAX_SESSION_CALLS }));
        }
        self.read = self.message.len();
        Ok(None)
    }
}

/// One call, not decoded yet.
pub(super) struct EncodedCall<'a> {
    call: &'a [u8],
    /// It is beyond the limit of calls in one message.
    over: bool,
}

impl EncodedCall<'_> {
    /// Decodes the call.
    ///
    /// # Errors
    /// The id of the call, and what is wrong with it.
    pub(super) fn read(&self) -> Result<v1::SessionCall, (u64, Error)> {
        if self.over {
            let limit = limits::MAX_SESSION_CALLS;
            let error = Error::TooMany { what: "calls of one message", limit };
            return Err((number(self.call), error));
        }
        v1::SessionCall::decode(self.call)
            .map_err(|error| (number(self.call), framing::malformed(&error)))
    }
}

/// The part of a `SessionCall` that an error's answer needs.
#[derive(Clone, PartialEq, prost::Message)]
struct CallId {
    #[prost(uint64, tag = "1")]
    id: u64,
}

/// The id of a call that can't be read; 0 if the id comes after the mistake.
fn number(mut call: &[u8]) -> u64 {
    let mut numbered = CallId::default();
    // Fields before the mistake are kept.
    numbered.merge(&mut call).ok();
    numbered.id
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::Index};

    use super::*;

    fn call() -> impl Strategy<Value = v1::SessionCall> {
        let pick = ("[a-z.]{0,20}", any::<u32>(), "[a-zé]{0,20}").prop_map(
            |(service, count, hash_key)| {
                let request = v1::PickRequest { service, count, hash_key, ..Default::default() };
                v1::session_call::Call::Pick(request)
            },
        );
        let report = vec(("[A-Za-z._]{0,22}", any::<i32>()), 0..3).prop_map(|reports| {
            let report = |(lease, outcome)| v1::Report { lease, outcome, ..Default::default() };
            let reports = reports.into_iter().map(report).collect();
            v1::session_call::Call::Report(v1::ReportRequest { reports })
        });
        (any::<u64>(), option::of(prop_oneof![pick, report]))
            .prop_map(|(id, call)| v1::SessionCall { id, call })
    }

    /// A valid message with some bytes changed, inserted or removed.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let changes = vec((any::<Index>(), 0..3, any::<u8>()), 0..4);
        (vec(call(), 0..5), changes).prop_map(|(calls, changes)| {
            let mut message = v1::SessionRequest { calls }.encode_to_vec();
            for (place, how, byte) in changes {
                let place = place.index(message.len() + 1);
                match how {
                    0 => message.insert(place, byte),
                    1 if place < message.len() => message[place] = byte,
                    2 if place < message.len() => drop(message.remove(place)),
                    _ => {}
                }
            }
            message
        })
    }

    /// All calls of a message; `None` if any part of it can't be read.
    fn read(message: &[u8]) -> Option<Vec<v1::SessionCall>> {
        let mut calls = Calls::of(Bytes::copy_from_slice(message));
        let mut all = Vec::new();
        loop {
            match calls.next() {
                Ok(Some(call)) => all.push(call.read().ok()?),
                Ok(None) => return Some(all),
                Err(_) => return None,
            }
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_a_whole_message_has(message in message()) {
            let whole = v1::SessionRequest::decode(&*message).ok().map(|whole| whole.calls);
            prop_assert_eq!(read(&message), whole);
        }

        #[test]
        fn any_bytes_are_read_or_refused_alike(message in vec(any::<u8>(), 0..64)) {
            let whole = v1::SessionRequest::decode(&*message).ok().map(|whole| whole.calls);
            prop_assert_eq!(read(&message), whole);
        }
    }
}
