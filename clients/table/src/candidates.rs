//! Finds a group's candidates, and the best of them.

use std::hint::select_unpredictable;

use crate::{
    layout::{MAX_CHOICES, NONE},
    observe::Observer,
    pick_plan::{Branch, Kind},
    random::Random,
    score::{Load, Score, View, Winner},
    structure::Row,
};

/// How often a draw is repeated because its slot is a candidate already. Without a bound, weights of
/// 1000:1 could repeat it almost forever.
const REDRAWS: usize = 4;

/// The slots that are candidates already.
struct CandidateSet {
    slots: [u32; MAX_CHOICES as usize],
    count: usize,
}

impl CandidateSet {
    fn new() -> Self {
        Self { slots: [0; MAX_CHOICES as usize], count: 0 }
    }

    fn has(&self, slot: u32) -> bool {
        self.slots[..self.count].contains(&slot)
    }

    fn add(&mut self, slot: u32) {
        self.slots[self.count] = slot;
        self.count += 1;
    }
}

/// Two candidates of a group of more than two, for a request that excludes nothing.
/// The result is that of `best_of_several`, but no branch depends on which candidate wins: the
/// processor cannot predict that, and a misprediction costs as much as half a pick.
pub(crate) struct Pair {
    slots: [u32; 2],
    scores: [Score; 2],
    other_wins: bool,
    last_row: u32,
}

impl Pair {
    #[inline(always)]
    pub(crate) fn draw(
        rows: &[Row],
        load: Load<'_>,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Self {
        let count = rows.len() as u32;
        let first = random.row_and_coin(count);
        let second = random.row_and_coin(count);
        let mut last_row = second.0;
        let one = drawn(rows, first);
        let mut other = drawn(rows, second);
        if one == other {
            (other, last_row) = draw_another(rows, random, one, last_row);
        }
        let scores = [load.score(one), load.score(other)];
        observer.candidate(one, scores[0]);
        // If all rows have the same slot there is no second candidate.
        if other != one {
            observer.candidate(other, scores[1]);
        }
        let lower = scores[1].value < scores[0].value;
        let other_wins = scores[1].eligible & (lower | !scores[0].eligible);
        Self { slots: [one, other], scores, other_wins, last_row }
    }

    #[inline(always)]
    pub(crate) fn slot(&self) -> u32 {
        select_unpredictable(self.other_wins, self.slots[1], self.slots[0])
    }

    /// Whether one of them may be picked and, if there is an overflow group, scores below `spill_at`.
    #[inline(always)]
    pub(crate) fn settles(&self, branch: &Branch) -> bool {
        let eligible = self.scores[0].eligible | self.scores[1].eligible;
        eligible && (branch.overflow == NONE || self.score().value < branch.spill_at)
    }

    #[inline(always)]
    fn score(&self) -> Score {
        self.scores[usize::from(self.other_wins)]
    }

    pub(crate) fn winner(&self) -> Winner {
        let score = self.score();
        let best = score.eligible.then_some((self.slot(), score.value));
        Winner { best, last_row: self.last_row }
    }
}

/// The slot that a draw gives.
#[inline(always)]
fn drawn(rows: &[Row], (row, coin): (u32, u32)) -> u32 {
    debug_assert!((row as usize) < rows.len());
    // SAFETY: the high half of a product with the number of rows is below it.
    let row = unsafe { rows.get_unchecked(row as usize) };
    select_unpredictable(coin < row.probability, row.slot, row.alias)
}

/// Draws again for a slot other than `one`. Returns that slot, and the last row that was examined.
#[inline(never)]
fn draw_another(rows: &[Row], random: &mut Random, one: u32, mut last_row: u32) -> (u32, u32) {
    for _ in 0..REDRAWS {
        let draw = random.row_and_coin(rows.len() as u32);
        last_row = draw.0;
        let slot = drawn(rows, draw);
        if slot != one {
            return (slot, last_row);
        }
    }
    let mut seen = CandidateSet::new();
    seen.add(one);
    // All rows of the group may have the same slot.
    step_to_another(rows, last_row, &seen).unwrap_or((one, last_row))
}

/// The first row after `last_row`, with wrap-around, whose own slot is not a candidate yet: that slot,
/// and the row.
fn step_to_another(rows: &[Row], last_row: u32, seen: &CandidateSet) -> Option<(u32, u32)> {
    from_row(last_row + 1, rows.len() as u32)
        .map(|row| (rows[row as usize].slot, row))
        .find(|(slot, _)| !seen.has(*slot))
}

impl View<'_> {
    /// The best candidate of a group.
    pub(crate) fn best(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        match branch.kind {
            Kind::Nothing => Winner::none(0),
            Kind::All => self.best_of_all(branch, random, observer),
            Kind::Two | Kind::Several => self.best_of_several(branch, random, observer),
            Kind::Hashed => self.first_of_hashed(branch, random, observer),
        }
    }

    /// Compares all rows, beginning with that of a drawn slot. Ties go to the first row, so without the
    /// draw a quiet caller would send all requests to the same one of two idle replicas.
    fn best_of_all(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        let rows = self.plan.rows(branch);
        let mut first = 0;
        if branch.rows > 1 {
            let slot = drawn(rows, random.row_and_coin(branch.rows));
            first = rows.iter().position(|row| row.slot == slot).unwrap_or(0) as u32;
        }
        let mut winner = Winner::none(branch.rows - 1);
        for row in from_row(first, branch.rows) {
            self.compare(rows[row as usize].slot, &mut winner, observer);
        }
        winner
    }

    fn best_of_several(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        let rows = self.plan.rows(branch);
        let mut winner = Winner::none(0);
        let mut seen = CandidateSet::new();
        for _ in 0..branch.choices {
            let mut distinct = None;
            for _ in 0..=REDRAWS {
                let draw = random.row_and_coin(branch.rows);
                winner.last_row = draw.0;
                let slot = drawn(rows, draw);
                if !seen.has(slot) {
                    distinct = Some((slot, draw.0));
                    break;
                }
            }
            let distinct = distinct.or_else(|| step_to_another(rows, winner.last_row, &seen));
            let Some((slot, row)) = distinct else { break };
            winner.last_row = row;
            seen.add(slot);
            self.compare(slot, &mut winner, observer);
        }
        winner
    }

    /// The first slot in ring order that may be picked. This is the owner of the key, unless the owner
    /// is closed or at its limit.
    fn first_of_hashed(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        let start = match self.request.key {
            Some(key) => xxhash_rust::xxh32::xxh32(key, 0) % branch.rows,
            None => random.row_and_coin(branch.rows).0,
        };
        let mut winner = Winner::none(start);
        let mut seen = CandidateSet::new();
        for row in from_row(start, branch.rows) {
            let slot = self.plan.ring(branch)[row as usize];
            if seen.has(slot) {
                continue;
            }
            winner.last_row = row;
            self.compare(slot, &mut winner, observer);
            seen.add(slot);
            if winner.best.is_some() || seen.count == branch.choices as usize {
                break;
            }
        }
        winner
    }

    pub(crate) fn compare(&self, slot: u32, winner: &mut Winner, observer: &mut impl Observer) {
        let score = self.score(slot);
        observer.candidate(slot, score);
        winner.consider(slot, score);
    }
}

/// All rows of a group once, from `row` with wrap-around. A `row` past the end begins at the first.
pub(crate) fn from_row(row: u32, rows: u32) -> impl Iterator<Item = u32> {
    (row..rows).chain(0..row.min(rows))
}
