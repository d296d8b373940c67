//! Encodes a structure as the words of a bank, and decodes it.
//!
//! A text area holds zones and labels. Endpoints refer to it by offset and length, in bytes. Equal
//! texts are stored once. The labels of an endpoint are one text: for each label the length of its key
//! (u32), the key, the length of its value (u32), the value.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use crate::{
    layout::{COUNTS, ENDPOINT_WORDS, GROUP_WORDS, Layout, NONE, ROW_WORDS},
    structure::{
        CapacityExceeded, EndpointRecord, Group, Malformed, Mode, Row, Structure, StructureError,
    },
};

/// Runs of words, each with its offset in the bank. The words between the runs have no meaning.
pub(crate) type Runs = Vec<(usize, Vec<u32>)>;

/// Encodes a structure for a bank of this layout. Only the parts in use are written.
pub(crate) fn encode(structure: &Structure, layout: &Layout) -> Result<Runs, StructureError> {
    structure.check(layout.capacity.slots)?;
    structure.check_capacity(&layout.capacity)?;

    let (endpoints, text) = endpoints_and_text(structure);
    if text.bytes.len() > layout.capacity.text as usize {
        return Err(CapacityExceeded {
            what: "bytes of text",
            needed: text.bytes.len() as u64,
            capacity: layout.capacity.text,
        }
        .into());
    }

    let mut counts = vec![0; COUNTS];
    counts[..5].copy_from_slice(&[
        structure.groups.len() as u32,
        structure.rows.len() as u32,
        structure.ring.len() as u32,
        structure.endpoints.len() as u32,
        text.bytes.len() as u32,
    ]);
    let rows = structure.rows.iter().flat_map(|row| [row.probability, row.alias, row.slot]);
    Ok(vec![
        (0, counts),
        (COUNTS, structure.groups.iter().flat_map(group_words).collect()),
        (layout.rows, rows.collect()),
        (layout.ring, structure.ring.clone()),
        (layout.endpoints, endpoints),
        (layout.text, text.into_words()),
    ])
}

/// How many bytes of text a structure needs.
pub(crate) fn text_bytes(structure: &Structure) -> usize {
    endpoints_and_text(structure).1.bytes.len()
}

fn endpoints_and_text(structure: &Structure) -> (Vec<u32>, Text) {
    let mut text = Text::default();
    let endpoints = structure.endpoints.iter();
    let words = endpoints.flat_map(|endpoint| endpoint_words(endpoint, &mut text)).collect();
    (words, text)
}

fn group_words(group: &Group) -> [u32; GROUP_WORDS] {
    [
        group.threshold,
        group.choices,
        match group.mode {
            Mode::Weighted => 0,
            Mode::Hashed => 1,
        },
        group.overflow.unwrap_or(NONE),
        group.spill_at.to_bits(),
        group.spill_margin.to_bits(),
        group.first_row,
        group.rows,
    ]
}

fn endpoint_words(endpoint: &EndpointRecord, text: &mut Text) -> [u32; ENDPOINT_WORDS] {
    let [a, b, c, d] = address_words(endpoint.address.ip());
    let (zone, zone_len) = text.place(endpoint.zone.as_bytes());
    let (labels, labels_len) = text.place(&label_bytes(&endpoint.labels));
    [
        endpoint.slot,
        a,
        b,
        c,
        d,
        u32::from(endpoint.address.port()),
        zone,
        zone_len,
        endpoint.weight.to_bits(),
        endpoint.incarnation,
        labels,
        labels_len,
    ]
}

/// The 16 bytes of an IPv6 address in memory order. An IPv4 address takes its IPv6 form.
pub(crate) fn address_words(address: IpAddr) -> [u32; 4] {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
    .octets();
    std::array::from_fn(|i| {
        u32::from_le_bytes([octets[4 * i], octets[4 * i + 1], octets[4 * i + 2], octets[4 * i + 3]])
    })
}

pub(crate) fn address_of(words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    for (four, word) in octets.chunks_exact_mut(4).zip(words) {
        four.copy_from_slice(&word.to_le_bytes());
    }
    Ipv6Addr::from(octets).to_canonical()
}

fn label_bytes(labels: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in labels.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend((part.len() as u32).to_le_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    placed: HashMap<Vec<u8>, u32>,
}

impl Text {
    fn place(&mut self, piece: &[u8]) -> (u32, u32) {
        if piece.is_empty() {
            return (0, 0);
        }
        let len = piece.len() as u32;
        if let Some(&offset) = self.placed.get(piece) {
            return (offset, len);
        }
        let offset = self.bytes.len() as u32;
        self.bytes.extend(piece);
        self.placed.insert(piece.to_vec(), offset);
        (offset, len)
    }

    fn into_words(self) -> Vec<u32> {
        let word = |four: &[u8]| {
            let mut whole = [0; 4];
            whole[..four.len()].copy_from_slice(four);
            u32::from_le_bytes(whole)
        };
        self.bytes.chunks(4).map(word).collect()
    }
}

/// A copy of the used parts of a bank. Its numbers are not trusted.
#[derive(Clone, Debug, Default)]
pub(crate) struct BankCopy {
    pub(crate) groups: Vec<u32>,
    pub(crate) rows: Vec<u32>,
    pub(crate) ring: Vec<u32>,
    pub(crate) endpoints: Vec<u32>,
    pub(crate) text: Vec<u32>,
    pub(crate) text_len: usize,
}

/// Decodes a structure. It is an error if no picker could use it.
pub(crate) fn decode(copied: &BankCopy, slots: u32) -> Result<Structure, StructureError> {
    let groups = copied.groups.as_chunks().0.iter().map(group_of).collect::<Result<_, _>>()?;
    let rows = copied.rows.as_chunks::<ROW_WORDS>().0.iter();
    let mut bytes: Vec<u8> = copied.text.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(copied.text_len);
    let mut zones = HashMap::new();
    let endpoints = (copied.endpoints.as_chunks().0.iter())
        .map(|words| endpoint_of(words, &bytes, &mut zones))
        .collect::<Result<_, _>>()?;
    let structure = Structure {
        groups,
        rows: rows.map(|&[probability, alias, slot]| Row { probability, alias, slot }).collect(),
        ring: copied.ring.clone(),
        endpoints,
    };
    structure.check(slots)?;
    Ok(structure)
}

fn group_of(words: &[u32; GROUP_WORDS]) -> Result<Group, Malformed> {
    let &[threshold, choices, mode, overflow, spill_at, spill_margin, first_row, rows] = words;
    Ok(Group {
        threshold,
        choices,
        mode: match mode {
            0 => Mode::Weighted,
            1 => Mode::Hashed,
            value => return Err(Malformed::Word { what: "a group's mode", value }),
        },
        overflow: (overflow != NONE).then_some(overflow),
        spill_at: f32::from_bits(spill_at),
        spill_margin: f32::from_bits(spill_margin),
        first_row,
        rows,
    })
}

fn endpoint_of(
    words: &[u32; ENDPOINT_WORDS],
    text: &[u8],
    zones: &mut HashMap<(u32, u32), Arc<str>>,
) -> Result<EndpointRecord, Malformed> {
    let &[slot, a, b, c, d, port, zone, zone_len, weight, incarnation, labels, labels_len] = words;
    let port = u16::try_from(port).map_err(|_| Malformed::Word { what: "a port", value: port })?;
    let zone = match zones.get(&(zone, zone_len)) {
        Some(known) => Arc::clone(known),
        None => {
            let name = piece(text, zone, zone_len)
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .ok_or(Malformed::Word { what: "a zone's offset", value: zone })?;
            zones.entry((zone, zone_len)).or_insert(Arc::from(name)).clone()
        }
    };
    let labels = piece(text, labels, labels_len)
        .and_then(labels_of)
        .ok_or(Malformed::Word { what: "the labels' offset", value: labels })?;
    Ok(EndpointRecord {
        slot,
        address: SocketAddr::new(address_of([a, b, c, d]), port),
        zone,
        weight: f32::from_bits(weight),
        incarnation,
        labels,
    })
}

fn piece(text: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    text.get(offset as usize..)?.get(..len as usize)
}

fn labels_of(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !bytes.is_empty() {
        let mut part = || {
            let (len, rest) = bytes.split_first_chunk()?;
            let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            bytes = rest;
            String::from_utf8(part.to_vec()).ok()
        };
        labels.push((part()?, part()?));
    }
    Some(labels)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Capacity, TableWriter};

    fn labelled(slot: u32, zone: &str) -> EndpointRecord {
        EndpointRecord {
            zone: zone.into(),
            weight: 2.5,
            incarnation: 7,
            labels: vec![("a".into(), "".into()), ("ä\n=".into(), "value".into())],
            ..EndpointRecord::new(slot, "[2001:db8::1]:65535".parse().unwrap())
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let structure = Structure {
            endpoints: vec![
                labelled(0, "europe-west1-b"),
                labelled(1, "europe-west1-b"),
                EndpointRecord::new(2, "10.1.2.3:80".parse().unwrap()),
            ],
            ring: vec![2, 1, 0],
            ..Structure::default()
        };
        let mut writer = TableWriter::on_heap(Capacity::for_endpoints(3));
        let capacity = Capacity { ring: 3, ..Capacity::for_endpoints(3) };
        assert_eq!(
            writer.write_structure(&structure).unwrap_err().to_string(),
            "the table has room for 0 ring rows, not for 3"
        );
        writer = TableWriter::on_heap(capacity);
        writer.write_structure(&structure).unwrap();
        let latest = writer.table().latest(true).unwrap();
        assert_eq!(latest.plan.structure, structure);
        assert_eq!(latest.plan.endpoint(2), Some(&structure.endpoints[2]));
    }

    #[test]
    fn endpoints_are_left_out_where_slots_are_enough() {
        let mut writer = TableWriter::on_heap(Capacity::for_endpoints(1));
        let endpoints = vec![labelled(0, "zone")];
        let structure = Structure { endpoints, ..Structure::default() };
        writer.table().read_slots_only();
        writer.write_structure(&structure).unwrap();
        let latest = writer.table().latest(true).unwrap();
        assert_eq!(latest.plan.structure, Structure::default());
        assert_eq!(latest.plan.endpoint(0), None);
    }

    #[test]
    fn text_that_is_said_twice_takes_room_once() {
        let endpoints: Vec<_> = (0..10).map(|slot| labelled(slot, "zone")).collect();
        let labels = label_bytes(&endpoints[0].labels).len() as u32;
        let structure = Structure { endpoints, ..Structure::default() };
        let exact = Capacity { text: labels + 4, ..Capacity::for_endpoints(10) };
        assert_eq!(TableWriter::fits(&structure, exact), Ok(()));
        let needed = Capacity::of(&structure);
        assert_eq!((needed.text, needed.endpoints, needed.slots), (exact.text, 10, 10));
        assert_eq!(TableWriter::fits(&structure, needed), Ok(()));
        let short = Capacity { text: labels + 3, ..exact };
        let error = TableWriter::fits(&structure, short).unwrap_err();
        assert!(error.to_string().ends_with(&format!("not for {}", labels + 4)), "{error}");
    }
}
