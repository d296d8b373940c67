//! Huffman-coded literals: the code of RFC 7541, appendix B, and mending within it.
//!
//! The encoded length must not change, because it stands before the literal. The decoded length must not
//! change either, because both ends compute the size of their dynamic tables from it (section 4.1). So a
//! character can only be replaced by one whose code has the same length.

use crate::authority;

/// The lengths of codes in bits, each with the octets that have it. The code is canonical: the codes of
/// a length increase in the order of their octets, and the codes of the next length continue from there.
/// 30 ones mark the end of a string, which no literal contains.
#[rustfmt::skip]
const OCTETS: [(u32, &[u8]); 21] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
    (19, b"\\\xc3\xd0"),
    (20, b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2"),
    (21, b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6"),
    (22, b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\
           \xc6\xe4\xe8\xe9"),
    (23, b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\
           \xb6\xb7\xbc\xbf\xc5\xe7\xef"),
    (24, b"\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed"),
    (25, b"\xc7\xcf\xea\xeb"),
    (26, b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff"),
    (27, b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe"),
    (28, b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\
           \x1c\x1d\x1e\x1f\x7f\xdc\xf9"),
    (30, b"\n\r\x16"),
];

/// For each octet its code, and the length of the code.
const CODES: [(u32, u32); 256] = {
    let mut codes = [(0, 0); 256];
    let (mut row, mut code, mut before) = (0, 0, 0);
    while row < OCTETS.len() {
        let (length, octets) = OCTETS[row];
        code <<= length - before;
        let mut nth = 0;
        while nth < octets.len() {
            codes[octets[nth] as usize] = (code, length);
            code += 1;
            nth += 1;
        }
        before = length;
        row += 1;
    }
    codes
};

/// For each code length a character that an authority may have in any place, if there is one.
const STAND_INS: [(u32, u8); 7] =
    [(5, b'0'), (6, b'-'), (7, b'x'), (8, b'X'), (10, b'!'), (11, b'+'), (13, b'~')];

/// A literal with more characters does not change. The path of a socket has at most 108, and three times
/// as many if all of them are percent-encoded.
const LONGEST: usize = 512;

/// Mends a Huffman-coded `:authority`. A malformed one does not change.
pub(crate) fn mend(value: &mut [u8]) {
    let mut buffer = [0; LONGEST];
    let Some(text) = decode(value, &mut buffer) else { return };
    if authority::mend(text, stand_in) || fill(text, value.len()) {
        encode(text, value);
    }
}

/// Decodes `value` into `buffer`.
fn decode<'a>(value: &[u8], buffer: &'a mut [u8]) -> Option<&'a mut [u8]> {
    let bits = value.len() * 8;
    let (mut at, mut count) = (0, 0);
    loop {
        match first(window(value, at)) {
            Some((octet, length)) if at + length as usize <= bits => {
                *buffer.get_mut(count)? = octet;
                at += length as usize;
                count += 1;
            }
            // Padding is shorter than an octet, and all ones (section 5.2).
            None if bits - at < 8 => return buffer.get_mut(..count),
            _ => return None,
        }
    }
}

/// The 32 bits from bit `at` on. Bits beyond the end are ones, like the padding.
fn window(value: &[u8], at: usize) -> u32 {
    let octet = |i| u64::from(*value.get(at / 8 + i).unwrap_or(&0xff));
    let bits = (0..5).fold(0, |bits, i| bits << 8 | octet(i));
    (bits >> (8 - at % 8)) as u32
}

/// The octet whose code begins the window, and the length of that code. `None` if no octet has it.
fn first(window: u32) -> Option<(u8, u32)> {
    let mut codes = 0;
    for (length, octets) in OCTETS {
        let nth = (window - codes) >> (32 - length);
        if let Some(&octet) = octets.get(nth as usize) {
            return Some((octet, length));
        }
        codes += (octets.len() as u32) << (32 - length);
    }
    None
}

/// A character with a code of the same length, if there is one.
fn stand_in(octet: u8) -> u8 {
    let (_, length) = CODES[usize::from(octet)];
    STAND_INS.iter().find(|(known, _)| *known == length).map_or(octet, |(_, stand_in)| *stand_in)
}

/// Replaces the whole text by some authority of the same length in characters and octets. This is for a
/// text with a character that cannot be replaced alone, such as `#`, `{` or one that is not ASCII. There
/// is no such authority if the characters take more than 13 bits each.
fn fill(text: &mut [u8], octets: usize) -> bool {
    let shortest = STAND_INS[0].0 as usize;
    let mut spare = octets * 8 - text.len() * shortest;
    for c in text {
        for (length, stand_in) in STAND_INS {
            if length as usize - shortest <= spare {
                *c = stand_in;
            }
        }
        spare -= CODES[usize::from(*c)].1 as usize - shortest;
    }
    // The rest is padding.
    spare < 8
}

/// Encodes the text over a value of the same length.
fn encode(text: &[u8], value: &mut [u8]) {
    let (mut bits, mut count) = (0_u64, 0);
    let mut octets = value.iter_mut();
    for c in text {
        let (code, length) = CODES[usize::from(*c)];
        bits = bits << length | u64::from(code);
        count += length;
        while count >= 8 {
            count -= 8;
            if let Some(octet) = octets.next() {
                *octet = (bits >> count) as u8;
            }
        }
    }
    if let Some(octet) = octets.next() {
        *octet = (bits << (8 - count)) as u8 | 0xff >> count;
    }
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;
    use proptest::prelude::*;

    use super::*;
    use crate::cases::cases;

    /// Encodes with another implementation.
    fn coded(text: &[u8]) -> Vec<u8> {
        let mut value = Vec::new();
        httlib_huffman::encode(text, &mut value).expect("every octet has a code");
        value
    }

    /// Decodes with another implementation.
    fn plain(value: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        let speed = httlib_huffman::DecoderSpeed::OneBit;
        httlib_huffman::decode(value, &mut text, speed).expect("a whole value");
        text
    }

    fn mended(text: &[u8]) -> Vec<u8> {
        let was = coded(text);
        let mut is = was.clone();
        mend(&mut is);
        assert_eq!(is.len(), was.len());
        plain(&is)
    }

    /// Appendix B of RFC 7541: the number of octets that have a code of each length. In addition, the
    /// end of a string has a code of 30 bits.
    #[test]
    fn the_code_is_complete_and_its_lengths_are_the_rfcs() {
        let counts = OCTETS.map(|(length, octets)| (length, octets.len()));
        let rfc = [
            (5, 10),
            (6, 26),
            (7, 32),
            (8, 6),
            (10, 5),
            (11, 3),
            (12, 2),
            (13, 6),
            (14, 2),
            (15, 3),
            (19, 3),
            (20, 8),
            (21, 13),
            (22, 26),
            (23, 29),
            (24, 12),
            (25, 4),
            (26, 15),
            (27, 19),
            (28, 29),
            (30, 3),
        ];
        assert_eq!(counts, rfc);
        let taken: u64 =
            counts.iter().map(|(length, count)| (*count as u64) << (30 - length)).sum();
        assert_eq!(taken + 1, 1 << 30);
    }

    #[test]
    fn every_octet_has_the_code_that_it_has_elsewhere() {
        for octet in 0..=255_u8 {
            // Eight of them end where an octet ends, so there is no padding.
            let value = coded(&[octet; 8]);
            assert_eq!(CODES[usize::from(octet)].1 as usize, value.len(), "{octet}");
            let mut ours = vec![0; value.len()];
            encode(&[octet; 8], &mut ours);
            assert_eq!(ours, value, "{octet}");
            assert_eq!(decode(&value, &mut [0; 8]), Some([octet; 8].as_mut_slice()), "{octet}");
        }
    }

    #[test]
    fn a_stand_in_has_its_octets_length_and_is_accepted_anywhere() {
        for octet in 0..=255 {
            let (length, stand_in) = (CODES[usize::from(octet)].1, stand_in(octet));
            assert_eq!(CODES[usize::from(stand_in)].1, length, "{octet}");
            let accepted = Authority::try_from([stand_in].as_slice()).is_ok();
            assert_eq!(accepted, ![12, 14, 15].contains(&length) && length < 19, "{octet}");
        }
    }

    #[test]
    fn a_character_gives_way_to_one_of_its_length() {
        for (was, is) in [
            ("tmp%2Fagent.sock", "tmp-2Fagent.sock"),
            ("/tmp/agent.sock", "-tmp-agent.sock"),
            ("a b:80", "a-b:80"),
            ("a:b:c/", "axbxc-"),
            ("\"|\0?", "!+~!"),
            ("localhost:50051", "localhost:50051"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&mended(was.as_bytes())), is);
        }
    }

    #[test]
    fn one_without_a_stand_in_has_the_whole_text_replaced() {
        for was in ["#", "a#b>c", "{/tmp/agent.sock}", "/home/jos\u{e9}/agent.sock", "/tmp\\\\sock"]
        {
            let is = mended(was.as_bytes());
            assert_eq!(is.len(), was.len());
            assert!(Authority::try_from(is.as_slice()).is_ok(), "{was} became {is:?}");
        }
    }

    #[test]
    fn what_cannot_be_mended_stays() {
        assert_eq!(mended("\u{e9}\u{e8}".as_bytes()), "\u{e9}\u{e8}".as_bytes());
        let long = b"/".repeat(LONGEST);
        assert_eq!(mended(&long), b"-".repeat(LONGEST));
        let longer = b"/".repeat(LONGEST + 1);
        assert_eq!(mended(&longer), longer);
    }

    #[test]
    fn a_malformed_value_stays() {
        let slash = coded(b"/");
        for was in [
            // Padding of zeros, padding of an octet or more, the end of a string.
            vec![slash[0] & !1],
            [coded(b"////"), vec![0xff]].concat(),
            [slash.clone(), vec![0xff]].concat(),
            [slash, vec![0xff; 4]].concat(),
        ] {
            let mut is = was.clone();
            mend(&mut is);
            assert_eq!(is, was);
        }
    }

    proptest! {
        #![proptest_config(cases(4_000))]

        #[test]
        fn whatever_was_sent_is_accepted_afterwards_where_anything_of_its_length_is(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 1..9),
                prop::collection::vec(0x20..0x7f_u8, 1..60),
                "[a-z/%:@\u{e9}{}#.]{1,60}".prop_map(String::into_bytes),
            ],
        ) {
            let is = mended(&text);
            prop_assert_eq!(is.len(), text.len());
            let accepted = |text: &[u8]| Authority::try_from(text).is_ok();
            // The most bits of an accepted text, and the fewest bits of these octets.
            let possible = 13 * text.len() >= coded(&text).len() * 8 - 7;
            prop_assert_eq!(accepted(&is), possible);
            if accepted(&text) || !possible {
                prop_assert_eq!(is, text);
            }
        }

        #[test]
        fn anything_else_keeps_its_length(mut value in prop::collection::vec(any::<u8>(), 0..40)) {
            mend(&mut value);
        }
    }
}
