//! Checks whether `http` accepts an authority, and mends one that it refuses.

use http::uri::Authority;

/// Replaces each character that makes `http` refuse `text` as an authority. Returns whether `text` is a
/// valid authority now. A valid one does not change. An empty one does not change either, because it
/// has nothing to replace.
pub(crate) fn mend(text: &mut [u8], stand_in: impl Fn(u8) -> u8) -> bool {
    // `http` refuses these only in some places. They are replaced if replacing the others was not enough.
    let structure = b":@[]".as_slice();
    for kept in [structure, b""] {
        if accepted(text) {
            return true;
        }
        for c in text.iter_mut().filter(|c| !anywhere(**c) && !kept.contains(c)) {
            *c = stand_in(*c);
        }
    }
    accepted(text)
}

/// Whether `http` accepts it. This calls `http`, so that its rules always apply. But `http` copies what it
/// accepts, so a plain host, with or without a port, is accepted without a call.
fn accepted(text: &[u8]) -> bool {
    let mut others = text.iter().filter(|c| !anywhere(**c));
    match (others.next(), others.next()) {
        (None | Some(b':'), None) => true,
        _ => Authority::try_from(text).is_ok(),
    }
}

/// The characters of a host name (RFC 3986, section 3.2.2: unreserved and sub-delims). An authority may
/// have them in any place.
fn anywhere(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases::cases;

    fn mended(text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        mend(&mut text, |_| b'-');
        text
    }

    #[test]
    fn only_what_is_refused_changes() {
        for (was, is) in [
            // The name of a socket in C-core and Java.
            ("tmp%2Fagent.sock", "tmp-2Fagent.sock"),
            ("/tmp/agent.sock", "-tmp-agent.sock"),
            ("/tmp/a b/\u{e9}.sock", "-tmp-a-b---.sock"),
            // The `@` was invalid. The colon and the brackets were not.
            ("a/b:80", "a-b:80"),
            ("[::1]/:80", "[::1]-:80"),
            ("me@ho/st", "me@ho-st"),
            // `http` refuses these because of their position.
            ("localhost:80:90", "localhost-80-90"),
            ("a@", "a-"),
            ("x]", "x-"),
            ("a/b:c:d", "a-b-c-d"),
            // These are valid.
            ("localhost", "localhost"),
            ("localhost:50051", "localhost:50051"),
            ("[::1]:80", "[::1]:80"),
            ("user%20x@host", "user%20x@host"),
            ("[fe80::1%25eth0]", "[fe80::1%25eth0]"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&mended(was.as_bytes())), is);
        }
    }

    /// All strings of up to 6 characters, with one character for each different treatment.
    #[test]
    fn what_is_accepted_unasked_is_what_http_accepts() {
        let mut strings = vec![vec![]];
        for length in 1..=6 {
            for c in b"a!:@[]%/" {
                let shorter = strings.iter().filter(|s: &&Vec<u8>| s.len() == length - 1);
                let longer: Vec<_> = shorter.map(|s| [s, [*c].as_slice()].concat()).collect();
                strings.extend(longer);
            }
        }
        assert_eq!(strings.len(), (0..=6).map(|n| 8_usize.pow(n)).sum::<usize>());
        for text in strings.iter().filter(|text| !text.is_empty()) {
            let http = Authority::try_from(text.as_slice()).is_ok();
            assert_eq!(accepted(text), http, "{text:?}");
            assert!(Authority::try_from(mended(text).as_slice()).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn every_octet_is_treated_as_http_treats_it() {
        for c in 0..=255 {
            let alone = Authority::try_from([b'a', c, b'a'].as_slice()).is_ok();
            assert_eq!(accepted(&[b'a', c, b'a']), alone, "{c}");
            assert!(!anywhere(c) || alone, "{c}");
        }
    }

    proptest! {
        #![proptest_config(cases(4_000))]

        #[test]
        fn whatever_was_sent_is_accepted_afterwards(text in prop::collection::vec(any::<u8>(), 1..40)) {
            let is = mended(&text);
            prop_assert!(Authority::try_from(is.as_slice()).is_ok());
            prop_assert_eq!(is.len(), text.len());
            if Authority::try_from(text.as_slice()).is_ok() {
                prop_assert_eq!(is, text);
            }
        }
    }
}
