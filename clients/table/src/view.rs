//! What one pick sees: a plan, the cells, what the picker has of its own, and the request.
//! Here is the score; it changes nothing.

use std::hint::select_unpredictable;

use crate::{
    atomic::Relaxed,
    counters::Counters,
    layout::{CELL_BASE, CELL_HOT_BASE, CELL_HOT_SLOPE, CELL_KNEE, CELL_LIMIT, CELL_SLOPE, Layout},
    memory::Words,
    picker::Request,
    plan::{Branch, Plan},
    structure::Row,
};

/// What a picker started less what it ended at a slot since a publication, in units of cost.
/// It counts for nothing under any other publication.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Own {
    pub(crate) publication: u32,
    pub(crate) delta: i32,
}

impl Own {
    #[inline(always)]
    pub(crate) fn since(self, publication: u32) -> i32 {
        select_unpredictable(self.publication == publication, self.delta, 0)
    }
}

/// A slot's score, and whether it may be picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) value: f32,
    pub(crate) eligible: bool,
}

impl Score {
    /// The score, or infinity: what may not be picked loses against everything.
    #[inline(always)]
    pub(crate) fn effective(self) -> f32 {
        select_unpredictable(self.eligible, self.value, f32::INFINITY)
    }
}

/// The best of some candidates. A score of infinity: none of them may be picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winner {
    pub(crate) slot: u32,
    pub(crate) score: f32,
    /// The row, counted from the group's first, that was looked at last.
    pub(crate) last_row: u32,
}

impl Winner {
    pub(crate) const NONE: Self = Self { slot: 0, score: f32::INFINITY, last_row: 0 };

    #[inline(always)]
    pub(crate) fn is_some(&self) -> bool {
        self.score < f32::INFINITY
    }

    /// The better of the two; of equals the one that was there first.
    #[inline(always)]
    pub(crate) fn consider(&mut self, slot: u32, score: f32) {
        if score < self.score {
            (self.slot, self.score) = (slot, score);
        }
    }
}

/// See the module. `cells` and `own` have an entry for every slot that `plan` names.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) cells: &'a Words,
    pub(crate) own: &'a [Own],
    pub(crate) publication: u32,
    pub(crate) request: &'a Request<'a>,
    /// Set while detached: own is then what the whole process has in flight.
    pub(crate) process: Option<&'a Counters>,
}

impl View<'_> {
    /// A weighted group's row, counted from its first.
    #[inline(always)]
    pub(crate) fn row(&self, branch: &Branch, row: u32) -> Row {
        debug_assert!(row < branch.rows);
        // SAFETY: a plan's weighted groups have all of their rows within `rows`.
        unsafe { *self.plan.structure.rows.get_unchecked((branch.first_row + row) as usize) }
    }

    /// The slot that a draw gives.
    #[inline(always)]
    pub(crate) fn drawn(&self, branch: &Branch, (row, coin): (u32, u32)) -> u32 {
        let row = self.row(branch, row);
        select_unpredictable(coin < row.probability, row.slot, row.alias)
    }

    /// The score of a slot that the plan names, for a request that excludes nothing while
    /// attached. Without a branch on what it reads: which one of two candidates is hot, closed or
    /// touched before can't be predicted, and a wrong guess costs as much as half a pick.
    #[inline(always)]
    pub(crate) fn plain_score(&self, slot: u32) -> Score {
        debug_assert!((slot as usize) < self.own.len());
        // SAFETY: `own` has an entry for every slot that the plan names.
        let own = unsafe { self.own.get_unchecked(slot as usize) };
        self.score_with(slot, own.since(self.publication))
    }

    /// The score of any slot that the plan names, for any request.
    pub(crate) fn score(&self, slot: u32) -> Score {
        let own = match self.process {
            None => self.own[slot as usize].since(self.publication),
            Some(counters) => counters.in_flight(slot),
        };
        let mut score = self.score_with(slot, own);
        score.eligible &= !self.request.exclude.contains(&slot);
        score
    }

    #[inline(always)]
    fn score_with(&self, slot: u32, own: i32) -> Score {
        let cell = Layout::cell(slot);
        // SAFETY: `cells` has a cell for every slot that the plan names.
        let word = |at: usize| unsafe { self.cells.at_unchecked(cell + at) }.load(Relaxed);
        let number = |at: usize| f32::from_bits(word(at));
        let limit = word(CELL_LIMIT) as i32;
        // Two roundings, never a fused multiply-add: every language has to find the same winner.
        let counted = own as f32;
        let value = if counted < number(CELL_KNEE) {
            number(CELL_BASE) + number(CELL_SLOPE) * counted
        } else {
            number(CELL_HOT_BASE) + number(CELL_HOT_SLOPE) * counted
        };
        Score { value, eligible: (limit != 0) & (own < limit) }
    }
}
