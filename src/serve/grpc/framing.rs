//! gRPC's framing of messages, and its errors.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Body;
use prost::Message;
use tonic::{
    Code, Status,
    codec::{DecodeBuf, Decoder, Streaming},
};

use super::protobuf_encode;
use crate::serve::{Error, Violation, limits};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Bytes before a message: the compression flag and the length.
pub(super) const PREFIX: usize = 5;

/// The messages of a request.
pub(super) fn messages<T, D, B>(decoder: D, body: B) -> Streaming<T>
where
    D: Decoder<Item = T, Error = Status> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError> + Send,
{
    Streaming::new_request(decoder, body, None, Some(limits::MAX_REQUEST))
}

/// The status for a message that could not be read.
pub(super) fn message_status(status: Status) -> Status {
    match status.code() {
        // tonic's code for a message that is too long.
        Code::OutOfRange => Error::TooLarge { limit: limits::MAX_REQUEST }.status(),
        _ => status,
    }
}

/// A message with its prefix.
pub(super) fn framed<T: Message>(message: &T) -> Bytes {
    frame(message.encoded_len(), |frame| {
        message.encode(frame).expect("a buffer that grows has room for everything");
    })
}

/// The same for data that is no generated message.
pub(super) fn written(message: &impl protobuf_encode::Encode) -> Bytes {
    frame(message.length(), |frame| protobuf_encode::write(message, frame))
}

fn frame(length: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = Vec::with_capacity(PREFIX + length);
    frame.extend([0; PREFIX]);
    write(&mut frame);
    complete(&mut frame);
    frame.into()
}

/// Writes the length of a message into the room that was left before it.
pub(super) fn complete(frame: &mut [u8]) {
    let length = u32::try_from(frame.len() - PREFIX).expect("no answer has 4 GiB");
    frame[1..PREFIX].copy_from_slice(&length.to_be_bytes());
}

/// The trailers that end a stream.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Unreachable in practice: the message and the details are encoded as header values.
        trailers.insert(GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    trailers
}

/// Decodes a message; its error names the field that can't be read.
pub(super) struct ProstDecoder<T>(PhantomData<fn() -> T>);

impl<T> ProstDecoder<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Default> Decoder for ProstDecoder<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::decode(bytes).map(Some).map_err(|error| malformed(&error).status())
    }
}

pub(super) struct RawDecoder;

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(bytes.copy_to_bytes(bytes.remaining())))
    }
}

/// From prost's `failed to decode Protobuf message: PickRequest.service: invalid string value...`.
pub(super) fn malformed(error: &prost::DecodeError) -> Error {
    let text = error.to_string();
    let text = text.strip_prefix("failed to decode Protobuf message: ").unwrap_or(&text);
    let field = text.split_once(": ").and_then(|(path, _)| path.split_once('.'));
    let (field, wrong) = match field {
        Some((_, field)) => (field, &text[text.find(": ").map_or(0, |at| at + 2)..]),
        None => ("", text),
    };
    Violation::new(field, format!("can't be read as protobuf: {wrong}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1;

    #[test]
    fn a_field_that_is_not_utf_8_is_named() {
        // Field 1, two bytes, neither of them UTF-8.
        let error = v1::PickRequest::decode(&[0x0a, 2, 0xff, 0xfe][..]).unwrap_err();
        let Error::Invalid(violations) = malformed(&error) else { panic!("{error}") };
        assert_eq!(violations[0].field, "service");
        assert!(violations[0].wrong.contains("UTF-8"), "{violations:?}");
    }

    #[test]
    fn a_message_cut_short_is_an_invalid_argument() {
        let error = v1::PickRequest::decode(&[0x0a, 200][..]).unwrap_err();
        assert_eq!(malformed(&error).code(), Code::InvalidArgument);
    }
}
