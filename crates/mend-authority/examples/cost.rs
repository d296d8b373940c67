//! Measures the cost of a header block, compared with the same octets copied without the adapter:
//! `cargo run --release -p mend-authority --example cost`.
// A bench has to read the clock.
#![allow(clippy::disallowed_methods)]

use std::{
    hint::black_box,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use mend_authority::Mended;
use tokio::io::{AsyncRead, ReadBuf};

const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const BLOCKS: u32 = 10_000;
const RUNS: usize = 101;
/// h2 reads this many octets at a time.
const ROOM: usize = 8 * 1024;

/// The other fields of a gRPC call, from its second time on: indices.
const OTHERS: &[u8] = &[0x83, 0x86, 0xc4, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf];

fn main() {
    println!("nanoseconds for a HEADERS frame, median of {RUNS} runs of {BLOCKS} frames");
    println!("{:<42}{:>8}{:>8}{:>8}", "the authority", "bare", "mended", "more");
    for (what, authority) in [
        ("an index", &b"\xbe"[..]),
        ("a literal: localhost", b"\x01\x09localhost"),
        ("a literal: %2Ftmp%2Fagent.sock", b"\x00\x0a:authority\x12%2Ftmp%2Fagent.sock"),
        ("a literal: /tmp/agent.sock", b"\x01\x0f/tmp/agent.sock"),
        ("a Huffman literal: localhost", b"\x01\x86\xa0\xe4\x1d\x13\x9d\x09"),
        (
            "a Huffman literal: /tmp/agent.sock",
            b"\x01\x8b\x61\x34\xd6\xc0\xe6\x2d\x49\x5d\x07\x27\x5f",
        ),
    ] {
        let octets = connection(authority);
        let bare = median(|| &octets[..]);
        let mended = median(|| Mended::new(&octets[..]));
        println!("{what:<42}{bare:>8.1}{mended:>8.1}{:>8.1}", mended - bare);
    }
}

fn connection(authority: &[u8]) -> Vec<u8> {
    let block = [OTHERS, authority].concat();
    let head = [0, 0, u8::try_from(block.len()).expect("a short block"), 0x1, 0x4, 0, 0, 0, 1];
    [OPENING, &[&head, &block[..]].concat().repeat(BLOCKS as usize)].concat()
}

/// The nanoseconds per block to read the whole stream.
fn median<T: AsyncRead + Unpin>(stream: impl Fn() -> T) -> f64 {
    let mut room = vec![0; ROOM];
    let mut run = || {
        let (mut stream, begin) = (stream(), Instant::now());
        while read(&mut stream, &mut room) > 0 {
            black_box(&mut room);
        }
        begin.elapsed().as_nanos() as f64 / f64::from(BLOCKS)
    };
    let mut runs: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

fn read(stream: &mut (impl AsyncRead + Unpin), room: &mut [u8]) -> usize {
    let mut room = ReadBuf::new(room);
    let cx = &mut Context::from_waker(Waker::noop());
    match Pin::new(stream).poll_read(cx, &mut room) {
        Poll::Ready(Ok(())) => room.filled().len(),
        other => panic!("a slice is always ready: {other:?}"),
    }
}
