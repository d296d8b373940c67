//! The load that a pick reads, and the score that it computes for a slot. Nothing here writes.

use std::hint::select_unpredictable;

use crate::{
    atomic::Relaxed,
    counters::Counters,
    layout::{CELL_BASE, CELL_HOT_BASE, CELL_HOT_SLOPE, CELL_KNEE, CELL_LIMIT, CELL_SLOPE, Layout},
    memory::Words,
    pick::Request,
    pick_plan::Plan,
};

/// The cost that a picker started at a slot since a publication, minus the cost that it ended there.
/// Under any other publication the value counts as 0.
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

/// The best of some candidates, if any may be picked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winner {
    pub(crate) best: Option<(u32, f32)>,
    /// The last row that was examined, counted from the group's first.
    pub(crate) last_row: u32,
}

impl Winner {
    pub(crate) fn none(last_row: u32) -> Self {
        Self { best: None, last_row }
    }

    /// Keeps the slot with the lower score. On a tie the earlier one stays.
    pub(crate) fn consider(&mut self, slot: u32, score: Score) {
        if score.eligible && self.best.is_none_or(|(_, lowest)| score.value < lowest) {
            self.best = Some((slot, score.value));
        }
    }
}

/// The inputs of a score, besides the request: the cells and the picker's own counts. Both have an
/// entry for every slot that the plan names.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) cells: &'a Words,
    pub(crate) own: &'a [Own],
    pub(crate) publication: u32,
}

impl Load<'_> {
    /// The score of a slot that the plan names. The code does not branch on whether the picker used
    /// the slot or whether the slot is closed: the processor cannot predict that. It does branch on
    /// whether the slot is hot. A strategy with knees pays for mispredictions; a conditional move
    /// would cost every pick of the other strategies 2 ns of 16.
    #[inline(always)]
    pub(crate) fn score(&self, slot: u32) -> Score {
        debug_assert!((slot as usize) < self.own.len());
        // SAFETY: `own` has an entry for every slot that the plan names.
        let own = unsafe { self.own.get_unchecked(slot as usize) };
        self.score_with(slot, own.since(self.publication))
    }

    #[inline(always)]
    fn score_with(&self, slot: u32, own: i32) -> Score {
        let cell = Layout::cell(slot);
        // SAFETY: `cells` has a cell for every slot that the plan names.
        let word = |at: usize| unsafe { self.cells.at_unchecked(cell + at) }.load(Relaxed);
        let limit = word(CELL_LIMIT) as i32;
        let counted = own as f32;
        let number = |at: usize| f32::from_bits(word(at));
        let (base, slope) = if counted < number(CELL_KNEE) {
            (number(CELL_BASE), number(CELL_SLOPE))
        } else {
            (number(CELL_HOT_BASE), number(CELL_HOT_SLOPE))
        };
        // Two roundings, never a fused multiply-add: all languages must find the same winner.
        Score { value: base + slope * counted, eligible: (limit != 0) & (own < limit) }
    }
}

/// Everything that a pick reads, for its rare paths.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) load: Load<'a>,
    pub(crate) request: &'a Request<'a>,
    /// Set while detached: `own` is then what the whole process has in flight.
    pub(crate) process: Option<&'a Counters>,
}

impl View<'_> {
    /// The score of a slot that the plan names, for this request.
    pub(crate) fn score(&self, slot: u32) -> Score {
        let mut score = match self.process {
            None => self.load.score(slot),
            Some(counters) => self.load.score_with(slot, counters.in_flight(slot)),
        };
        score.eligible &= !self.request.exclude.contains(&slot);
        score
    }
}
