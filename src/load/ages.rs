//! Counts which open requests are standing. A request becomes standing once it has been open for
//! one to two epochs.
//!
//! Callers count each beginning and end here: by slot, in cost units, and by age. The ages are: begun
//! in this epoch, begun in the one before, and begun earlier. This takes two additions a request,
//! no lock and no clock.
//!
//! An end that races with the turn of an epoch may be subtracted from the wrong age. The numbers
//! are signed, so that age is too low until the next turn adds it to the standing ones. The sum is
//! right throughout.

use std::sync::atomic::{
    AtomicI32, AtomicU32,
    Ordering::{AcqRel, Relaxed},
};

/// The epoch in which a request began; [`Ages::ended()`] takes it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u32);

/// The open requests of some callers, by slot and age.
#[derive(Debug)]
pub struct Ages {
    epoch: AtomicU32,
    slots: Box<[Slot]>,
    /// Ends with an answer since the last turn.
    ended: AtomicU32,
    /// The part of `ended` whose requests were standing.
    ended_standing: AtomicU32,
}

#[derive(Debug, Default)]
struct Slot {
    /// By the parity of the epoch in which they began.
    young: [AtomicI32; 2],
    standing: AtomicI32,
    /// The last epoch in which a request ended with an answer.
    answered: AtomicU32,
}

/// What the turn of an epoch found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What became standing, in cost units.
    pub became: u64,
    /// What is standing, in cost units.
    pub standing: u64,
    /// Ends with an answer since the turn before.
    pub ended: u64,
    /// The part of `ended` whose requests were standing.
    pub ended_standing: u64,
}

impl Turn {
    pub fn plus(self, other: Self) -> Self {
        Self {
            became: self.became + other.became,
            standing: self.standing + other.standing,
            ended: self.ended + other.ended,
            ended_standing: self.ended_standing + other.ended_standing,
        }
    }
}

impl Ages {
    /// Makes slots in which nothing is open.
    pub fn new(slots: u32) -> Self {
        let mut all = Vec::new();
        all.resize_with(slots as usize, Slot::default);
        Self {
            // Not 0: a slot must not seem answered in the first epochs.
            epoch: AtomicU32::new(2),
            slots: all.into(),
            ended: AtomicU32::new(0),
            ended_standing: AtomicU32::new(0),
        }
    }

    /// Counts the beginning of a request.
    pub fn began(&self, slot: u32, cost: u32) -> Epoch {
        let epoch = self.epoch.load(Relaxed);
        self.slots[slot as usize].young[(epoch & 1) as usize].fetch_add(cost as i32, Relaxed);
        Epoch(epoch)
    }

    /// Counts the end of a request. `answered`: the server answered, so it is not hanging.
    pub fn ended(&self, slot: u32, cost: u32, begun: Epoch, answered: bool) {
        let epoch = self.epoch.load(Relaxed);
        let slot = &self.slots[slot as usize];
        let standing = epoch.wrapping_sub(begun.0) >= 2;
        let class = if standing { &slot.standing } else { &slot.young[(begun.0 & 1) as usize] };
        class.fetch_sub(cost as i32, Relaxed);
        if answered {
            slot.answered.store(epoch, Relaxed);
            self.ended.fetch_add(1, Relaxed);
            self.ended_standing.fetch_add(u32::from(standing), Relaxed);
        }
    }

    /// Begins another epoch. Calls `each` for every slot with what became standing there, and
    /// whether a request ended there with an answer in the epoch that is over.
    pub fn turn(&self, mut each: impl FnMut(u32, u32, bool)) -> Turn {
        let over = self.epoch.load(Relaxed);
        let mut turn = Turn {
            ended: self.ended.swap(0, Relaxed).into(),
            ended_standing: self.ended_standing.swap(0, Relaxed).into(),
            ..Turn::default()
        };
        self.epoch.store(over.wrapping_add(1), Relaxed);
        for (number, slot) in (0..).zip(&self.slots) {
            let became = slot.young[(over.wrapping_add(1) & 1) as usize].swap(0, AcqRel);
            let standing = slot.standing.fetch_add(became, Relaxed).wrapping_add(became);
            let became = became.max(0) as u32;
            turn.became += u64::from(became);
            turn.standing += standing.max(0) as u64;
            each(number, became, slot.answered.load(Relaxed) == over);
        }
        turn
    }

    pub fn standing(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |slot| slot.standing.load(Relaxed).max(0) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(ages: &Ages) -> Turn {
        ages.turn(|_, _, _| ())
    }

    #[test]
    fn a_request_is_standing_once_it_was_open_for_a_whole_epoch() {
        let ages = Ages::new(2);
        let begun = ages.began(1, 3);
        assert_eq!(turn(&ages).became, 0);
        assert_eq!(ages.standing(1), 0);
        assert_eq!(turn(&ages), Turn { became: 3, standing: 3, ..Turn::default() });
        assert_eq!((ages.standing(0), ages.standing(1)), (0, 3));
        ages.ended(1, 3, begun, true);
        assert_eq!(ages.standing(1), 0);
        assert_eq!(turn(&ages), Turn { ended: 1, ended_standing: 1, ..Turn::default() });
    }

    #[test]
    fn the_turns_of_two_tables_add_up() {
        let one = Turn { became: 1, standing: 20, ended: 300, ended_standing: 4000 };
        let other = Turn { became: 5, standing: 60, ended: 700, ended_standing: 8000 };
        let both = Turn { became: 6, standing: 80, ended: 1000, ended_standing: 12_000 };
        assert_eq!(one.plus(other), both);
    }

    #[test]
    fn what_ends_before_leaves_nothing_behind() {
        let ages = Ages::new(1);
        for _ in 0..5 {
            let (one, other) = (ages.began(0, 1), ages.began(0, 1));
            ages.ended(0, 1, one, true);
            turn(&ages);
            ages.ended(0, 1, other, false);
        }
        turn(&ages);
        assert_eq!(turn(&ages).standing, 0);
    }

    #[test]
    fn an_epoch_tells_where_an_answer_came() {
        let ages = Ages::new(2);
        let (one, other) = (ages.began(0, 1), ages.began(1, 1));
        ages.ended(0, 1, one, true);
        ages.ended(1, 1, other, false);
        let mut answered = Vec::new();
        ages.turn(|_, _, came| answered.push(came));
        assert_eq!(answered, [true, false]);
    }
}
