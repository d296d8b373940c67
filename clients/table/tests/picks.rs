//! The rules of a pick, one by one, on tables on the heap.
#![cfg(not(loom))]

use std::sync::Arc;

use pointsman_table::{
    Atomic, Capacity, Cell, Counters, Group, Mode, Outcome, Picker, Request, Row, SingleWriter,
    Structure, Sweep, Table, TableWriter, Waker, alias_rows,
};

const CAPACITY: Capacity =
    Capacity { groups: 8, rows: 256, ring: 256, slots: 300, endpoints: 8, text: 64 };

fn idle() -> Cell {
    Cell { slope: 1.0, ..Cell::default() }
}

fn closed() -> Cell {
    Cell { limit: 0, ..idle() }
}

/// A table with one group, whose slots 0, 1, ... have these weights.
fn table(weights: &[f64]) -> TableWriter {
    let mut writer = TableWriter::on_heap(CAPACITY);
    let weights: Vec<_> = (0..).zip(weights.iter().copied()).collect();
    for &(slot, _) in &weights {
        writer.write_cell(slot, &idle());
    }
    let rows = alias_rows(&weights);
    writer
        .write_structure(&Structure {
            groups: vec![Group { rows: rows.len() as u32, ..Group::default() }],
            rows,
            ..Structure::default()
        })
        .unwrap();
    writer.publish();
    writer
}

/// A table with groups, each with some slots of weight 1.
fn grouped(groups: &[(&[u32], Group)]) -> TableWriter {
    let mut writer = TableWriter::on_heap(CAPACITY);
    let mut structure = Structure::default();
    for (slots, group) in groups {
        let rows: Vec<_> = slots.iter().map(|slot| (*slot, 1.0)).collect();
        let first_row = structure.rows.len() as u32;
        structure.rows.extend(alias_rows(&rows));
        structure.groups.push(Group { first_row, rows: slots.len() as u32, ..group.clone() });
        for slot in *slots {
            writer.write_cell(*slot, &idle());
        }
    }
    writer.write_structure(&structure).unwrap();
    writer.publish();
    writer
}

fn picker(writer: &TableWriter) -> Picker {
    let counters = Counters::on_heap(CAPACITY.slots, 2);
    Picker::new(writer.table(), counters, 1, None)
}

fn pick(picker: &mut Picker) -> Option<u32> {
    picker.pick(&Request::default()).map(|pick| pick.slot)
}

/// How often each of the first slots is picked in this many picks. Each request ends at once.
fn shares(picker: &mut Picker, slots: usize, picks: usize) -> Vec<f64> {
    let mut picked = vec![0; slots];
    for _ in 0..picks {
        let slot = pick(picker).unwrap();
        picked[slot as usize] += 1;
        picker.end(slot, 1, Outcome::Success, None);
    }
    picked.iter().map(|count| f64::from(*count) / picks as f64).collect()
}

#[test]
fn a_picker_may_move_between_threads_and_the_rest_be_shared() {
    fn send<T: Send + 'static>() {}
    fn sync<T: Send + Sync + 'static>() {}
    send::<Picker<Atomic>>();
    send::<Picker<SingleWriter>>();
    send::<TableWriter>();
    send::<Sweep>();
    sync::<Table>();
    sync::<Counters>();
    sync::<Waker>();
}

#[test]
fn nothing_is_picked_before_the_first_structure() {
    let writer = TableWriter::on_heap(CAPACITY);
    let mut picker = picker(&writer);
    assert_eq!(pick(&mut picker), None);
    assert_eq!(picker.generation(), 0);
}

/// This needs more draws than Miri makes in a minute.
#[test]
#[cfg(not(miri))]
fn idle_endpoints_are_picked_by_weight() {
    let writer = table(&[1.0, 2.0, 3.0, 4.0]);
    let shares = shares(&mut picker(&writer), 4, 100_000);
    for (share, expected) in shares.iter().zip([0.1, 0.2, 0.3, 0.4]) {
        assert!((share - expected).abs() < 0.01, "{shares:?}");
    }
}

/// This needs more draws than Miri makes in a minute.
#[test]
#[cfg(not(miri))]
fn the_less_loaded_of_the_candidates_is_picked() {
    let mut writer = table(&[1.0; 3]);
    writer.write_cell(1, &Cell { base: 9.0, ..idle() });
    let shares = shares(&mut picker(&writer), 3, 10_000);
    assert_eq!(shares[1], 0.0, "of two candidates one is another");
}

#[test]
fn what_the_picker_started_itself_counts_until_the_next_publication() {
    let mut writer = table(&[1.0, 1.0]);
    let mut picker = picker(&writer);
    let first = pick(&mut picker).unwrap();
    let other = 1 - first;
    assert_eq!(pick(&mut picker), Some(other));
    picker.start(first, 50);
    writer.write_cell(other, &Cell { base: 1.0, ..idle() });
    writer.publish();
    assert_eq!(pick(&mut picker), Some(first), "the new base has it all");
    picker.end(other, 1, Outcome::Success, None);
    picker.end(other, 1, Outcome::Success, None);
    assert_eq!(pick(&mut picker), Some(other), "own of -2");
}

#[test]
fn a_closed_slot_is_not_picked_even_after_more_ends_than_starts() {
    let mut writer = table(&[1.0; 2]);
    let mut picker = picker(&writer);
    writer.write_cell(0, &closed());
    picker.end(0, 1, Outcome::Success, None);
    assert!((0..100).all(|_| pick(&mut picker) == Some(1)));
}

#[test]
fn a_limit_is_reached_and_then_nothing_is_picked() {
    let mut writer = table(&[1.0; 3]);
    for slot in 0..3 {
        writer.write_cell(slot, &Cell { limit: 2, ..idle() });
    }
    let mut picker = picker(&writer);
    assert!((0..6).all(|_| pick(&mut picker).is_some()));
    assert_eq!(pick(&mut picker), None);
    picker.end(2, 1, Outcome::Success, None);
    assert_eq!(pick(&mut picker), Some(2));
}

#[test]
fn a_slot_is_hot_from_its_knee_on() {
    let mut writer = table(&[1.0; 2]);
    let hot = Cell { knee: 1.0, hot_base: 100.0, hot_slope: 0.0, slope: 0.0, ..Cell::default() };
    writer.write_cell(0, &hot);
    writer.write_cell(1, &Cell { base: 50.0, ..hot });
    let mut picker = picker(&writer);
    let picked: Vec<_> = (0..3).map(|_| pick(&mut picker).unwrap()).collect();
    assert_eq!(picked, [0, 1, 0]);
}

#[test]
fn excluded_slots_are_not_picked() {
    let writer = table(&[1.0; 5]);
    let mut picker = picker(&writer);
    let mut exclude = vec![];
    for _ in 0..5 {
        let slot = picker.pick(&Request { exclude: &exclude, ..Request::default() }).unwrap().slot;
        assert!(!exclude.contains(&slot));
        exclude.push(slot);
    }
    assert_eq!(picker.pick(&Request { exclude: &exclude, ..Request::default() }), None);
}

#[test]
fn several_picks_are_distinct_and_only_the_first_is_started() {
    let writer = table(&[1000.0, 1.0, 1.0, 1.0]);
    let counters = Counters::on_heap(CAPACITY.slots, 1);
    let mut picker: Picker = Picker::new(writer.table(), counters.clone(), 1, None);
    let mut picks = vec![];
    picker.pick_many(&Request { cost: 3, ..Request::default() }, 9, &mut picks);
    let mut slots: Vec<_> = picks.iter().map(|pick| pick.slot).collect();
    assert_eq!(counters.in_flight(slots[0]), 3);
    assert!(slots[1..].iter().all(|slot| counters.in_flight(*slot) == 0));
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2, 3]);
    picker.start(3, 3);
    assert_eq!(counters.in_flight(3), if picks[0].slot == 3 { 6 } else { 3 });
}

#[test]
fn there_are_as_many_picks_as_asked_for_while_there_are_endpoints() {
    let writer = table(&[1.0; 4]);
    let mut picker = picker(&writer);
    let mut picks = vec![];
    for (count, expected) in [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4)] {
        picker.pick_many(&Request::default(), count, &mut picks);
        assert_eq!(picks.len(), expected);
    }
    picker.pick_many(&Request { exclude: &[0, 3], ..Request::default() }, 4, &mut picks);
    let mut slots: Vec<_> = picks.iter().map(|pick| pick.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [1, 2]);
}

#[test]
fn cost_weighs_as_so_many_requests() {
    let writer = table(&[1.0; 2]);
    let mut picker = picker(&writer);
    let costly = picker.pick(&Request { cost: 100, ..Request::default() }).unwrap();
    assert_eq!(costly.cost, 100);
    assert!((0..99).all(|_| pick(&mut picker) == Some(1 - costly.slot)));
    picker.end(costly.slot, costly.cost, Outcome::Success, None);
    assert!((0..98).all(|_| pick(&mut picker) == Some(costly.slot)));
}

/// This needs more draws than Miri makes in a minute.
#[test]
#[cfg(not(miri))]
fn a_quiet_caller_uses_all_of_a_small_group_by_weight() {
    let writer = table(&[1.0, 3.0]);
    let shares = shares(&mut picker(&writer), 2, 100_000);
    assert!((shares[0] - 0.25).abs() < 0.01, "{shares:?}");
}

/// This needs more draws than Miri makes in a minute.
#[test]
#[cfg(not(miri))]
fn groups_are_drawn_by_their_share() {
    let quarter = Group { threshold: 1 << 30, ..Group::default() };
    let none = Group { threshold: 1 << 30, ..Group::default() };
    let rest = Group::default();
    let writer = grouped(&[(&[0], quarter), (&[1], none), (&[2], rest)]);
    let shares = shares(&mut picker(&writer), 3, 100_000);
    assert!((shares[0] - 0.25).abs() < 0.01, "{shares:?}");
    assert_eq!(shares[1], 0.0);
}

#[test]
fn a_loaded_group_spills_where_it_is_better_by_the_margin() {
    let local = Group { overflow: Some(1), spill_at: 5.0, spill_margin: 2.0, ..Group::default() };
    let far = Group::default();
    let mut writer = grouped(&[(&[0, 1, 2], local), (&[3, 4, 5], far)]);
    // The far group has share 0.
    let mut base = |slots: [u32; 3], base| {
        for slot in slots {
            writer.write_cell(slot, &Cell { base, slope: 0.0, ..idle() });
        }
    };
    base([0, 1, 2], 5.0);
    base([3, 4, 5], 3.0);
    let mut picker = picker(&writer);
    let explained = picker.explained(&Request::default());
    assert!(!explained.overflowed, "3 is not lower than 5 by more than 2");
    assert_eq!(explained.candidates.len(), 4);
    for slot in 3..6 {
        writer.write_cell(slot, &Cell { base: 2.5, slope: 0.0, ..idle() });
    }
    let explained = picker.explained(&Request::default());
    assert!(explained.overflowed && explained.pick.unwrap().slot >= 3);
    assert_eq!(explained.group, Some(0));
    for slot in 0..3 {
        writer.write_cell(slot, &Cell { base: 4.9, slope: 0.0, ..idle() });
    }
    assert!(!picker.explained(&Request::default()).overflowed, "below spill_at");
}

#[test]
fn a_closed_group_is_served_by_its_overflow_and_then_by_any() {
    let to = |overflow| Group { overflow, ..Group::default() };
    let mut writer = grouped(&[
        (&[0, 1, 2], to(Some(1))),
        (&[3, 4, 5], to(Some(0))),
        (&[6, 7, 8], Group::default()),
    ]);
    for slot in 0..3 {
        writer.write_cell(slot, &closed());
    }
    let mut picker = picker(&writer);
    let (picks, tolerance) = if cfg!(miri) { (60, 0.3) } else { (30_000, 0.02) };
    let shares = shares(&mut picker, 9, picks);
    assert!(shares[3..6].iter().all(|share| (share - 1.0 / 3.0).abs() < tolerance), "{shares:?}");
    for slot in 3..6 {
        writer.write_cell(slot, &closed());
    }
    let explained = picker.explained(&Request::default());
    assert!(explained.pick.unwrap().slot >= 6);
    assert_eq!(explained.candidates.last().unwrap().group, None);
    for slot in 6..9 {
        writer.write_cell(slot, &closed());
    }
    assert_eq!(pick(&mut picker), None);
}

#[test]
fn a_key_goes_to_its_row_and_on_where_that_is_closed() {
    let mut writer = TableWriter::on_heap(CAPACITY);
    let ring: Vec<u32> = (0..64).map(|row| row % 4).collect();
    let group = Group { mode: Mode::Hashed, rows: 64, ..Group::default() };
    for slot in 0..4 {
        writer.write_cell(slot, &idle());
    }
    writer
        .write_structure(&Structure { groups: vec![group], ring, ..Structure::default() })
        .unwrap();
    let mut picker = picker(&writer);
    let hash = |picker: &mut Picker, key: &str| {
        picker.pick(&Request { key: Some(key.as_bytes()), ..Request::default() }).unwrap().slot
    };
    let row = |key: &str| xxhash_rust::xxh32::xxh32(key.as_bytes(), 0) % 64;
    for key in ["", "a", "user-42", "a much longer key than sixteen bytes"] {
        assert_eq!(hash(&mut picker, key), row(key) % 4);
        assert_eq!(hash(&mut picker, key), row(key) % 4, "whatever its load");
    }
    writer.write_cell(row("a") % 4, &closed());
    assert_eq!(hash(&mut picker, "a"), (row("a") + 1) % 4);
    writer.write_cell((row("a") + 1) % 4, &closed());
    assert_eq!(hash(&mut picker, "a"), (row("a") + 2) % 4, "beyond its two choices");
}

#[test]
fn an_explained_pick_is_the_pick() {
    let structure = |choices| {
        let weights: Vec<_> = (0..20).map(|slot| (slot, f64::from(slot % 5))).collect();
        let rows = alias_rows(&weights);
        let group = Group { choices, rows: rows.len() as u32, ..Group::default() };
        Structure { groups: vec![group], rows, ..Structure::default() }
    };
    for choices in 1..=8 {
        let mut writer = TableWriter::on_heap(CAPACITY);
        for slot in 0..20 {
            writer.write_cell(slot, &Cell { base: (slot % 3) as f32, ..idle() });
        }
        writer.write_structure(&structure(choices)).unwrap();
        let (mut plain, mut explaining) = (picker(&writer), picker(&writer));
        for _ in 0..if cfg!(miri) { 3 } else { 200 } {
            let explained = explaining.explained(&Request::default());
            assert_eq!(plain.pick(&Request::default()), explained.pick);
            assert_eq!(explained.candidates.len(), choices as usize);
        }
    }
}

#[test]
fn both_forms_of_counting_pick_and_count_alike() {
    let writer = table(&[1.0, 2.0, 3.0]);
    let counters = [Counters::on_heap(CAPACITY.slots, 1), Counters::on_heap(CAPACITY.slots, 1)];
    let mut atomic: Picker<Atomic> = Picker::new(writer.table(), counters[0].clone(), 3, None);
    let mut single: Picker<SingleWriter> =
        Picker::new(writer.table(), counters[1].clone(), 3, None);
    for round in 0..if cfg!(miri) { 20 } else { 1000 } {
        let picked = atomic.pick(&Request::default());
        assert_eq!(picked, single.pick(&Request::default()));
        if round % 3 > 0 {
            let slot = picked.unwrap().slot;
            atomic.end(slot, 1, Outcome::Failure, Some(9));
            single.end(slot, 1, Outcome::Failure, Some(9));
        }
    }
    for slot in 0..3 {
        assert_eq!(counters[0].in_flight(slot), counters[1].in_flight(slot));
    }
}

#[test]
fn a_superseded_table_says_so_with_its_next_generation() {
    let mut writer = table(&[1.0; 3]);
    let mut picker = picker(&writer);
    pick(&mut picker);
    assert!(!picker.superseded());
    writer.supersede();
    assert!(pick(&mut picker).is_some(), "it still serves");
    assert!(picker.superseded());
    assert_eq!(picker.structure().rows.len(), 3);
}

#[test]
fn generations_and_publications_wrap_without_a_zero() {
    let mut writer = TableWriter::on_heap(CAPACITY);
    writer.start_from(u32::MAX - 1, u32::MAX - 1);
    for slot in 1..5 {
        writer.write_cell(slot, &idle());
    }
    let row = |slot| Row { probability: u32::MAX, alias: slot, slot };
    let of = |slot| Structure {
        groups: vec![Group { rows: 1, ..Group::default() }],
        rows: vec![row(slot)],
        ..Structure::default()
    };
    writer.write_structure(&of(1)).unwrap();
    let mut picker = picker(&writer);
    for (slot, generation) in [(2, 2), (3, 3), (4, 4)] {
        assert_eq!(pick(&mut picker), Some(slot - 1));
        assert_eq!(writer.write_structure(&of(slot)), Ok(generation));
        assert_eq!(pick(&mut picker), Some(slot));
    }
    assert_eq!(writer.publish(), u32::MAX);
    assert_eq!(writer.publish(), 1);
}

#[test]
fn detached_callers_go_by_what_their_process_has_in_flight() {
    let all = Group { choices: 3, ..Group::default() };
    let mut writer = grouped(&[(&[0, 1, 2], all)]);
    writer.write_cell(0, &Cell { base: 500.0, knee: 0.0, hot_base: 900.0, limit: 1, ..idle() });
    writer.write_cell(2, &closed());
    let counters = Counters::on_heap(CAPACITY.slots, 2);
    let mut one: Picker = Picker::new(writer.table(), Arc::clone(&counters), 1, None);
    let mut other: Picker = Picker::new(writer.table(), counters, 2, None);
    assert!((0..4).all(|_| pick(&mut one) == Some(1)));
    one.detach();
    other.detach();
    assert!(one.is_detached());
    writer.publish();
    let picked: Vec<_> = (0..4).map(|_| pick(&mut one).unwrap()).collect();
    assert_eq!(picked, [0, 0, 0, 0], "its base, knee and limit are forgotten, and 1 has four");
    one.end(1, 1, Outcome::Success, None);
    assert_eq!(pick(&mut other), Some(1), "ended by the other thread");
}

#[test]
fn detached_callers_that_compare_two_of_many_see_their_whole_process_as_well() {
    let writer = table(&[1.0; 3]);
    let counters = Counters::on_heap(CAPACITY.slots, 2);
    let mut one: Picker = Picker::new(writer.table(), Arc::clone(&counters), 1, None);
    let mut other: Picker = Picker::new(writer.table(), counters, 2, None);
    one.detach();
    (0..2).for_each(|slot| other.start(slot, 100));
    let third = (0..60).filter(|_| pick(&mut one) == Some(2)).count();
    assert!((35..50).contains(&third), "{third} of 60, where two of three draws have it");
}

#[test]
fn slots_that_the_table_does_not_have_are_left_alone() {
    let writer = table(&[1.0; 3]);
    let mut picker = picker(&writer);
    picker.start(300, 1);
    picker.end(u32::MAX, 1, Outcome::Success, None);
    picker.report_load(300, &Default::default());
    assert!(picker.endpoint(u32::MAX).is_none());
}
