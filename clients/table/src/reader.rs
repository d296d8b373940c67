//! Reading a structure that is being rewritten.
//!
//! The writer fills the bank that no reader should be in, and then names it. A reader that was
//! slow may still be in it, so it copies first, looks again whether the generation is the one that
//! it began with, and only then believes a word of what it has. Sizes are needed for the copy
//! itself and are clamped to what the bank holds.

use crate::{
    atomic::{Acquire, Relaxed, fence},
    bank::{Copied, decode},
    layout::{COUNTS, ENDPOINT_WORDS, GENERATION_AT, GROUP_WORDS, ROW_WORDS},
    plan::Plan,
    table::Table,
};

/// Two banks make a retry rare (4 in a million at a rewrite each millisecond); a reader that fails
/// this often keeps what it has and tries again at its next pick.
const ATTEMPTS: usize = 8;

/// What came of a reading.
pub(crate) enum Reading {
    /// A generation's structure, whole.
    Plan(Plan),
    /// A generation that no picker can follow: to be left alone until the next.
    Malformed(u32),
    /// There is none yet, or it changes faster than it can be read.
    Nothing,
}

/// Reads the current structure.
pub(crate) fn read(table: &Table) -> Reading {
    for _ in 0..ATTEMPTS {
        let generation = table.generation();
        if generation == 0 {
            break;
        }
        let copied = copy(table, generation);
        #[cfg(not(no_reader_fence))]
        fence(Acquire);
        if table.words().at(GENERATION_AT).load(Relaxed) != generation {
            continue;
        }
        let slots = table.capacity().slots;
        return match decode(&copied, slots) {
            Ok(structure) => Reading::Plan(Plan::new(generation, structure, slots)),
            Err(_) => Reading::Malformed(generation),
        };
    }
    Reading::Nothing
}

fn copy(table: &Table, generation: u32) -> Copied {
    let layout = table.layout();
    let bank = layout.bank_of(generation);
    let capacity = layout.capacity;
    let load = |offset: usize| table.words().at(bank + offset).load(Relaxed);
    let count = |index: usize, capacity: u32| load(index).min(capacity) as usize;
    let run = |start: usize, len: usize| (start..start + len).map(load).collect::<Vec<_>>();
    let (endpoints, text_len) = match table.reads_slots_only() {
        true => (0, 0),
        false => (count(3, capacity.endpoints), count(4, capacity.text)),
    };
    Copied {
        groups: run(COUNTS, count(0, capacity.groups) * GROUP_WORDS),
        rows: run(layout.rows, count(1, capacity.rows) * ROW_WORDS),
        ring: run(layout.ring, count(2, capacity.ring)),
        endpoints: run(layout.endpoints, endpoints * ENDPOINT_WORDS),
        text: run(layout.text, text_len.div_ceil(4)),
        text_len,
    }
}
