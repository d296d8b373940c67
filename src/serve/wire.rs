//! Protobuf, written from what is there, without a message in between.

use bytes::BufMut;
use prost::{
    Message,
    encoding::{self, WireType, encode_varint, encoded_len_varint},
};

/// What has the fields of a message.
pub(super) trait Fields {
    /// Writes them, in any order.
    fn write(&self, out: &mut impl Out);
}

/// What fields are written to. What has its type's default is left out, as proto3 has it.
pub(super) trait Out: Sized {
    fn varint(&mut self, number: u64);
    fn bytes(&mut self, bytes: &[u8]);

    fn number(&mut self, tag: u32, number: u64) {
        if number != 0 {
            self.varint(key(tag, WireType::Varint));
            self.varint(number);
        }
    }

    fn text(&mut self, tag: u32, text: &str) {
        if !text.is_empty() {
            self.varint(key(tag, WireType::LengthDelimited));
            self.varint(text.len() as u64);
            self.bytes(text.as_bytes());
        }
    }

    fn message(&mut self, tag: u32, message: &impl Fields) {
        self.varint(key(tag, WireType::LengthDelimited));
        self.varint(length(message) as u64);
        message.write(self);
    }

    /// A message that was generated.
    fn generated(&mut self, tag: u32, message: &impl Message);
}

/// Writes a message.
pub(super) fn write(message: &impl Fields, buffer: &mut impl BufMut) {
    message.write(&mut Buffer(buffer));
}

/// Writes a message as a field of another.
pub(super) fn write_field(tag: u32, message: &impl Fields, buffer: &mut impl BufMut) {
    Buffer(buffer).message(tag, message);
}

/// How many bytes a message has.
pub(super) fn length(message: &impl Fields) -> usize {
    let mut length = Length(0);
    message.write(&mut length);
    length.0
}

fn key(tag: u32, wire_type: WireType) -> u64 {
    u64::from(tag << 3 | wire_type as u32)
}

struct Buffer<'a, B>(&'a mut B);

impl<B: BufMut> Out for Buffer<'_, B> {
    fn varint(&mut self, number: u64) {
        encode_varint(number, self.0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    fn generated(&mut self, tag: u32, message: &impl Message) {
        encoding::message::encode(tag, message, self.0);
    }
}

struct Length(usize);

impl Out for Length {
    fn varint(&mut self, number: u64) {
        self.0 += encoded_len_varint(number);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn generated(&mut self, tag: u32, message: &impl Message) {
        self.0 += encoding::message::encoded_len(tag, message);
    }
}
