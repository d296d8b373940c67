//! For any connection, cut anywhere: the number of octets stays the same, the result does not depend on
//! the cuts, and only header blocks change.
#![no_main]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mend_authority::Mended;
use tokio::io::{AsyncRead, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const HEAD: usize = 9;

#[derive(Arbitrary, Debug)]
struct Connection<'a> {
    preface: bool,
    frames: Vec<Frame<'a>>,
    rest: &'a [u8],
    /// The octets that each read gets, and the room that it has.
    sizes: Vec<(u8, u8)>,
}

#[derive(Arbitrary, Debug)]
struct Frame<'a> {
    kind: Kind,
    flags: u8,
    payload: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Headers,
    Continuation,
    Any(u8),
}

impl Connection<'_> {
    fn octets(&self) -> Vec<u8> {
        let mut octets = if self.preface { PREFACE.to_vec() } else { Vec::new() };
        for Frame { kind, flags, payload } in &self.frames {
            let kind = match kind {
                Kind::Headers => HEADERS,
                Kind::Continuation => CONTINUATION,
                Kind::Any(kind) => *kind,
            };
            octets.extend(&(payload.len() as u32).to_be_bytes()[1..]);
            octets.extend([kind, *flags, 0, 0, 0, 1]);
            octets.extend(*payload);
        }
        octets.extend(self.rest);
        octets
    }
}

struct Parts<'a> {
    octets: &'a [u8],
    sizes: &'a [(u8, u8)],
    turn: usize,
}

impl Parts<'_> {
    fn size(&self) -> (usize, usize) {
        let (get, room) = self.sizes[self.turn % self.sizes.len()];
        (usize::from(get) + 1, usize::from(room) + 1)
    }
}

impl AsyncRead for Parts<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.size().0.min(buf.remaining()).min(self.octets.len());
        self.turn += 1;
        let (part, rest) = self.octets.split_at(count);
        buf.put_slice(part);
        self.octets = rest;
        Poll::Ready(Ok(()))
    }
}

fn mended(octets: &[u8], sizes: &[(u8, u8)]) -> Vec<u8> {
    let mut stream = Mended::new(Parts { octets, sizes, turn: 0 });
    let mut out = Vec::new();
    loop {
        let mut room = vec![0; stream.get_ref().size().1];
        let mut room = ReadBuf::new(&mut room);
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = Pin::new(&mut stream).poll_read(cx, &mut room);
        assert!(matches!(polled, Poll::Ready(Ok(()))));
        if room.filled().is_empty() {
            return out;
        }
        out.extend_from_slice(room.filled());
    }
}

fn mended_whole(octets: &[u8]) -> Vec<u8> {
    let mut out = octets.to_vec();
    let mut stream = Mended::new(octets);
    let mut at = 0;
    while at < out.len() {
        let mut room = ReadBuf::new(&mut out[at..]);
        let cx = &mut Context::from_waker(Waker::noop());
        let polled = Pin::new(&mut stream).poll_read(cx, &mut room);
        assert!(matches!(polled, Poll::Ready(Ok(()))));
        assert!(!room.filled().is_empty());
        at += room.filled().len();
    }
    out
}

/// The octets that must not change: all but the payloads of HEADERS and CONTINUATION.
fn kept(octets: &[u8]) -> Vec<bool> {
    let mut kept = vec![true; octets.len()];
    let mut at = PREFACE.len();
    while octets.starts_with(PREFACE) && at + HEAD <= octets.len() {
        let length = u32::from_be_bytes([0, octets[at], octets[at + 1], octets[at + 2]]) as usize;
        let end = at + HEAD + length;
        if [HEADERS, CONTINUATION].contains(&octets[at + 3]) && end <= octets.len() {
            kept[at + HEAD..end].fill(false);
        }
        at = end;
    }
    kept
}

fuzz_target!(|connection: Connection<'_>| {
    let was = connection.octets();
    let is = mended_whole(&was);
    let kept = kept(&was);
    assert!((0..was.len()).all(|at| !kept[at] || is[at] == was[at]));
    assert_eq!(mended(&was, &[(0, 255)]), is);
    if !connection.sizes.is_empty() {
        assert_eq!(mended(&was, &connection.sizes), is);
    }
    // The result needs no further change.
    assert_eq!(mended_whole(&is), is);
});
