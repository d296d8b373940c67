//! Random tables and requests, so small that the rare paths of a pick are frequent.
#![allow(dead_code, reason = "each test uses a part")]

use pointsman_table::{Capacity, Cell, Group, Mode, Row, Structure, alias_rows};
use proptest::prelude::*;

pub(crate) const SLOTS: u32 = 12;
pub(crate) const CAPACITY: Capacity =
    Capacity { groups: 4, rows: 64, ring: 64, slots: SLOTS, endpoints: 12, text: 512 };

/// Few cases where each is slow (Miri), and many elsewhere.
pub(crate) fn cases(many: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(many),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Numbers that lead to ties, overflow and numeric extremes.
pub(crate) fn number() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => prop::sample::select(vec![0.0, 1.0, 2.0, 3.0, 0.1, 0.3, 1e-3, 7.5]),
        1 => 0.0..10.0_f32,
        1 => prop::sample::select(vec![f32::MAX, f32::MIN_POSITIVE, 1e38, 16_777_217.0]),
    ]
}

pub(crate) fn cell() -> impl Strategy<Value = Cell> {
    let knee = prop_oneof![3 => Just(f32::MAX), 1 => number()];
    let limit = prop_oneof![4 => Just(i32::MAX), 1 => Just(0), 1 => -3..4_i32];
    (number(), number(), knee, number(), number(), limit).prop_map(
        |(base, slope, knee, hot_base, hot_slope, limit)| Cell {
            base,
            slope,
            knee,
            hot_base,
            hot_slope,
            limit,
        },
    )
}

/// Rows as a planner makes them, or any valid ones.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let weight = prop::sample::select(vec![0.0, 1.0, 1.0, 2.0, 1000.0, 0.001]);
    let planned = prop::collection::vec((0..SLOTS, weight), 1..9).prop_map(|mut weights| {
        weights.sort_by_key(|(slot, _)| *slot);
        weights.dedup_by_key(|(slot, _)| *slot);
        let rows = alias_rows(&weights);
        if rows.is_empty() { alias_rows(&[(0, 1.0)]) } else { rows }
    });
    let row = (any::<u32>(), 0..SLOTS, 0..SLOTS).prop_map(|(probability, alias, slot)| Row {
        probability,
        alias,
        slot,
    });
    prop_oneof![3 => planned, 1 => prop::collection::vec(row, 1..9)]
}

fn ring() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..SLOTS, 1..12)
}

pub(crate) fn structure() -> impl Strategy<Value = Structure> {
    let group = (
        prop_oneof![2 => Just(2_u32), 1 => 1..=8_u32],
        prop::bool::weighted(0.25),
        rows(),
        ring(),
        any::<u32>(),
        prop::option::weighted(0.6, any::<prop::sample::Index>()),
        number(),
        number(),
    );
    prop::collection::vec(group, 1..=4).prop_map(|groups| {
        let count = groups.len();
        let mut thresholds: Vec<u32> = groups.iter().map(|group| group.4).collect();
        thresholds.sort_unstable();
        thresholds[count - 1] = u32::MAX;
        let mut structure = Structure::default();
        for (index, (choices, hashed, rows, ring, _, overflow, spill_at, spill_margin)) in
            groups.into_iter().enumerate()
        {
            let overflow = overflow.map(|other| other.index(count)).filter(|other| *other != index);
            let (mode, first_row, count) = if hashed {
                (Mode::Hashed, structure.ring.len(), ring.len())
            } else {
                (Mode::Weighted, structure.rows.len(), rows.len())
            };
            structure.groups.push(Group {
                threshold: thresholds[index],
                choices,
                mode,
                overflow: overflow.map(|other| other as u32),
                spill_at,
                spill_margin,
                first_row: first_row as u32,
                rows: count as u32,
            });
            if hashed {
                structure.ring.extend(ring);
            } else {
                structure.rows.extend(rows);
            }
        }
        structure
    })
}

/// A request, and changes of the pick's inputs.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Pick { exclude: Vec<u32>, cost: u32, key: Option<Vec<u8>> },
    Start(u32, u32),
    End(u32, u32),
    Cell(u32, Cell),
    Structure(Structure),
    Publish,
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let exclude = prop_oneof![
        3 => Just(vec![]),
        2 => prop::collection::vec(0..SLOTS, 0..6),
        1 => Just((0..SLOTS).collect()),
    ];
    let cost = prop_oneof![5 => Just(1), 1 => 2..200_u32];
    let key = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        12 => (exclude, cost.clone(), key)
            .prop_map(|(exclude, cost, key)| Operation::Pick { exclude, cost, key }),
        1 => (0..SLOTS, cost.clone()).prop_map(|(slot, cost)| Operation::Start(slot, cost)),
        4 => (0..SLOTS, cost).prop_map(|(slot, cost)| Operation::End(slot, cost)),
        2 => (0..SLOTS, cell()).prop_map(|(slot, cell)| Operation::Cell(slot, cell)),
        1 => structure().prop_map(Operation::Structure),
        1 => Just(Operation::Publish),
    ]
}
