//! Finding a group's candidates and the best of them.

use crate::{
    layout::MAX_CHOICES,
    observe::Observer,
    plan::{Branch, Kind},
    random::Random,
    view::{View, Winner},
};

/// How often a candidate is drawn again for being one already. At a weight of 1000:1 drawing on
/// would go on for ever.
const REDRAWS: usize = 4;

/// Slots that are candidates already.
struct Seen {
    slots: [u32; MAX_CHOICES as usize],
    count: usize,
}

impl Seen {
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

impl View<'_> {
    /// The best candidate of a group.
    #[inline(always)]
    pub(crate) fn best(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        let plain = self.request.exclude.is_empty() & self.process.is_none();
        if branch.kind == Kind::Two && plain {
            return self.best_of_two(branch, random, observer);
        }
        self.best_of_any(branch, random, observer)
    }

    /// The same as `best_of_several` for two candidates and nothing excluded, written for the
    /// branch predictor: mispredictions fall from 0.62 to 0.14 a pick.
    #[inline(always)]
    fn best_of_two(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        let first = random.row_and_coin(branch.rows);
        let second = random.row_and_coin(branch.rows);
        let mut last_row = second.0;
        let one = self.drawn(branch, first);
        let mut other = self.drawn(branch, second);
        if one == other {
            (other, last_row) = self.draw_another(branch, random, one, last_row);
        }
        let (score_of_one, score_of_other) = (self.plain_score(one), self.plain_score(other));
        observer.candidate(one, score_of_one);
        observer.candidate(other, score_of_other);
        let (lowest, challenger) = (score_of_one.effective(), score_of_other.effective());
        let lower = challenger < lowest;
        Winner {
            slot: std::hint::select_unpredictable(lower, other, one),
            score: std::hint::select_unpredictable(lower, challenger, lowest),
            last_row,
        }
    }

    /// Goes on drawing for a slot other than `one`; gives it and the row that was looked at last.
    #[inline(never)]
    fn draw_another(
        &self,
        branch: &Branch,
        random: &mut Random,
        one: u32,
        mut last_row: u32,
    ) -> (u32, u32) {
        for _ in 0..REDRAWS {
            let draw = random.row_and_coin(branch.rows);
            last_row = draw.0;
            let slot = self.drawn(branch, draw);
            if slot != one {
                return (slot, last_row);
            }
        }
        let mut seen = Seen::new();
        seen.add(one);
        // A group whose rows are all of one slot has only that.
        self.step_to_another(branch, last_row, &seen).unwrap_or((one, last_row))
    }

    /// From the row after `last_row` on and around, the first row's own slot that is no candidate
    /// yet, and that row.
    fn step_to_another(&self, branch: &Branch, last_row: u32, seen: &Seen) -> Option<(u32, u32)> {
        from_row(last_row + 1, branch.rows)
            .map(|row| (self.row(branch, row).slot, row))
            .find(|(slot, _)| !seen.has(*slot))
    }

    #[inline(never)]
    pub(crate) fn best_of_any(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        match branch.kind {
            Kind::All => self.best_of_all(branch, random, observer),
            Kind::Two | Kind::Several => self.best_of_several(branch, random, observer),
            Kind::Hashed => self.first_of_hashed(branch, random, observer),
        }
    }

    /// All of them, beginning with a drawn one: ties go to the first, and two idle replicas would
    /// otherwise leave every request of a quiet caller to the same one of them.
    fn best_of_all(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        let mut winner = Winner { last_row: branch.rows - 1, ..Winner::NONE };
        let mut first = None;
        if branch.rows > 1 {
            let slot = self.drawn(branch, random.row_and_coin(branch.rows));
            self.compare(slot, &mut winner, observer);
            first = Some(slot);
        }
        for row in 0..branch.rows {
            let slot = self.row(branch, row).slot;
            if Some(slot) != first {
                self.compare(slot, &mut winner, observer);
            }
        }
        winner
    }

    fn best_of_several(
        &self,
        branch: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Winner {
        let mut winner = Winner::NONE;
        let mut seen = Seen::new();
        for _ in 0..branch.choices {
            let mut distinct = None;
            for _ in 0..=REDRAWS {
                let draw = random.row_and_coin(branch.rows);
                winner.last_row = draw.0;
                let slot = self.drawn(branch, draw);
                if !seen.has(slot) {
                    distinct = Some((slot, draw.0));
                    break;
                }
            }
            let distinct =
                distinct.or_else(|| self.step_to_another(branch, winner.last_row, &seen));
            let Some((slot, row)) = distinct else { break };
            winner.last_row = row;
            seen.add(slot);
            self.compare(slot, &mut winner, observer);
        }
        winner
    }

    /// In ring order, and the first that may be picked: the ring's owner of the key, unless it is
    /// closed or at its bound.
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
        let mut winner = Winner { last_row: start, ..Winner::NONE };
        let mut seen = Seen::new();
        for row in from_row(start, branch.rows) {
            let slot = self.plan.structure.ring[(branch.first_row + row) as usize];
            if seen.has(slot) {
                continue;
            }
            winner.last_row = row;
            self.compare(slot, &mut winner, observer);
            seen.add(slot);
            if winner.is_some() || seen.count == branch.choices as usize {
                break;
            }
        }
        winner
    }

    pub(crate) fn compare(&self, slot: u32, winner: &mut Winner, observer: &mut impl Observer) {
        let score = self.score(slot);
        observer.candidate(slot, score);
        winner.consider(slot, score.effective());
    }
}

/// All rows of a group once, from one of them on and around.
pub(crate) fn from_row(row: u32, rows: u32) -> impl Iterator<Item = u32> {
    (row..rows).chain(0..row)
}
