//! Observes a pick, to explain it.
//!
//! A pick calls an observer at each step. The usual observer is `()`, whose calls compile to nothing.
//! An explanation runs the same code with another observer, so the two cannot disagree.

use crate::{pick::Pick, score::Score};

/// What a pick reports.
pub(crate) trait Observer {
    /// The pick reads the load of this publication, or of a later one.
    #[inline(always)]
    fn begin(&mut self, _publication: u32) {}
    /// A group was drawn, or is examined next.
    #[inline(always)]
    fn group(&mut self, _group: usize) {}
    /// A slot was scored, as a member of the last group that was named.
    #[inline(always)]
    fn candidate(&mut self, _slot: u32, _score: Score) {}
    /// A scan of all rows begins: no group that can be reached has an eligible slot.
    #[inline(always)]
    fn anywhere(&mut self) {}
    /// The overflow group's winner is taken.
    #[inline(always)]
    fn overflowed(&mut self) {}
}

impl Observer for () {}

/// A pick, and how it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The pick, if there was one.
    pub pick: Option<Pick>,
    /// The structure's generation.
    pub generation: u32,
    /// The load's publication.
    pub publication: u32,
    /// The group that was drawn. `None` where there is no group.
    pub group: Option<u32>,
    /// Whether the overflow group's winner was taken.
    pub overflowed: bool,
    /// The candidates, in the order in which they were scored.
    pub candidates: Vec<Candidate>,
}

/// A slot that a pick examined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The slot.
    pub slot: u32,
    /// The group that it was found in. `None` if it was found in the scan of all rows.
    pub group: Option<u32>,
    /// Its score, whether it was eligible or not.
    pub score: f32,
    /// Whether it could be picked: it is not excluded, open, and below its limit.
    pub eligible: bool,
}

/// Writes an explanation.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) explanation: Explanation,
    looking_into: Option<u32>,
}

impl Observer for Recorder {
    fn begin(&mut self, publication: u32) {
        self.explanation.publication = publication;
    }

    fn group(&mut self, group: usize) {
        let group = Some(group as u32);
        self.looking_into = group;
        if self.explanation.group.is_none() {
            self.explanation.group = group;
        }
    }

    fn candidate(&mut self, slot: u32, score: Score) {
        self.explanation.candidates.push(Candidate {
            slot,
            group: self.looking_into,
            score: score.value,
            eligible: score.eligible,
        });
    }

    fn anywhere(&mut self) {
        self.looking_into = None;
    }

    fn overflowed(&mut self) {
        self.explanation.overflowed = true;
    }
}
