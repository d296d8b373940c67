//! Writes protobuf straight from the data, without building a message first.

use prost::{
    Message,
    encoding::{self, WireType, encode_varint, encoded_len_varint},
};

/// Data that can be written as a message.
pub(in crate::serve) trait Encode {
    /// Writes the fields, in any order.
    fn write(&self, out: &mut impl Sink);

    /// The bytes that they take.
    fn length(&self) -> usize {
        encoded_len(self)
    }
}

/// Takes fields. It leaves out a field that has its type's default, as proto3 prescribes.
pub(in crate::serve) trait Sink: Sized {
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

    fn message(&mut self, tag: u32, message: &impl Encode) {
        self.varint(key(tag, WireType::LengthDelimited));
        self.varint(message.length() as u64);
        message.write(self);
    }

    /// A message of a generated type.
    fn generated(&mut self, tag: u32, message: &impl Message);
}

pub(in crate::serve) fn write(message: &impl Encode, buffer: &mut Vec<u8>) {
    message.write(&mut Buffer(buffer));
}

/// Writes a message as a field of another.
pub(in crate::serve) fn write_field(tag: u32, message: &impl Encode, buffer: &mut Vec<u8>) {
    Buffer(buffer).message(tag, message);
}

/// The length of a message, counted by writing it without a buffer.
pub(in crate::serve) fn encoded_len(message: &(impl Encode + ?Sized)) -> usize {
    let mut length = Length(0);
    message.write(&mut length);
    length.0
}

fn key(tag: u32, wire_type: WireType) -> u64 {
    u64::from(tag << 3 | wire_type as u32)
}

struct Buffer<'a>(&'a mut Vec<u8>);

impl Sink for Buffer<'_> {
    fn varint(&mut self, number: u64) {
        // Nearly all keys and lengths have one byte.
        match u8::try_from(number) {
            Ok(byte) if byte < 0x80 => self.0.push(byte),
            _ => encode_varint(number, self.0),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn generated(&mut self, tag: u32, message: &impl Message) {
        encoding::message::encode(tag, message, self.0);
    }
}

struct Length(usize);

impl Sink for Length {
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
