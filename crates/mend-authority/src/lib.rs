#![doc = include_str!("../README.md")]
//!
//! # The code
//!
//! In reading order:
//! - `stream`: the adapter, [`Mended`]. It decides what to hold back, and when.
//! - `frames`: finds each header block, from the connection's first octet on.
//! - `block`: finds each `:authority` literal of a header block.
//! - `authority`: replaces the characters that `http` refuses.
//! - `huffman`: the same for a literal that is Huffman-coded.
//! - `connected`: tonic's trait for the adapter, with the feature `tonic`.

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
