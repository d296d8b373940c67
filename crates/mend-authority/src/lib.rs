#![doc = include_str!("../README.md")]
//!
//! # The code
//!
//! In reading order:
//! - `stream`: the adapter, [`Mended`]; what it holds back, and when.
//! - `frames`: from the connection's first octet to each header block.
//! - `block`: from a header block to each `:authority` literal.
//! - `authority`: which characters of one go.
//! - `huffman`: the same for a literal that is Huffman-coded.
//! - `connected`: the adapter as tonic wants it, with the feature `tonic`.

#![forbid(unsafe_code)]

mod authority;
mod block;
#[cfg(test)]
#[path = "../tests/client/cases.rs"]
mod cases;
#[cfg(feature = "tonic")]
mod connected;
mod frames;
mod huffman;
mod stream;

pub use stream::Mended;
