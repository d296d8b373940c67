//! For a table of arbitrary words, either the table is refused, or picks stay within its slots.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pointsman_table::{
    Capacity, Cell, Counters, EndpointRecord, Group, Outcome, Picker, Request, Structure, Table,
    TableWriter, alias_rows,
};

const SLOTS: u32 = 8;

#[derive(Arbitrary, Debug)]
struct Input {
    /// The number of words that are missing at the end of the image.
    cut: u8,
    /// Words to change: the position, and the new value.
    words: Vec<(u16, u32)>,
    exclude: [u32; 2],
    key: Option<[u8; 3]>,
    cost: u32,
    seed: u32,
    picks: u8,
}

/// Two groups, one of which overflows into the other.
fn image() -> Vec<u8> {
    let capacity = Capacity { ring: SLOTS, ..Capacity::for_endpoints(SLOTS) };
    let mut writer = TableWriter::on_heap(capacity);
    for slot in 0..SLOTS {
        writer.write_cell(slot, &Cell { slope: 1.0, ..Cell::default() });
    }
    let rows = alias_rows(&(0..SLOTS).map(|slot| (slot, 1.0 + f64::from(slot))).collect::<Vec<_>>());
    let half = SLOTS / 2;
    let near = Group {
        threshold: u32::MAX / 2,
        overflow: Some(1),
        spill_at: 3.0,
        rows: half,
        ..Group::default()
    };
    let far = Group { first_row: half, rows: half, choices: 3, ..Group::default() };
    let address = ([10, 0, 0, 1], 80).into();
    let endpoints = (0..SLOTS).map(|slot| EndpointRecord {
        zone: "a".into(),
        labels: vec![("shard".into(), slot.to_string())],
        ..EndpointRecord::new(slot, address)
    });
    let structure = Structure {
        groups: vec![near, far],
        rows,
        ring: (0..SLOTS).collect(),
        endpoints: endpoints.collect(),
    };
    writer.write_structure(&structure).expect("it fits");
    writer.publish();
    writer.image()
}

fuzz_target!(|input: Input| {
    let mut image = image();
    let words = image.len() / 4;
    for (at, word) in &input.words {
        let at = usize::from(*at) % words * 4;
        image[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    image.truncate(image.len() - usize::from(input.cut) * 4 % image.len());
    let Ok(table) = Table::from_image(&image) else { return };
    let slots = table.capacity().slots;
    if slots > 1 << 16 {
        return; // It would be the machine's memory that is tested.
    }
    let counters = Counters::on_heap(slots, 1);
    let mut picker: Picker = Picker::new(table, counters, input.seed, None);
    let request = Request {
        exclude: &input.exclude,
        key: input.key.as_ref().map(<[u8; 3]>::as_slice),
        cost: input.cost,
    };
    for _ in 0..input.picks {
        if let Some(pick) = picker.pick(&request) {
            assert!(pick.slot < slots);
            assert!(!input.exclude.contains(&pick.slot));
            if pick.slot % 2 == 0 {
                picker.end(pick.slot, pick.cost, Outcome::Unreachable, Some(u32::MAX));
            }
        }
    }
    picker.detach();
    let _picked = picker.pick(&request);
});
