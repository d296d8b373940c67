//! Encodes a response in pieces, so that streams share the bodies of large resources.
//!
//! One buffer for the whole response would copy each body once for each stream, and a stream keeps the
//! buffer of its largest response. With a thousand streams this is most of the processor time and memory.

use std::mem;

use bytes::{Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::proto::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource},
    google::protobuf::Any,
};

/// A body of so many bytes is a piece of its own. Below it, a copy costs less than another piece.
const SHARED: usize = 4096;

/// A message that can be encoded in pieces.
pub trait InPieces: Message {
    /// The encoded message behind `head`: the pieces after one another. Bodies are shared, not copied.
    fn into_pieces(self, head: BytesMut) -> Vec<Bytes>;
}

impl InPieces for DeltaDiscoveryResponse {
    fn into_pieces(mut self, head: BytesMut) -> Vec<Bytes> {
        let resources = mem::take(&mut self.resources);
        let mut pieces = Pieces::new(head);
        // Fields may come in any order.
        pieces.message(&self);
        for resource in resources {
            pieces.resource(2, resource);
        }
        pieces.all()
    }
}

impl InPieces for DiscoveryResponse {
    fn into_pieces(mut self, head: BytesMut) -> Vec<Bytes> {
        let resources = mem::take(&mut self.resources);
        let mut pieces = Pieces::new(head);
        pieces.message(&self);
        for resource in resources {
            pieces.any(2, resource);
        }
        pieces.all()
    }
}

struct Pieces {
    done: Vec<Bytes>,
    last: BytesMut,
}

impl Pieces {
    fn new(head: BytesMut) -> Self {
        Self { done: Vec::new(), last: head }
    }

    fn all(mut self) -> Vec<Bytes> {
        if !self.last.is_empty() {
            self.done.push(self.last.freeze());
        }
        self.done
    }

    fn message(&mut self, message: &impl Message) {
        // A BytesMut grows as needed, so that there is always room.
        message.encode(&mut self.last).expect("room for it");
    }

    /// The beginning of a field of this length.
    fn field(&mut self, tag: u32, length: usize) {
        encode_key(tag, WireType::LengthDelimited, &mut self.last);
        encode_varint(length as u64, &mut self.last);
    }

    fn body(&mut self, body: Bytes) {
        if body.len() < SHARED {
            self.last.extend_from_slice(&body);
            return;
        }
        self.done.push(mem::take(&mut self.last).freeze());
        self.done.push(body);
    }

    fn resource(&mut self, tag: u32, mut resource: Resource) {
        let body = resource.resource.take();
        let of_body = body.as_ref().map_or(0, |body| field_len(2, body.encoded_len()));
        self.field(tag, resource.encoded_len() + of_body);
        self.message(&resource);
        if let Some(body) = body {
            self.any(2, body);
        }
    }

    fn any(&mut self, tag: u32, mut any: Any) {
        self.field(tag, any.encoded_len());
        let value = mem::take(&mut any.value);
        self.message(&any);
        if !value.is_empty() {
            self.field(2, value.len());
            self.body(value);
        }
    }
}

fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(length: usize) -> Any {
        Any { type_url: "type.googleapis.com/t".into(), value: vec![7; length].into() }
    }

    fn resource(name: &str, body: Option<Any>) -> Resource {
        let version = "0123456789abcdef".into();
        Resource { name: name.into(), version, resource: body, ..Resource::default() }
    }

    /// The pieces of a message, and the same message, read from all of them.
    fn through<M: InPieces + Default + Clone>(message: &M) -> (Vec<Bytes>, M) {
        let pieces = message.clone().into_pieces(BytesMut::from(&b"head"[..]));
        let all = pieces.concat();
        assert_eq!(&all[..4], b"head");
        assert_eq!(all.len(), 4 + message.encoded_len());
        (pieces, M::decode(&all[4..]).unwrap())
    }

    #[test]
    fn the_pieces_are_the_message_whatever_the_sizes() {
        for length in [0, 1, 127, 128, SHARED - 1, SHARED, 3 * SHARED] {
            let delta = DeltaDiscoveryResponse {
                system_version_info: "1".into(),
                resources: vec![
                    resource("a", Some(any(length))),
                    resource("b", None),
                    resource("", Some(Any::default())),
                    resource("c", Some(any(5))),
                ],
                type_url: "type.googleapis.com/t".into(),
                nonce: "9".into(),
                removed_resources: vec!["d".into(), "e".into()],
                ..DeltaDiscoveryResponse::default()
            };
            assert_eq!(through(&delta).1, delta);
            let all = DiscoveryResponse {
                version_info: "1".into(),
                resources: vec![any(length), Any::default(), any(length)],
                ..DiscoveryResponse::default()
            };
            assert_eq!(through(&all).1, all);
        }
        let empty = DeltaDiscoveryResponse::default();
        assert_eq!(through(&empty).1, empty);
    }

    #[test]
    fn large_bodies_are_shared() {
        let body = any(SHARED);
        let delta = DeltaDiscoveryResponse {
            resources: vec![
                resource("a", Some(any(SHARED - 1))),
                resource("b", Some(body.clone())),
            ],
            ..DeltaDiscoveryResponse::default()
        };
        let pieces = through(&delta).0;
        assert_eq!(pieces.len(), 2, "nothing comes after the last body");
        assert_eq!(pieces[1].as_ptr(), body.value.as_ptr());
    }
}
