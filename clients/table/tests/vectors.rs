//! The committed conformance vectors are those that the generator makes. The real picker reproduces
//! them from the files alone, as an implementation in another language must.
#![cfg(not(any(loom, miri)))]

mod cases;
mod reference;

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use cases::{Case, Step};
use pointsman_table::{Cell, Counters, Outcome, Picker, Request, ServerLoad, Table, TableWriter};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "vectors"].iter().collect()
}

#[test]
fn the_files_are_what_the_generator_makes() {
    let made = cases::files();
    let found: BTreeMap<String, Vec<u8>> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind != "md"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    let again = "regenerate with `cargo run -p pointsman-table --example vectors`";
    assert_eq!(made.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>(), "{again}");
    for (name, bytes) in &made {
        assert!(found[name] == *bytes, "{name} differs: {again}");
    }
}

#[test]
fn the_picker_reproduces_every_case() {
    let mut picks = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "json") {
            let case: Case = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            picks += replay(&case);
        }
    }
    assert!(picks > 500, "{picks} picks");
}

fn image(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

/// A table in memory, which the steps of a case change.
struct Memory {
    writer: TableWriter,
}

impl Memory {
    fn new(image: &[u8]) -> Self {
        let capacity = Table::from_image(image).unwrap().capacity();
        let mut memory = Self { writer: TableWriter::on_heap(capacity) };
        memory.replace(image);
        memory
    }

    fn replace(&mut self, image: &[u8]) {
        self.writer.overwrite(image).unwrap();
    }
}

/// The number of picks of a case.
fn replay(case: &Case) -> usize {
    let mut memory = Memory::new(&image(&case.image));
    let slots = memory.writer.table().capacity().slots;
    let shards = case.counters.as_ref().map_or(1, |counted| counted.shards);
    let counters = Counters::on_heap(slots, shards);
    let mut picker: Picker =
        Picker::new(memory.writer.table(), Arc::clone(&counters), case.seed, None);
    let mut picks = 0;
    for (index, step) in case.steps.iter().enumerate() {
        let at = format!("{}, step {index}", case.name);
        match step {
            Step::Pick { exclude, cost, key, expect } => {
                for (pick, expected) in expect.iter().enumerate() {
                    let key = key.as_deref().map(str::as_bytes);
                    let picked = picker.pick(&Request { exclude, cost: *cost, key });
                    assert_eq!(picked.map(|pick| pick.slot), *expected, "{at}, pick {pick}");
                    picks += 1;
                }
            }
            Step::Start { slot, cost } => picker.start(*slot, *cost),
            Step::End { slot, cost, outcome, latency_us } => {
                let outcome = match outcome.unwrap_or(cases::Outcome::Success) {
                    cases::Outcome::Success => Outcome::Success,
                    cases::Outcome::Failure => Outcome::Failure,
                    cases::Outcome::Unreachable => Outcome::Unreachable,
                    cases::Outcome::Expired => Outcome::Expired,
                    cases::Outcome::Cancelled => Outcome::Cancelled,
                    cases::Outcome::Rejected => Outcome::Rejected,
                };
                picker.end(*slot, *cost, outcome, *latency_us);
            }
            &Step::Cell { slot, base, slope, knee, hot_base, hot_slope, limit } => {
                let cell = Cell { base, slope, knee, hot_base, hot_slope, limit };
                memory.writer.write_cell(slot, &cell);
            }
            Step::Publish { publication } => assert_eq!(memory.writer.publish(), *publication),
            Step::Image { image: name } => memory.replace(&image(name)),
            Step::Retried => picker.retried(),
            &Step::Report { slot, utilization, in_flight, qps, eps } => {
                picker.report_load(slot, &ServerLoad { utilization, in_flight, qps, eps });
            }
        }
    }
    if let Some(counted) = &case.counters {
        let mut found: BTreeMap<usize, u32> = counters
            .image()
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word))
            .enumerate()
            .filter(|(_, word)| *word != 0)
            .collect();
        for word in &counted.not_zero {
            assert!(found.remove(word).is_some(), "{}: word {word} is 0", case.name);
        }
        assert_eq!(found, counted.words, "{}", case.name);
    }
    picks
}
