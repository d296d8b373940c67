//! Frames (RFC 9113, section 4): finds each header block of a connection.

use std::iter;

use crate::block;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The octets of a frame's head.
const HEAD: usize = 9;
/// The octets that the PRIORITY flag adds to a HEADERS frame.
const PRIORITY_FIELDS: usize = 5;

/// A header block with more octets than this, including the heads of its frames, passes unchanged. By
/// default hyper accepts blocks of up to 16 KiB, and gRPC sends at most half of that.
pub(crate) const LONGEST: usize = 64 * 1024;

/// The position in a connection.
#[derive(Debug)]
pub(crate) enum Frames {
    /// In the preface, after this many of its octets.
    Preface(usize),
    /// The next `passing` octets pass unchanged, then a frame begins. If a header block begins there,
    /// `walked` octets of it have been seen: whole frames, without its last one.
    ///
    /// `begun` counts the frames that have begun; those of one block count as one. `open` is set if the
    /// last of them is a part of a block that passed without its end.
    Begun { passing: usize, walked: usize, begun: u64, open: bool },
    /// The connection is not HTTP/2, or has ended.
    Other,
}

/// The result of a walk over octets.
pub(crate) struct Walk {
    /// How many octets can be passed on.
    pub(crate) done: usize,
    /// How many more octets are needed at least to pass on the rest. 0 if there is no rest.
    pub(crate) lacks: usize,
}

impl Frames {
    pub(crate) fn new() -> Self {
        Frames::Preface(0)
    }

    /// Mends the complete header blocks. The next walk has to begin with the octets after [`Walk::done`],
    /// followed by the octets that were missing.
    pub(crate) fn walk(&mut self, octets: &mut [u8]) -> Walk {
        let mut done = self.preface(octets);
        let Frames::Begun { passing, walked, begun, open } = self else {
            return Walk { done: octets.len(), lacks: 0 };
        };
        loop {
            let passed = octets.len().min(done + *passing) - done;
            *passing -= passed;
            done += passed;
            let rest = &mut octets[done..];
            if rest.is_empty() {
                return Walk { done, lacks: 0 };
            }
            let Some(head) = Head::of(&rest[*walked..]) else {
                return Walk { done, lacks: *walked + HEAD - rest.len() };
            };
            let end = *walked + HEAD + head.length;
            let wanted = if *walked == 0 { HEADERS } else { CONTINUATION };
            if head.kind != wanted || end > LONGEST {
                (*passing, *walked) = (end, 0);
                *begun += u64::from(!(*open && head.kind == CONTINUATION));
                *open =
                    matches!(head.kind, HEADERS | CONTINUATION) && head.flags & END_HEADERS == 0;
            } else if end > rest.len() {
                return Walk { done, lacks: end - rest.len() };
            } else if head.flags & END_HEADERS == 0 {
                *walked = end;
            } else {
                mend(&mut rest[..end]);
                (*walked, *open) = (0, false);
                *begun += 1;
                done += end;
            }
        }
    }

    /// The number of the frame or header block that has begun and not ended. `held`: whether octets of it
    /// are held back.
    pub(crate) fn unfinished(&self, held: bool) -> Option<u64> {
        match *self {
            Frames::Begun { begun, .. } if held => Some(begun + 1),
            Frames::Begun { passing, begun, open, .. } if passing > 0 || open => Some(begun),
            _ => None,
        }
    }

    /// How many of the octets belong to the preface.
    fn preface(&mut self, octets: &[u8]) -> usize {
        let Frames::Preface(seen) = *self else { return 0 };
        let wanted = &PREFACE[seen..];
        let count = wanted.len().min(octets.len());
        *self = if octets[..count] != wanted[..count] {
            Frames::Other
        } else if count < wanted.len() {
            Frames::Preface(seen + count)
        } else {
            Frames::Begun { passing: 0, walked: 0, begun: 0, open: false }
        };
        count
    }
}

/// Mends a header block, given all its frames.
fn mend(frames: &mut [u8]) {
    if Head::of(frames).is_some_and(|head| HEAD + head.length == frames.len()) {
        return fragments(frames).for_each(block::mend);
    }
    // A literal may begin in one frame and end in another.
    let mut block = Vec::with_capacity(frames.len());
    fragments(frames).for_each(|fragment| block.extend_from_slice(fragment));
    block::mend(&mut block);
    for (octet, mended) in fragments(frames).flatten().zip(block) {
        *octet = mended;
    }
}

/// The part of the header block in each frame.
fn fragments(mut frames: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    iter::from_fn(move || {
        let head = Head::of(frames)?;
        let frame = frames.split_off_mut(..HEAD + head.length)?;
        head.fragment(&mut frame[HEAD..])
    })
}

struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Head {
    fn of(frame: &[u8]) -> Option<Self> {
        let &[high, middle, low, kind, flags, _, _, _, _] = frame.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        Some(Head { length, kind, flags })
    }

    /// The header block's part of a frame's payload. `None` if there is more padding than payload.
    fn fragment<'a>(&self, mut payload: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if self.kind == HEADERS && self.flags & PADDED != 0 {
            let padding = usize::from(*payload.split_off_first_mut()?);
            payload = payload.split_off_mut(..payload.len().checked_sub(padding)?)?;
        }
        if self.kind == HEADERS && self.flags & PRIORITY != 0 {
            payload.split_off_mut(..PRIORITY_FIELDS)?;
        }
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// The output if all of the input arrived at once, and how many octets are then missing.
    fn walked(parts: &[&[u8]]) -> (Vec<u8>, usize) {
        let mut octets = [&[PREFACE], parts].concat().concat();
        let Walk { done, lacks } = Frames::new().walk(&mut octets);
        (octets[PREFACE.len()..done].to_vec(), lacks)
    }

    const WAS: &[u8] = b"\x41\x03a/b";
    const IS: &[u8] = b"\x41\x03a-b";

    #[test]
    fn a_header_block_is_mended_and_nothing_else() {
        for kind in 0..=255 {
            let is = if kind == HEADERS { IS } else { WAS };
            let was = [frame(kind, END_HEADERS, WAS), frame(HEADERS, END_HEADERS, WAS)].concat();
            let is = [frame(kind, END_HEADERS, is), frame(HEADERS, END_HEADERS, IS)].concat();
            assert_eq!(walked(&[&was]), (is, 0), "{kind}");
        }
    }

    #[test]
    fn padding_and_priority_are_no_part_of_it() {
        for (flags, before, after) in [
            (PADDED, &b"\x03"[..], &b"\x41\x01/"[..]),
            (PRIORITY, b"\x41\x03a/b", b""),
            (PADDED | PRIORITY, b"\x03\x41\x03a/b", b"\x41\x01/"),
        ] {
            let payload = |block| [before, block, after].concat();
            let was = frame(HEADERS, END_HEADERS | flags, &payload(WAS));
            let is = frame(HEADERS, END_HEADERS | flags, &payload(IS));
            assert_eq!(walked(&[&was]), (is, 0));
        }
    }

    #[test]
    fn a_block_of_several_frames_is_one() {
        for cut in 0..=WAS.len() {
            for other in 0..=cut {
                let frames = |block: &[u8]| {
                    [
                        frame(HEADERS, PADDED, &[&[1], &block[..other], b"/"].concat()),
                        // Only HEADERS has padding.
                        frame(CONTINUATION, PADDED | PRIORITY, &block[other..cut]),
                        frame(CONTINUATION, END_HEADERS, &block[cut..]),
                    ]
                    .concat()
                };
                assert_eq!(walked(&[&frames(WAS)]), (frames(IS), 0));
            }
        }
    }

    #[test]
    fn what_is_cut_waits_for_what_it_lacks() {
        let whole = [frame(HEADERS, 0, &WAS[..2]), frame(CONTINUATION, END_HEADERS, &WAS[2..])];
        let whole = whole.concat();
        let ends = [HEAD, HEAD + 2, 2 * HEAD + 2, whole.len()];
        for cut in 1..whole.len() {
            let lacks = ends.iter().find(|end| **end > cut).expect("an end") - cut;
            // At the end of the first frame, the head of the second.
            assert_eq!(walked(&[&whole[..cut]]), (vec![], lacks), "{cut}");
        }
    }

    #[test]
    fn what_needs_no_mending_does_not_wait() {
        let (out, lacks) = walked(&[&frame(0, 0, b"1234567890")[..12]]);
        assert_eq!((out.len(), lacks), (12, 0));
    }

    #[test]
    fn a_block_that_is_too_long_passes_as_it_is() {
        let block =
            |front: &[u8], length: usize| [front, &vec![0x82; length - HEAD - WAS.len()]].concat();
        let was = frame(HEADERS, END_HEADERS, &block(WAS, LONGEST));
        let is = frame(HEADERS, END_HEADERS, &block(IS, LONGEST));
        assert!(walked(&[&was]) == (is, 0));
        for long in [
            frame(HEADERS, END_HEADERS, &block(WAS, 2 * LONGEST)),
            [frame(HEADERS, 0, &block(WAS, LONGEST)), frame(CONTINUATION, END_HEADERS, WAS)]
                .concat(),
        ] {
            // The rest of this connection does not wait for the block's end, and later blocks are
            // mended.
            let part = &long[..LONGEST + HEAD];
            assert!(walked(&[part]) == (part.to_vec(), 0));
            let next = |block| frame(HEADERS, END_HEADERS, block);
            let is = [long.as_slice(), &next(IS)].concat();
            assert!(walked(&[&long, &next(WAS)]) == (is, 0));
        }
    }

    #[test]
    fn what_is_begun_has_a_number_until_it_is_finished() {
        let data = frame(0, 0, b"1234567890");
        let long = [
            frame(HEADERS, 0, &vec![0x82; LONGEST]),
            frame(CONTINUATION, 0, b"\x82"),
            frame(CONTINUATION, END_HEADERS, b"\x82"),
        ];
        let block = [frame(HEADERS, 0, WAS), frame(CONTINUATION, END_HEADERS, WAS)].concat();
        let whole = [data.clone(), block, long.concat(), data].concat();
        let second = 19 + 2 * (HEAD + WAS.len());
        let third = second + long.concat().len();
        for cut in (0..60).chain(second + LONGEST - 20..whole.len()) {
            let mut octets = [PREFACE, &whole[..cut]].concat();
            let mut frames = Frames::new();
            let walk = frames.walk(&mut octets);
            let unfinished = frames.unfinished(walk.done < octets.len());
            let expected = match cut {
                0 | 19 => None,
                _ if cut == second || cut == third => None,
                1..19 => Some(1),
                _ if cut < second => Some(2),
                _ if cut < third => Some(3),
                _ => Some(4),
            };
            // The head of a block's next frame, cut off, may be that of another frame.
            let close = expected.is_some_and(|number| unfinished == Some(number + 1));
            assert!(unfinished == expected || close && cut > second, "{cut}: {unfinished:?}");
        }
    }

    #[test]
    fn malformed_frames_pass_as_they_are() {
        for malformed in [
            frame(HEADERS, END_HEADERS | PADDED, b"\x06\x41\x03a/b"),
            frame(HEADERS, END_HEADERS | PADDED, b""),
            frame(HEADERS, END_HEADERS | PRIORITY, b"1234"),
            frame(CONTINUATION, END_HEADERS, WAS),
            // A block that another frame interrupts.
            [frame(HEADERS, 0, WAS), frame(HEADERS, END_HEADERS, WAS)].concat(),
            [frame(HEADERS, 0, WAS), frame(0, 0, WAS), frame(CONTINUATION, END_HEADERS, WAS)]
                .concat(),
        ] {
            assert_eq!(walked(&[&malformed]), (malformed, 0));
        }
    }
}
