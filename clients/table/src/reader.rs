//! Reads a structure while the writer may be rewriting it.
//!
//! The writer fills the idle bank, then publishes its generation. A slow reader may still read that
//! bank. So a reader copies first and then checks that the generation has not changed. Only then does
//! it use the copy. The copy needs the sizes before that check, so it clamps them to what the bank
//! holds.

use crate::{
    atomic::{Acquire, Relaxed, fence},
    bank_codec::{BankCopy, decode},
    layout::{COUNTS, ENDPOINT_WORDS, GENERATION_AT, GROUP_WORDS, ROW_WORDS},
    pick_plan::Plan,
    table::Table,
};

/// Two banks make a retry rare: 4 in a million at one rewrite per millisecond. After this many failed
/// attempts a reader keeps its current structure and tries again at its next pick.
const ATTEMPTS: usize = 8;

/// The result of a read.
pub(crate) enum Reading {
    /// The complete structure of a generation.
    Plan(Plan),
    /// A generation that no picker can use. The reader ignores it and waits for the next one.
    Malformed(u32),
    /// There is no structure yet, or it changes faster than it can be read.
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

fn copy(table: &Table, generation: u32) -> BankCopy {
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
    BankCopy {
        groups: run(COUNTS, count(0, capacity.groups) * GROUP_WORDS),
        rows: run(layout.rows, count(1, capacity.rows) * ROW_WORDS),
        ring: run(layout.ring, count(2, capacity.ring)),
        endpoints: run(layout.endpoints, endpoints * ENDPOINT_WORDS),
        text: run(layout.text, text_len.div_ceil(4)),
        text_len,
    }
}
