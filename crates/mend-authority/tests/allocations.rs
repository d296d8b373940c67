//! Blocks that arrive in one piece cause no allocation.

mod client;

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use client::{
    frames::{Framing, opening},
    hpack::{Encoder, Field, How, Literal},
};
use mend_authority::Mended;
use tokio::io::{AsyncRead, ReadBuf};

/// A connection with two calls to each of these: one has its authority as a literal, the other as an
/// index.
fn connection(authorities: &[&str], how: How) -> Vec<u8> {
    let (mut out, mut encoder) = (opening(), Encoder::new());
    for (nth, authority) in authorities.iter().flat_map(|authority| [authority; 2]).enumerate() {
        let mut block = Vec::new();
        for (name, value) in [(":method", "POST"), (":authority", authority), ("te", "trailers")] {
            encoder.encode(&Field::new(name, value), how, &mut block);
        }
        Framing::PLAIN.write(&mut out, 2 * nth as u32 + 1, true, &block);
    }
    out
}

/// The number of allocations of one read that could return everything.
fn allocations(octets: &[u8]) -> u64 {
    let mut room = vec![0; octets.len()];
    let counted = allocation_counter::measure(|| {
        let mut stream = Mended::new(octets);
        let mut room = ReadBuf::new(&mut room);
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = Pin::new(&mut stream).poll_read(cx, &mut room);
        assert!(matches!(polled, Poll::Ready(Ok(()))));
    });
    counted.count_total
}

#[test]
fn blocks_that_come_whole_cost_no_allocation() {
    let authorities =
        ["localhost", "localhost:50051", "tmp%2Fa.sock", "/tmp/a.sock", "a b", "a:b:c", "{a/b}"];
    for [name_indexed, name_huffman, value_huffman] in
        [[false, false, false], [true, false, false], [false, true, true], [true, true, true]]
    {
        let literal = Literal::Added;
        let how = How { indexed: true, literal, name_indexed, name_huffman, value_huffman };
        let octets = connection(&authorities, how);
        assert_eq!(allocations(&octets), 0);
        // Proves that the counter counts.
        assert_ne!(allocations(&octets[..octets.len() - 1]), 0);
    }
}
