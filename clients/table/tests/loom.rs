//! Exhaustive tests of the memory orderings: each model runs the real code in every interleaving, with
//! every value that a load may see. `loom.sh` runs the models, and shows that a model fails when one of
//! its orderings is removed.
#![cfg(loom)]

use std::sync::Arc;

use loom::{
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    thread,
};
use pointsman_table::{
    Capacity, Cell, Counters, Group, Picker, Request, Row, Structure, Sweep, TableWriter, Waker,
    wake,
};

const CAPACITY: Capacity =
    Capacity { groups: 1, rows: 1, ring: 2, slots: 4, endpoints: 0, text: 0 };

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // Each known failure of these needs at most two preemptions.
    builder.preemption_bound = Some(3);
    builder.check(run);
}

fn open() -> Cell {
    Cell { slope: 1.0, ..Cell::default() }
}

/// A structure whose parts all have the same number.
fn marked(mark: u32) -> Structure {
    Structure { ring: vec![mark, mark], ..Structure::default() }
}

/// One group of one slot.
fn of_slot(slot: u32) -> Structure {
    Structure {
        groups: vec![Group { rows: 1, ..Group::default() }],
        rows: vec![Row { probability: u32::MAX, alias: slot, slot }],
        ..Structure::default()
    }
}

/// The writer is two generations ahead, and writes to the bank that the reader copies.
#[test]
fn a_structure_is_read_whole_or_not_at_all() {
    model(|| {
        let mut writer = TableWriter::on_heap(CAPACITY);
        writer.write_structure(&marked(1)).unwrap();
        let table = writer.table();
        let counters = Counters::on_heap(CAPACITY.slots, 1);
        let writing = thread::spawn(move || {
            for mark in [2, 3] {
                writer.write_structure(&marked(mark)).unwrap();
            }
        });
        let picker: Picker = Picker::new(table, counters, 1, None);
        let generation = picker.generation();
        let expected = if generation == 0 { Structure::default() } else { marked(generation) };
        assert_eq!(picker.structure(), &expected, "in generation {generation}");
        writing.join().unwrap();
    });
}

/// A cell that was never written is closed. So a pick that knows the slot, but not its cell, does not
/// choose it.
#[test]
fn the_cell_of_a_new_slot_is_seen_with_the_generation_that_names_it() {
    model(|| {
        let mut writer = TableWriter::on_heap(CAPACITY);
        writer.write_cell(0, &open());
        writer.write_structure(&of_slot(0)).unwrap();
        let counters = Counters::on_heap(CAPACITY.slots, 1);
        let mut picker: Picker = Picker::new(writer.table(), counters, 1, None);
        let writing = thread::spawn(move || {
            writer.write_cell(1, &open());
            writer.write_structure(&of_slot(1)).unwrap();
        });
        assert!(picker.pick(&Request::default()).is_some());
        writing.join().unwrap();
    });
}

/// If a pick assumes that the published load includes its own requests, it does include them.
#[test]
fn the_load_of_a_publication_is_seen_with_its_number() {
    model(|| {
        let mut writer = TableWriter::on_heap(CAPACITY);
        writer.write_cell(0, &open());
        writer.write_structure(&of_slot(0)).unwrap();
        let counters = Counters::on_heap(CAPACITY.slots, 1);
        let mut picker: Picker = Picker::new(writer.table(), counters, 1, None);
        let writing = thread::spawn(move || {
            writer.write_cell(0, &Cell { base: 5.0, ..open() });
            writer.publish();
        });
        let explained = picker.explained(&Request::default());
        let score = explained.candidates[0].score;
        assert!(score == 5.0 || explained.publication == 0, "{score}");
        writing.join().unwrap();
    });
}

/// One request is in flight all the time. Another one starts on one thread and ends on the other. A
/// sweep that sees the end without the start would find none in flight.
#[test]
fn an_end_is_never_seen_without_its_start() {
    model(|| {
        let writer = TableWriter::on_heap(CAPACITY);
        let counters = Counters::on_heap(CAPACITY.slots, 2);
        let thread = || -> Picker { Picker::new(writer.table(), counters.clone(), 1, None) };
        let (mut starts, mut ends) = (thread(), thread());
        starts.start(0, 1);
        let mut sweep = Sweep::new(counters.clone(), 100);
        let mut sums = [0; 4];
        sweep.in_flight(&mut sums).unwrap();
        assert_eq!(sums[0], 1);

        let handed_over = Arc::new(AtomicBool::new(false));
        let received = handed_over.clone();
        let starting = thread::spawn(move || {
            starts.start(0, 1);
            handed_over.store(true, Release);
        });
        let ending = thread::spawn(move || {
            // Another change makes the sweep read this shard.
            ends.start(1, 1);
            if received.load(Acquire) {
                ends.end(0, 1, pointsman_table::Outcome::Success, None);
            }
        });
        let mut sums = [0; 4];
        sweep.in_flight(&mut sums).unwrap();
        assert!(sums[0] >= 1, "{} in flight", sums[0]);
        starting.join().unwrap();
        ending.join().unwrap();
    });
}

/// The same for the sum that a detached picker uses.
#[test]
fn the_processs_own_sum_is_never_negative() {
    model(|| {
        let writer = TableWriter::on_heap(CAPACITY);
        let counters = Counters::on_heap(CAPACITY.slots, 2);
        let thread = || -> Picker { Picker::new(writer.table(), counters.clone(), 1, None) };
        let (mut starts, mut ends) = (thread(), thread());
        let handed_over = Arc::new(AtomicBool::new(false));
        let received = handed_over.clone();
        let starting = thread::spawn(move || {
            starts.start(0, 1);
            handed_over.store(true, Release);
        });
        let ending = thread::spawn(move || {
            if received.load(Acquire) {
                ends.end(0, 1, pointsman_table::Outcome::Success, None);
            }
        });
        assert!(counters.in_flight(0) >= 0);
        starting.join().unwrap();
        ending.join().unwrap();
    });
}

/// A sweep that begins after the last count of a thread finds that count, whatever it read before.
#[test]
fn a_sweep_that_sees_activity_sees_what_was_counted() {
    model(|| {
        let writer = TableWriter::on_heap(CAPACITY);
        let counters = Counters::on_heap(CAPACITY.slots, 1);
        let mut picker: Picker = Picker::new(writer.table(), counters.clone(), 1, None);
        let mut sweep = Sweep::new(counters, 100);
        let counting = thread::spawn(move || {
            picker.start(0, 1);
            picker.start(0, 3);
        });
        sweep.in_flight(&mut [0; 4]).unwrap();
        counting.join().unwrap();
        let mut sums = [0; 4];
        sweep.in_flight(&mut sums).unwrap();
        assert_eq!(sums[0], 4);
    });
}

/// The last end wakes a sleeping agent. Either the agent's last look before it sleeps finds the end, or
/// the end sends the message.
#[test]
fn an_end_is_found_by_the_last_look_or_wakes_the_agent() {
    model(|| {
        let mut writer = TableWriter::on_heap(CAPACITY);
        let counters = Counters::on_heap(CAPACITY.slots, 1);
        let woken = Arc::new(AtomicBool::new(false));
        let message = woken.clone();
        let waker = Waker::calling(move || message.store(true, Release));
        let mut picker: Picker = Picker::new(writer.table(), counters.clone(), 1, Some(waker));
        picker.start(0, 1);
        let mut sweep = Sweep::new(counters, 100);
        sweep.in_flight(&mut [0; 4]).unwrap();
        let ending = thread::spawn(move || {
            picker.end(0, 1, pointsman_table::Outcome::Success, None);
        });
        writer.set_asleep(true);
        wake::barrier(wake::Reach::ThisProcess).unwrap();
        let found = sweep.stirred().unwrap();
        ending.join().unwrap();
        assert!(found || woken.load(Acquire), "asleep with nobody to wake it");
    });
}
