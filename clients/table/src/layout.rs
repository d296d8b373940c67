//! All numbers of the table's format: word offsets, capacities, versions.
//!
//! A table is an array of little-endian u32 words (f32 by its bits). Any language can read that, and
//! loom can simulate it. The table begins with three cache lines, which are separate because they
//! change at different rates: constants; generation and flags; publication. The two banks of
//! structure follow, then one load cell of 32 bytes per slot.

/// The first word of a table: "PMTB" in memory order.
pub const MAGIC: u32 = u32::from_le_bytes(*b"PMTB");
/// The magic number of a counters segment: "PMCT" in memory order.
pub const COUNTERS_MAGIC: u32 = u32::from_le_bytes(*b"PMCT");
/// The version of the layout that this crate writes and reads, for tables and counters.
pub const VERSION: u32 = 1;

/// Stands in a group's `overflow` where there is no overflow group.
pub const NONE: u32 = u32::MAX;
/// The most candidates that a pick compares in one group. More bring no gain (2 to 5 is the useful
/// range), and a picker can keep this many in registers or on its stack.
pub const MAX_CHOICES: u32 = 8;
/// The threshold of the last group with a share. No draw is above it.
pub const WHOLE: u32 = u32::MAX;

/// Words in a cache line of 64 bytes.
pub(crate) const LINE: usize = 16;

// Line 0: constants.
pub(crate) const MAGIC_AT: usize = 0;
pub(crate) const VERSION_AT: usize = 1;
pub(crate) const CAPACITY_AT: usize = 2;
pub(crate) const LAST_RESORT_ADDRESS_AT: usize = 8;
/// 0: no last resort.
pub(crate) const LAST_RESORT_PORT_AT: usize = 12;

// Line 1: the generation, which each pick compares, and flags.
pub(crate) const GENERATION_AT: usize = LINE;
pub(crate) const SUPERSEDED_AT: usize = LINE + 1;
pub(crate) const ASLEEP_AT: usize = LINE + 2;

// Line 2: words that change with each publication. Its first word is reserved, and 0.
pub(crate) const PUBLICATION_AT: usize = 2 * LINE + 1;
pub(crate) const PERIOD_AT: usize = 2 * LINE + 2;
pub(crate) const DETACH_AFTER_AT: usize = 2 * LINE + 3;
pub(crate) const RETRY_BUDGET_AT: usize = 2 * LINE + 4;

pub(crate) const BANKS_AT: usize = 3 * LINE;

// A bank begins with its counts.
pub(crate) const COUNTS: usize = 8;
pub(crate) const GROUP_WORDS: usize = 8;
pub(crate) const ROW_WORDS: usize = 3;
pub(crate) const ENDPOINT_WORDS: usize = 12;

/// Words of a load cell: base, slope, knee, hot_base, hot_slope, limit, two spare. A cell has 32 bytes
/// and is aligned to 32 bytes, so that a pick reads one cache line of it.
pub(crate) const CELL_WORDS: usize = 8;
pub(crate) const CELL_BASE: usize = 0;
pub(crate) const CELL_SLOPE: usize = 1;
pub(crate) const CELL_KNEE: usize = 2;
pub(crate) const CELL_HOT_BASE: usize = 3;
pub(crate) const CELL_HOT_SLOPE: usize = 4;
pub(crate) const CELL_LIMIT: usize = 5;

/// The words of the largest table that is mapped. A header that asks for more is rejected.
pub(crate) const MAX_WORDS: u64 = 1 << 28;

/// What a table has room for. The header holds it, and it never changes: a service that outgrows its
/// table gets a new one. Memory that is never written costs nothing, so capacities are generous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// Groups per generation.
    pub groups: u32,
    /// Alias rows per generation.
    pub rows: u32,
    /// Hash rows per generation.
    pub ring: u32,
    /// Slots during the life of the table. A slot is never reused for another endpoint.
    pub slots: u32,
    /// Endpoint records per generation.
    pub endpoints: u32,
    /// Bytes of zones and labels per generation.
    pub text: u32,
}

impl Capacity {
    /// A capacity for a service of about `endpoints` endpoints without hash rows: four times as
    /// many slots, since slots are not reused, and 128 bytes of text for each endpoint.
    pub const fn for_endpoints(endpoints: u32) -> Self {
        let endpoints = if endpoints < 16 { 16 } else { endpoints };
        Self {
            groups: 64,
            rows: endpoints * 2,
            ring: 0,
            slots: endpoints * 4,
            endpoints,
            text: endpoints * 128,
        }
    }

    pub(crate) fn to_words(self) -> [u32; 6] {
        [self.groups, self.rows, self.ring, self.slots, self.endpoints, self.text]
    }

    #[cfg(not(loom))]
    pub(crate) fn from_words(words: [u32; 6]) -> Self {
        let [groups, rows, ring, slots, endpoints, text] = words;
        Self { groups, rows, ring, slots, endpoints, text }
    }
}

/// Where the parts of a table with a given capacity begin, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) capacity: Capacity,
    /// Offsets within a bank.
    pub(crate) rows: usize,
    pub(crate) ring: usize,
    pub(crate) endpoints: usize,
    pub(crate) text: usize,
    /// Words of a bank, a whole number of cache lines.
    pub(crate) bank: usize,
    /// Where the load cells begin in the table.
    pub(crate) cells: usize,
    /// Words of the whole table.
    pub(crate) words: usize,
}

impl Layout {
    /// `None` if the table would be larger than any table may be.
    pub(crate) fn new(capacity: Capacity) -> Option<Self> {
        let line = LINE as u64;
        let rows = COUNTS as u64 + u64::from(capacity.groups) * GROUP_WORDS as u64;
        let ring = rows + u64::from(capacity.rows) * ROW_WORDS as u64;
        let endpoints = ring + u64::from(capacity.ring);
        let text = endpoints + u64::from(capacity.endpoints) * ENDPOINT_WORDS as u64;
        let bank = (text + u64::from(capacity.text).div_ceil(4)).next_multiple_of(line);
        let cells = BANKS_AT as u64 + 2 * bank;
        let words = cells + u64::from(capacity.slots) * CELL_WORDS as u64;
        (words <= MAX_WORDS).then_some(Self {
            capacity,
            rows: rows as usize,
            ring: ring as usize,
            endpoints: endpoints as usize,
            text: text as usize,
            bank: bank as usize,
            cells: cells as usize,
            words: words as usize,
        })
    }

    /// Where the bank of a generation begins. The generations alternate between two banks.
    #[inline]
    pub(crate) fn bank_of(&self, generation: u32) -> usize {
        BANKS_AT + (generation & 1) as usize * self.bank
    }

    #[inline(always)]
    pub(crate) fn cell(slot: u32) -> usize {
        slot as usize * CELL_WORDS
    }
}

/// The generation after this one. 0 is never published, and neither is 1 after a wrap: bank 1
/// then holds the structure that readers of generation 2^32-1 are copying.
pub(crate) fn next_generation(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 2,
        next => next,
    }
}

/// The publication after this one. 0 is skipped: pickers use it for "never".
pub(crate) fn next_publication(publication: u32) -> u32 {
    match publication.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banks_and_cells_begin_on_their_own_cache_lines() {
        for n in [0, 1, 3, 100, 12_345] {
            let capacity =
                Capacity { groups: n, rows: n, ring: n, slots: n, endpoints: n, text: n };
            let layout = Layout::new(capacity).unwrap();
            assert_eq!(layout.bank_of(2) % LINE, 0);
            assert_eq!(layout.bank_of(3) % LINE, 0);
            assert_eq!(layout.cells % LINE, 0);
            assert_eq!(layout.words, layout.cells + n as usize * CELL_WORDS);
        }
    }

    /// Programs in other languages, and older ones, read the words by these numbers.
    #[test]
    fn the_words_of_the_header_and_of_a_cell_stand_where_the_format_says() {
        let constants = [MAGIC_AT, VERSION_AT, CAPACITY_AT];
        assert_eq!(constants, [0, 1, 2]);
        assert_eq!([LAST_RESORT_ADDRESS_AT, LAST_RESORT_PORT_AT], [8, 12]);
        assert_eq!([GENERATION_AT, SUPERSEDED_AT, ASLEEP_AT], [16, 17, 18]);
        let published = [PUBLICATION_AT, PERIOD_AT, DETACH_AFTER_AT, RETRY_BUDGET_AT];
        assert_eq!(published, [33, 34, 35, 36]);
        assert_eq!((BANKS_AT, CELL_WORDS), (48, 8));
        let cell = [CELL_BASE, CELL_SLOPE, CELL_KNEE, CELL_HOT_BASE, CELL_HOT_SLOPE, CELL_LIMIT];
        assert_eq!(cell, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn an_absurd_capacity_has_no_layout() {
        let most = u32::MAX;
        let capacity = Capacity {
            groups: most,
            rows: most,
            ring: most,
            slots: most,
            endpoints: most,
            text: most,
        };
        assert_eq!(Layout::new(capacity), None);
    }

    #[test]
    fn consecutive_generations_never_share_a_bank() {
        for generation in [0, 1, 2, u32::MAX - 1, u32::MAX] {
            assert_ne!(next_generation(generation), 0);
            assert_eq!((next_generation(generation) ^ generation) & 1, 1, "after {generation}");
        }
        assert_eq!(next_publication(u32::MAX), 1);
    }
}
