//! Properties that hold for any table, valid or not.
#![cfg(not(loom))]

mod arbitrary;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use arbitrary::{CAPACITY, SLOTS, cases, cell, structure};
use pointsman_table::{
    Capacity, Cell, Counters, EndpointRecord, Group, Mode, Outcome, Picker, Random, Request, Row,
    Structure, StructureError, Table, TableWriter, alias_rows,
};
use proptest::prelude::*;

fn open() -> Cell {
    Cell { slope: 1.0, ..Cell::default() }
}

fn writer(structure: &Structure) -> TableWriter {
    let mut writer = TableWriter::on_heap(CAPACITY);
    for slot in 0..SLOTS {
        writer.write_cell(slot, &open());
    }
    writer.write_structure(structure).unwrap();
    writer.publish();
    writer
}

fn picker(writer: &TableWriter, seed: u32) -> Picker {
    Picker::new(writer.table(), Counters::on_heap(SLOTS, 1), seed, None)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(|v6| v6.to_canonical()),
    ];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn endpoint() -> impl Strategy<Value = EndpointRecord> {
    let labels = prop::collection::vec((".{0,6}", ".{0,6}"), 0..3);
    (0..SLOTS, address(), "[a-c]{0,3}", 0.0..9.0_f32, any::<u32>(), labels).prop_map(
        |(slot, address, zone, weight, incarnation, labels)| EndpointRecord {
            slot,
            address,
            zone: zone.into(),
            weight,
            incarnation,
            labels,
        },
    )
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn what_is_read_is_what_was_written(
        structure in structure(),
        endpoints in prop::collection::vec(endpoint(), 0..6),
    ) {
        let structure = Structure { endpoints, ..structure };
        let writer = writer(&structure);
        let of_image = Table::from_image(&writer.image()).unwrap();
        let counters = Counters::on_heap(SLOTS, 1);
        let of_image: Picker = Picker::new(of_image, counters, 1, None);
        let written = picker(&writer, 1);
        prop_assert_eq!(written.structure(), &structure);
        prop_assert_eq!(of_image.structure(), &structure);
        for endpoint in &structure.endpoints {
            let found = of_image.endpoint(endpoint.slot).unwrap();
            prop_assert_eq!(found.slot, endpoint.slot);
        }
    }

    #[test]
    fn candidates_are_distinct_members_of_their_group(structure in structure(), seed: u32) {
        let writer = writer(&structure);
        let mut picker = picker(&writer, seed);
        for _ in 0..if cfg!(miri) { 2 } else { 20 } {
            let explained = picker.explained(&Request::default());
            let group = explained.group.unwrap();
            let candidates: Vec<_> = (explained.candidates.iter())
                .filter(|candidate| candidate.group == Some(group))
                .map(|candidate| candidate.slot)
                .collect();
            let distinct: HashSet<_> = candidates.iter().copied().collect();
            let group = &structure.groups[group as usize];
            let rows = group.first_row as usize..(group.first_row + group.rows) as usize;
            let members: HashSet<_> = match group.mode {
                Mode::Weighted => {
                    (structure.rows[rows].iter()).flat_map(|row| [row.slot, row.alias]).collect()
                }
                Mode::Hashed => structure.ring[rows].iter().copied().collect(),
            };
            prop_assert!(distinct.is_subset(&members));
            prop_assert!(!candidates.is_empty() && distinct.len() <= group.choices as usize);
            // A scan of all rows may meet a slot twice. Drawn and hashed candidates are distinct.
            if group.mode == Mode::Hashed || group.rows > group.choices {
                prop_assert_eq!(distinct.len(), candidates.len());
            }
        }
    }

    #[test]
    fn garbage_is_refused_or_picked_from_without_harm(
        structure in structure(),
        cells in prop::collection::vec(cell(), SLOTS as usize),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), word()), 1..40),
        seed: u32,
    ) {
        let mut writer = writer(&structure);
        for (slot, cell) in cells.iter().enumerate() {
            writer.write_cell(slot as u32, cell);
        }
        let mut image = writer.image();
        for (index, word) in garbage {
            let at = index.index(image.len() / 4) * 4;
            image[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let Ok(table) = Table::from_image(&image) else { return Ok(()) };
        let slots = table.capacity().slots;
        let counters = Counters::on_heap(slots, 1);
        let mut picker: Picker = Picker::new(table, counters, seed, None);
        let exclude = [1, 2];
        for request in [
            Request::default(),
            Request { exclude: &exclude, ..Request::default() },
            Request { key: Some(b"key"), cost: u32::MAX, ..Request::default() },
        ] {
            for _ in 0..if cfg!(miri) { 2 } else { 10 } {
                let picked = picker.explained(&request).pick.or_else(|| picker.pick(&request));
                if let Some(pick) = picked {
                    prop_assert!(pick.slot < slots);
                    picker.end(pick.slot, pick.cost, Outcome::Expired, Some(u32::MAX));
                }
            }
        }
        picker.detach();
        picker.pick(&Request::default());
    }

    #[test]
    fn a_structure_beyond_a_capacity_is_refused_whole(structure in structure(), less in 0..5_usize) {
        let mut capacity = Capacity {
            groups: structure.groups.len() as u32,
            rows: structure.rows.len() as u32,
            ring: structure.ring.len() as u32,
            ..CAPACITY
        };
        prop_assert_eq!(TableWriter::fits(&structure, capacity), Ok(()));
        let named = (structure.rows.iter().flat_map(|row| [row.slot, row.alias]))
            .chain(structure.ring.iter().copied());
        let highest = named.max().unwrap_or(0);
        let field = match less {
            0 => Some(&mut capacity.groups),
            1 => Some(&mut capacity.rows),
            2 => Some(&mut capacity.ring),
            _ => None,
        };
        match field {
            Some(field) if *field > 0 => *field -= 1,
            Some(_) => return Ok(()),
            None => capacity.slots = highest,
        }
        let mut writer = TableWriter::on_heap(capacity);
        let refused = writer.write_structure(&structure);
        prop_assert!(matches!(refused, Err(StructureError::CapacityExceeded(_))), "{:?}", refused);
        prop_assert_eq!(writer.table().generation(), 0);
    }
}

/// Words with a meaning somewhere in the format, and arbitrary ones.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        prop::sample::select(vec![0, 1, 2, 3, 11, 12, 13, u32::MAX, u32::MAX - 1, 1 << 31]),
        prop::sample::select(vec![f32::NAN, f32::INFINITY, -1.0, f32::MAX]).prop_map(f32::to_bits),
        any::<u32>(),
    ]
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn alias_draws_keep_the_shares(
        weights in prop::collection::vec(prop_oneof![0.0..10.0_f64, Just(1000.0)], 1..20),
        seed: u32,
    ) {
        const DRAWS: u32 = if cfg!(miri) { 1_000 } else { 100_000 };
        let weighted: Vec<_> = (0..).zip(weights.iter().copied()).collect();
        let rows = alias_rows(&weighted);
        let sum: f64 = weights.iter().sum();
        prop_assume!(sum > 0.0);
        let mut drawn = vec![0_u32; weights.len()];
        let mut random = Random::new(seed);
        for _ in 0..DRAWS {
            let product = u64::from(random.draw()) * rows.len() as u64;
            let row = rows[(product >> 32) as usize];
            let slot = if (product as u32) < row.probability { row.slot } else { row.alias };
            drawn[slot as usize] += 1;
        }
        for (drawn, weight) in drawn.iter().zip(&weights) {
            let share = weight / sum;
            // Six standard deviations.
            let tolerance = 6.0 * (share * (1.0 - share) / f64::from(DRAWS)).sqrt() + 1e-9;
            let found = f64::from(*drawn) / f64::from(DRAWS);
            prop_assert!((found - share).abs() <= tolerance, "{} for {}", found, share);
        }
    }
}

/// The property above found this case: repeated draws may never reach the aliases, and no row has
/// another slot of its own.
#[test]
fn rows_of_one_slot_of_their_own_offer_it_once() {
    let rows = [642_423_895, 2_188_193_778, 809_265_899];
    let structure = Structure {
        groups: vec![Group { rows: 3, ..Group::default() }],
        rows: rows.map(|probability| Row { probability, alias: 0, slot: 11 }).to_vec(),
        ..Structure::default()
    };
    let writer = writer(&structure);
    let seeds = if cfg!(miri) { 20 } else { 1_000 };
    for seed in 0..seeds {
        let candidates = picker(&writer, seed).explained(&Request::default()).candidates;
        let distinct: HashSet<_> = candidates.iter().map(|candidate| candidate.slot).collect();
        assert_eq!(distinct.len(), candidates.len(), "seed {seed}: {candidates:?}");
    }
}
