//! The rare cases of a pick: the winner is too loaded, or there is no winner.

use crate::{
    candidates::from_row,
    layout::NONE,
    observe::Observer,
    pick_plan::{Branch, Kind},
    random::Random,
    score::{View, Winner},
};

impl View<'_> {
    /// Finishes a pick whose group has no winner, or a winner that is too loaded.
    pub(crate) fn settle(
        &self,
        branch: &Branch,
        mut winner: Winner,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Option<u32> {
        if winner.best.is_none() && branch.kind != Kind::All {
            winner = self.scan(branch, winner.last_row, observer);
        }
        match winner.best {
            None => self.elsewhere(branch, random, observer),
            Some((slot, score)) if branch.overflow == NONE || score < branch.spill_at => Some(slot),
            Some(best) => Some(self.spill(branch, best, random, observer)),
        }
    }

    /// The group's winner scores `spill_at` or more. The overflow group's winner is taken if it scores
    /// lower by more than the margin. Only that one group is examined: this handles a momentary
    /// imbalance, and a chain of groups would lead the request back to where it began.
    fn spill(
        &self,
        branch: &Branch,
        (slot, score): (u32, f32),
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> u32 {
        observer.group(branch.overflow as usize);
        let overflow = &self.plan.branches[branch.overflow as usize];
        match self.best(overflow, random, observer).best {
            Some((other, other_score)) if score - other_score > branch.spill_margin => {
                observer.overflowed();
                other
            }
            _ => slot,
        }
    }

    /// Scans a group from the last examined row for the first slot that may be picked.
    fn scan(&self, branch: &Branch, last_row: u32, observer: &mut impl Observer) -> Winner {
        let mut winner = Winner::none(last_row);
        for row in from_row(last_row, branch.rows) {
            let slot = match branch.kind {
                Kind::Hashed => self.plan.ring(branch)[row as usize],
                _ => self.plan.rows(branch)[row as usize].slot,
            };
            self.compare(slot, &mut winner, observer);
            if winner.best.is_some() {
                break;
            }
        }
        winner
    }

    /// None of a group's slots may be picked. Tries the groups that it overflows into, one after the
    /// other, each as if it had been drawn. Then tries all rows.
    fn elsewhere(
        &self,
        from: &Branch,
        random: &mut Random,
        observer: &mut impl Observer,
    ) -> Option<u32> {
        let mut branch = from;
        for _ in 0..from.reach {
            observer.group(branch.overflow as usize);
            branch = &self.plan.branches[branch.overflow as usize];
            let mut winner = self.best(branch, random, observer);
            if winner.best.is_none() {
                winner = self.scan(branch, winner.last_row, observer);
            }
            if let Some((slot, _)) = winner.best {
                return Some(slot);
            }
        }
        self.anywhere(random, observer)
    }

    /// Scans all rows of all groups, from a random one. A scan from the first row would send all
    /// callers to the same endpoint.
    fn anywhere(&self, random: &mut Random, observer: &mut impl Observer) -> Option<u32> {
        let structure = &self.plan.structure;
        let weighted = structure.rows.len() as u32;
        let all = weighted + structure.ring.len() as u32;
        if all == 0 {
            return None;
        }
        observer.anywhere();
        let start = random.row_and_coin(all).0;
        let mut winner = Winner::none(0);
        from_row(start, all).find_map(|row| {
            let slot = match row.checked_sub(weighted) {
                None => structure.rows[row as usize].slot,
                Some(row) => structure.ring[row as usize],
            };
            self.compare(slot, &mut winner, observer);
            winner.best.map(|(slot, _)| slot)
        })
    }
}
