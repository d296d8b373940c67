//! HTTP/2 frames (RFC 9113), as a client writes and reads them.

use proptest::{prelude::*, sample::Index};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The octets of a frame's head.
pub(crate) const HEAD: usize = 9;

pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    out.extend(length);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// A frame's type, stream and length.
pub(crate) fn head(head: [u8; HEAD]) -> (u8, u32, usize) {
    let [high, middle, low, kind, _, stream @ ..] = head;
    (kind, u32::from_be_bytes(stream), u32::from_be_bytes([0, high, middle, low]) as usize)
}

/// The start of a connection: the preface and SETTINGS.
pub(crate) fn opening() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    out
}

/// How to split a header block into frames.
#[derive(Clone, Debug)]
pub(crate) struct Framing {
    pub(crate) padding: Option<u8>,
    pub(crate) priority: Option<u8>,
    /// The position at which a CONTINUATION begins.
    pub(crate) cuts: Vec<Index>,
}

impl Framing {
    pub(crate) const PLAIN: Framing = Framing { padding: None, priority: None, cuts: Vec::new() };

    pub(crate) fn write(&self, out: &mut Vec<u8>, stream: u32, last: bool, block: &[u8]) {
        let mut cuts: Vec<usize> = self
            .cuts
            .iter()
            .map(|cut| cut.index(block.len() + 1))
            .chain([0, block.len()])
            .collect();
        cuts.sort_unstable();
        for (nth, cut) in cuts.windows(2).enumerate() {
            let part = &block[cut[0]..cut[1]];
            let mut flags = if nth + 2 == cuts.len() { END_HEADERS } else { 0 };
            if nth > 0 {
                frame(out, CONTINUATION, flags, stream, part);
                continue;
            }
            let mut payload = Vec::new();
            if last {
                flags |= END_STREAM;
            }
            if let Some(padding) = self.padding {
                flags |= PADDED;
                payload.push(padding);
            }
            if let Some(weight) = self.priority {
                flags |= PRIORITY;
                payload.extend([0, 0, 0, 0, weight]);
            }
            payload.extend(part);
            payload.extend(vec![0; usize::from(self.padding.unwrap_or(0))]);
            frame(out, HEADERS, flags, stream, &payload);
        }
    }
}

pub(crate) fn framing() -> impl Strategy<Value = Framing> {
    let cuts = prop_oneof![
        2 => Just(vec![]),
        1 => prop::collection::vec(any::<Index>(), 1..4),
    ];
    let octet = || prop::option::weighted(0.3, any::<u8>());
    (octet(), octet(), cuts).prop_map(|(padding, priority, cuts)| Framing {
        padding,
        priority,
        cuts,
    })
}

/// A frame that belongs to no request, but seems to contain something to mend.
pub(crate) fn aside() -> impl Strategy<Value = Vec<u8>> {
    let literal = b"\x41\x07a/b%c/d";
    let written = |kind, flags, payload: &[u8]| {
        let mut out = Vec::new();
        frame(&mut out, kind, flags, 0, payload);
        out
    };
    prop::sample::select(vec![
        written(SETTINGS, 0, &[]),
        written(PING, 0, &literal[..8]),
        written(WINDOW_UPDATE, 0, &[0, 0, 0, 7]),
        // An unknown type of frame, which the receiver ignores.
        written(0xbb, 0xff, literal),
    ])
}
