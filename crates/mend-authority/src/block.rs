//! Header blocks (RFC 7541, section 6): finds each `:authority` literal in one.
//!
//! No dynamic table is needed: a literal is mended before the server's decoder sees it. So the decoder
//! adds the mended literal to its table, and later references mean the mended one.

use crate::{authority, huffman};

const NAME: &[u8] = b":authority";
const HUFFMAN_NAME: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// Mends each `:authority` literal of a block, up to its end or to the first malformed place.
pub(crate) fn mend(mut block: &mut [u8]) {
    while mend_first(&mut block).is_some() {}
}

/// Takes a field representation off the front, and mends it.
fn mend_first(block: &mut &mut [u8]) -> Option<()> {
    let (literal, prefix) = match block.first()? {
        0x80.. => (false, 7),      // a field of a table
        0x40..=0x7f => (true, 6),  // a literal that is added to the dynamic table
        0x20..=0x3f => (false, 5), // a new size of the dynamic table
        0x00..=0x1f => (true, 4),  // a literal that is not added, or never
    };
    let index = integer(block, prefix)?;
    if literal {
        let authority = match index {
            // C-core writes the name as a literal, although the static table has it.
            0 => string(block)?.is_authority(),
            // The static table's first entry.
            _ => index == 1,
        };
        let value = string(block)?;
        if authority {
            value.mend();
        }
    }
    Some(())
}

/// Takes an integer (section 5.1). It begins with `prefix` bits of the first octet.
fn integer(block: &mut &mut [u8], prefix: u8) -> Option<usize> {
    let most = (1 << prefix) - 1;
    let first = usize::from(*block.split_off_first_mut()?) & most;
    if first < most {
        return Some(first);
    }
    // h2 accepts no more octets than these, and no client needs more.
    let mut sum = first;
    for shift in [0, 7, 14, 21] {
        let octet = *block.split_off_first_mut()?;
        sum += usize::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Some(sum);
        }
    }
    None
}

/// Takes a string (section 5.2).
fn string<'a>(block: &mut &'a mut [u8]) -> Option<Text<'a>> {
    let text = if *block.first()? < 0x80 { Text::Raw } else { Text::Huffman };
    let length = integer(block, 7)?;
    block.split_off_mut(..length).map(text)
}

/// An encoded string.
enum Text<'a> {
    Raw(&'a mut [u8]),
    Huffman(&'a mut [u8]),
}

impl Text<'_> {
    fn is_authority(&self) -> bool {
        match self {
            Text::Raw(name) => *name == NAME,
            Text::Huffman(name) => *name == HUFFMAN_NAME,
        }
    }

    fn mend(self) {
        match self {
            Text::Raw(value) => {
                authority::mend(value, |_| b'-');
            }
            Text::Huffman(value) => huffman::mend(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(parts: &[&[u8]]) -> Vec<u8> {
        let mut block = parts.concat();
        mend(&mut block);
        block
    }

    #[test]
    fn every_way_to_write_the_literal_is_found() {
        let huffman_name = [&[0x88], HUFFMAN_NAME].concat();
        let name = [&[0x0a], NAME].concat();
        for first in [0x40, 0x00, 0x10] {
            for (index, name) in [(0, name.as_slice()), (0, &huffman_name), (1, &[])] {
                let front = [&[first | index], name].concat();
                assert_eq!(mended(&[&front, b"\x04/a%b"]), [&front, &b"\x04-a-b"[..]].concat());
                // `/a%b`: 011000 00011 010101 100011, and a padding of one.
                let coded = [0x83, 0b0110_0000, 0b0110_1010, 0b1100_0111];
                let is = [0x83, 0b0101_1000, 0b0110_1011, 0b0100_0111];
                assert_eq!(mended(&[&front, &coded]), [front, is.to_vec()].concat());
            }
        }
    }

    #[test]
    fn the_huffman_coded_name_is_the_name() {
        let mut coded = Vec::new();
        httlib_huffman::encode(NAME, &mut coded).expect("every octet has a code");
        assert_eq!(coded, HUFFMAN_NAME);
    }

    #[test]
    fn it_is_found_behind_and_before_anything_else() {
        let behind: &[&[u8]] = &[
            b"\x20\x2f\x3f\xe1\x1f",     // the dynamic table's size: 0, 15, 4096
            b"\x83\x86\xbe\xff\x80\x01", // fields of a table: 3, 6, 62, 255
            b"\x44\x02/%",               // :path
            b"\xff\x80\x80\x80\x00",     // an integer as long as h2 takes one: 127
            b"\x0f\x2f\x01/",            // a name of the dynamic table: 62
            b"\x00\x01a\x01/",           // names and values written out
            b"\x10\x01a\x00",
            b"\x00\x0a:authoritx\x01/",
            b"\x00\x01a\x0b\x41\x03a/b\x41\x03a/b\x00",
        ];
        for part in behind.iter().chain([&behind.concat().as_slice()]) {
            let is = mended(&[part, b"\x41\x01/", part, b"\x41\x01%\x82"]);
            assert_eq!(is, [part, &b"\x41\x01-"[..], part, b"\x41\x01-\x82"].concat());
        }
    }

    #[test]
    fn a_long_value_is_mended() {
        let value = [&b"a"[..], &b"/".repeat(299)].concat();
        // 300 is 127 + 173, and 173 is 45 + 1 * 128.
        let is = mended(&[b"\x41\x7f\xad\x01", &value, b"\x41\x01/"]);
        assert_eq!(is, [b"\x41\x7f\xad\x01a", &*b"-".repeat(299), b"\x41\x01-"].concat());
    }

    #[test]
    fn from_where_it_is_malformed_a_block_stays() {
        for part in [
            &b"\x41"[..],                         // no value
            b"\x40\x0a:auth",                     // a name cut off
            b"\x41\x04/a%",                       // a value cut off
            b"\xff\x80\x80\x80\x80\x00\x41\x01/", // an integer of too many octets
            b"\x41\x7f\xff\xff\xff\xff\x41\x01/", // the same as a length
            b"\x41\x7f\xff\xff\xff\x7f\x41\x01/", // longer than all there is
        ] {
            assert_eq!(mended(&[b"\x41\x01/", part]), [b"\x41\x01-", part].concat());
        }
    }
}
