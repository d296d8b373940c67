//! The last picks, sampled with their candidates, for whoever asks why.

use std::{collections::VecDeque, net::SocketAddr, time::SystemTime};

/// Samples kept per target.
const KEPT: usize = 8;
/// One pick in so many is sampled: it costs a clock and a few allocations.
const ONE_IN: u32 = 64;

/// One sampled pick.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When.
    pub at: SystemTime,
    /// The group that was drawn, by its place in the plan.
    pub group: Option<u32>,
    /// Address, score, and whether it could be picked at all.
    pub candidates: Vec<(SocketAddr, f32, bool)>,
    /// None: no endpoint could.
    pub chosen: Option<SocketAddr>,
    /// The overflow group's winner was taken.
    pub overflowed: bool,
}

/// The last few samples.
#[derive(Debug, Default)]
pub struct Samples {
    kept: VecDeque<Sample>,
    picks: u32,
}

impl Samples {
    /// Whether this pick is one to sample: the first ones and one in 64.
    pub fn due(&mut self) -> bool {
        self.picks = self.picks.wrapping_add(1);
        (self.picks as usize) <= KEPT || self.picks.is_multiple_of(ONE_IN)
    }

    /// Keeps it in place of the oldest.
    pub fn keep(&mut self, sample: Sample) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(sample);
    }

    /// Oldest first.
    pub fn all(&self) -> Vec<Sample> {
        self.kept.iter().cloned().collect()
    }
}
