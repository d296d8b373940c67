//! An HPACK encoder (RFC 7541) that chooses at random between all encodings of the same fields.

use proptest::prelude::*;

/// The names in the static table that the requests use, with their first entries.
const STATIC: [(&str, usize); 6] = [
    (":authority", 1),
    (":method", 2),
    (":path", 4),
    (":scheme", 6),
    ("accept", 19),
    ("user-agent", 58),
];
const FIRST_DYNAMIC: usize = 62;
/// The size of an entry in a table, besides its texts.
const OVERHEAD: usize = 32;
/// The decoder's maximum size of the table, unless its settings have another one.
pub(crate) const LARGEST_TABLE: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Field {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Field {
    pub(crate) fn new(name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Field { name: name.into(), value: value.into() }
    }

    fn size(&self) -> usize {
        self.name.len() + self.value.len() + OVERHEAD
    }
}

/// How to encode a field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) indexed: bool,
    pub(crate) literal: Literal,
    pub(crate) name_indexed: bool,
    pub(crate) name_huffman: bool,
    pub(crate) value_huffman: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    Added,
    NotAdded,
    NeverAdded,
}

pub(crate) fn how() -> impl Strategy<Value = How> {
    let literal = prop_oneof![
        3 => Just(Literal::Added),
        1 => Just(Literal::NotAdded),
        1 => Just(Literal::NeverAdded),
    ];
    (prop::bool::weighted(0.8), literal, any::<[bool; 3]>()).prop_map(
        |(indexed, literal, [name_indexed, name_huffman, value_huffman])| How {
            indexed,
            literal,
            name_indexed,
            name_huffman,
            value_huffman,
        },
    )
}

pub(crate) struct Encoder {
    /// The newest entry is the first.
    table: Vec<Field>,
    largest: usize,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Encoder { table: Vec::new(), largest: LARGEST_TABLE }
    }

    pub(crate) fn resize(&mut self, largest: usize, block: &mut Vec<u8>) {
        integer(block, 0x20, 5, largest);
        self.largest = largest;
        self.evict();
    }

    pub(crate) fn encode(&mut self, field: &Field, how: How, block: &mut Vec<u8>) {
        let known = self.table.iter().position(|known| known == field);
        if let Some(at) = known.filter(|_| how.indexed) {
            return integer(block, 0x80, 7, FIRST_DYNAMIC + at);
        }
        let (first, prefix) = match how.literal {
            Literal::Added => (0x40, 6),
            Literal::NotAdded => (0x00, 4),
            Literal::NeverAdded => (0x10, 4),
        };
        let name = self.name(field).filter(|_| how.name_indexed);
        integer(block, first, prefix, name.unwrap_or(0));
        if name.is_none() {
            string(block, &field.name, how.name_huffman);
        }
        string(block, &field.value, how.value_huffman);
        if how.literal == Literal::Added {
            self.table.insert(0, field.clone());
            self.evict();
        }
    }

    fn name(&self, field: &Field) -> Option<usize> {
        let fixed = STATIC.iter().find(|(name, _)| name.as_bytes() == field.name);
        let added = || self.table.iter().position(|known| known.name == field.name);
        fixed.map(|(_, at)| *at).or_else(|| Some(FIRST_DYNAMIC + added()?))
    }

    fn evict(&mut self) {
        while self.table.iter().map(Field::size).sum::<usize>() > self.largest {
            self.table.pop();
        }
    }
}

fn integer(block: &mut Vec<u8>, first: u8, prefix: u8, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return block.push(first | value as u8);
    }
    block.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

fn string(block: &mut Vec<u8>, text: &[u8], coded: bool) {
    let (first, octets) = if coded { (0x80, huffman(text)) } else { (0x00, text.to_vec()) };
    integer(block, first, 7, octets.len());
    block.extend(octets);
}

pub(crate) fn huffman(text: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    httlib_huffman::encode(text, &mut coded).expect("every octet has a code");
    coded
}
