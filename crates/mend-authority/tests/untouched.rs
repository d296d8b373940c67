//! Input without a header block passes unchanged. The result never depends on how the input is cut.

mod client;

use client::{
    cases::cases,
    choppy::{mended, mended_whole},
    frames::{CONTINUATION, Framing, HEADERS, PREFACE, frame, opening},
    requests::{connection, requests},
};
use proptest::{prelude::*, sample::Index};

const LITERAL: &[u8] = b"\x41\x03a/b";

/// A whole request. In an HTTP/2 connection its authority would be mended.
fn request() -> Vec<u8> {
    let mut out = Vec::new();
    Framing::PLAIN.write(&mut out, 1, true, LITERAL);
    out
}

#[test]
fn http_1_passes_as_it_is() {
    for was in [
        b"GET /a%2Fb HTTP/1.1\r\nHost: a%2Fb\r\n\r\n".to_vec(),
        b"PRI / HTTP/1.1\r\nHost: a%2Fb\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nContent-Length: 14\r\n\r\n".iter().copied().chain(request()).collect(),
        request(),
    ] {
        assert_eq!(mended_whole(&was), was);
        assert_eq!(mended(&was, &[1], &[1]), was);
    }
}

#[test]
fn a_preface_that_ends_or_changes_anywhere_is_none() {
    for cut in 0..PREFACE.len() {
        let (front, back) = PREFACE.split_at(cut);
        for was in [
            front.to_vec(),
            [front, &request()].concat(),
            [front, &[back[0] ^ 1], &back[1..], &request()].concat(),
        ] {
            assert_eq!(mended_whole(&was), was);
            assert_eq!(mended(&was, &[cut.max(1), 1], &[100]), was);
        }
        // A block that only comes in two parts.
        let was = [PREFACE, &request()].concat();
        assert_ne!(mended_whole(&was), was);
        assert_eq!(mended(&was, &[cut.max(1), usize::MAX], &[100]), mended_whole(&was));
    }
}

#[test]
fn a_block_with_an_end_that_never_comes_takes_no_more_than_so_much_memory() {
    let mut was = opening();
    frame(&mut was, HEADERS, 0, 1, LITERAL);
    for _ in 0..100_000 {
        frame(&mut was, CONTINUATION, 0, 1, &[]);
    }
    let most = allocation_counter::measure(|| assert!(mended(&was, &[999], &[999]) == was));
    // This also counts the output, and the vector of the input while it grew.
    assert!(most.bytes_max < 3 * was.len() as u64 + 300_000, "{most:?}");
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn anything_passes_as_it_is(
        was in prop::collection::vec(any::<u8>(), 0..300),
        sizes in prop::collection::vec(1..50_usize, 1..5),
        rooms in prop::collection::vec(1..50_usize, 1..5),
    ) {
        prop_assert_eq!(mended(&was, &sizes, &rooms), was);
    }

    /// Also with invalid frames.
    #[test]
    fn however_it_is_cut_the_same_comes_out(
        requests in requests(),
        sizes in prop::collection::vec(0..60_usize, 0..5),
        rooms in prop::collection::vec(1..90_usize, 1..5),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..3),
        end in any::<Index>(),
    ) {
        let mut was = connection(&requests);
        for (at, to) in &changes {
            *at.get_mut(&mut was) = *to;
        }
        if !changes.is_empty() {
            was.truncate(end.index(was.len()));
        }
        let whole = mended_whole(&was);
        prop_assert_eq!(whole.len(), was.len());
        prop_assert!(mended(&was, &[1], &[100]) == whole);
        prop_assert!(mended(&was, &[100], &[1]) == whole);
        prop_assert!(mended(&was, &[sizes, vec![7]].concat(), &rooms) == whole);
    }
}
