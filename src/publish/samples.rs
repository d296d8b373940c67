//! Keeps a sample of the last picks with their candidates, to explain them.

use std::{collections::VecDeque, net::SocketAddr, time::SystemTime};

const KEPT: usize = 8;
/// One pick in this many is sampled, because a sample costs a clock read and a few allocations.
const ONE_IN: u32 = 64;

/// One sampled pick.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: SystemTime,
    /// The index in the plan of the group that was drawn.
    pub group: Option<u32>,
    /// Each candidate's address, its score, and whether it could be picked at all.
    pub candidates: Vec<(SocketAddr, f32, bool)>,
    /// None: no endpoint could be picked.
    pub chosen: Option<SocketAddr>,
    /// The pick took the winner of the overflow group.
    pub overflowed: bool,
}

#[derive(Debug, Default)]
pub struct Samples {
    kept: VecDeque<Sample>,
    picks: u32,
}

impl Samples {
    /// Whether to sample this pick: the first 8, and then one in 64.
    pub fn due(&mut self) -> bool {
        self.picks = self.picks.wrapping_add(1);
        (self.picks as usize) <= KEPT || self.picks.is_multiple_of(ONE_IN)
    }

    /// Keeps a sample in place of the oldest.
    pub fn keep(&mut self, sample: Sample) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(sample);
    }

    /// The samples, the oldest first.
    pub fn all(&self) -> Vec<Sample> {
        self.kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_eight_picks_are_sampled_and_then_one_in_sixty_four() {
        let mut samples = Samples::default();
        let due: Vec<u32> = (1..=200).filter(|_| samples.due()).collect();
        assert_eq!(due, [1, 2, 3, 4, 5, 6, 7, 8, 64, 128, 192]);
    }

    #[test]
    fn the_last_eight_samples_are_kept() {
        let mut samples = Samples::default();
        for group in 0..20 {
            samples.keep(Sample {
                at: SystemTime::UNIX_EPOCH,
                group: Some(group),
                candidates: Vec::new(),
                chosen: None,
                overflowed: false,
            });
        }
        let groups: Vec<u32> = samples.all().iter().filter_map(|sample| sample.group).collect();
        assert_eq!(groups, [12, 13, 14, 15, 16, 17, 18, 19]);
    }
}
