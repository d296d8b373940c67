//! The structure of a generation: groups, their rows, and the endpoints behind the slots.
//!
//! It changes only with membership, weights and shares. Load is not part of it: the cells hold that.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    bank_codec::text_bytes,
    layout::{Capacity, MAX_CHOICES, WHOLE},
};

/// The structure of one generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Structure {
    /// In the order in which a draw is compared with their thresholds. Without a group there is nothing
    /// to pick.
    pub groups: Vec<Group>,
    /// Alias rows of all weighted groups.
    pub rows: Vec<Row>,
    /// Slots in hash order, of all hashed groups.
    pub ring: Vec<u32>,
    /// The endpoints behind the slots, in any order.
    pub endpoints: Vec<EndpointRecord>,
}

/// A set of endpoints that one pick compares, such as a zone or a priority.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The cumulative share up to and including this group, of 2^32-1.
    pub threshold: u32,
    /// The most candidates that a pick compares, 1 to 8.
    pub choices: u32,
    /// How candidates are found.
    pub mode: Mode,
    /// The group to examine when this one's winner scores `spill_at` or more.
    pub overflow: Option<u32>,
    /// A winner with this score or more is too loaded. The unit is that of the scores.
    pub spill_at: f32,
    /// By how much lower the overflow group's winner has to score.
    pub spill_margin: f32,
    /// The first row, in `rows` or `ring` by mode.
    pub first_row: u32,
    /// How many rows, at least 1.
    pub rows: u32,
}

impl Default for Group {
    /// The whole share, two choices by weight, no overflow, and no rows yet.
    fn default() -> Self {
        Self {
            threshold: WHOLE,
            choices: 2,
            mode: Mode::Weighted,
            overflow: None,
            spill_at: f32::MAX,
            spill_margin: 0.0,
            first_row: 0,
            rows: 0,
        }
    }
}

/// How a group's candidates are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Drawn from alias rows.
    Weighted,
    /// Taken from the ring, from the key's row onward.
    Hashed,
}

/// An alias row: `slot` if the coin is below `probability`, else `alias`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of 2^32.
    pub probability: u32,
    /// The slot that is drawn otherwise.
    pub alias: u32,
    /// The row's own slot.
    pub slot: u32,
}

/// An endpoint, and the slot that it keeps for the life of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointRecord {
    /// Its number in the load cells and in the counters.
    pub slot: u32,
    /// Address and port. The table does not keep the scope and flow of an IPv6 address. An IPv4
    /// address in IPv6 form is read back as IPv4.
    pub address: SocketAddr,
    /// The zone, empty where it is unknown.
    pub zone: Arc<str>,
    /// The relative weight that the source gave.
    pub weight: f32,
    /// Tells pods apart that had this address one after the other. The same for the same pod, in any
    /// table and from any agent; 0 where the source names no pod. A caller that finds another value here
    /// closes its connections to the pod before, and forgets what it observed of it.
    pub incarnation: u32,
    /// Keys and values, in the source's order.
    pub labels: Vec<(String, String)>,
}

impl EndpointRecord {
    /// A record without zone and labels, of weight 1.
    pub fn new(slot: u32, address: SocketAddr) -> Self {
        Self { slot, address, zone: Arc::from(""), weight: 1.0, incarnation: 0, labels: vec![] }
    }
}

/// The table is too small for the structure. Nothing was written. A larger table has to supersede it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table has room for {capacity} {what}, not for {needed}")]
pub struct CapacityExceeded {
    /// What exceeds the capacity: "groups", "slots", ...
    pub what: &'static str,
    /// How much the structure needs.
    pub needed: u64,
    /// How much the table has room for.
    pub capacity: u32,
}

/// A structure that no picker could use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A group has no rows, or some of its rows do not exist.
    #[error("group {group} has {rows} rows from row {first_row}, but the table has {available}")]
    Rows {
        /// Index of the group.
        group: usize,
        /// Its number of rows.
        rows: u32,
        /// Its first row.
        first_row: u32,
        /// How many rows of its mode exist.
        available: usize,
    },
    /// A group's `choices` is not between 1 and 8.
    #[error("group {group} compares {choices} candidates; it must be 1 to {MAX_CHOICES}")]
    Choices {
        /// Index of the group.
        group: usize,
        /// The value that it has.
        choices: u32,
    },
    /// A group names itself, or a group that does not exist, as its overflow.
    #[error(
        "group {group} overflows into group {overflow}, but it must be another one of {groups}"
    )]
    Overflow {
        /// Index of the group.
        group: usize,
        /// The value that it has.
        overflow: u32,
        /// How many groups there are.
        groups: usize,
    },
    /// A threshold is lower than the one before it, or the last one is not 2^32-1.
    #[error(
        "the threshold of group {group} is {threshold}: thresholds must not decrease, and the last \
         must be 2^32-1"
    )]
    Threshold {
        /// Index of the group.
        group: usize,
        /// The value that it has.
        threshold: u32,
    },
    /// A number is negative or not finite.
    #[error("{what} of {of} is {value}; it must be finite and not negative")]
    Number {
        /// The field.
        what: &'static str,
        /// The group's index, or the endpoint's slot.
        of: u32,
        /// The value that it has.
        value: String,
    },
    /// A word has a value that no writer of this layout writes.
    #[error("{what} is {value}, which no writer writes")]
    Word {
        /// The field.
        what: &'static str,
        /// The value that it has.
        value: u32,
    },
}

/// Why a structure was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructureError {
    /// The table is too small. Make a larger one that supersedes it.
    #[error(transparent)]
    CapacityExceeded(#[from] CapacityExceeded),
    /// The structure is wrong.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl Capacity {
    /// Exactly what this structure needs. Slots are needed up to the highest that it names.
    pub fn of(structure: &Structure) -> Self {
        Self {
            groups: structure.groups.len() as u32,
            rows: structure.rows.len() as u32,
            ring: structure.ring.len() as u32,
            slots: structure.slots().max().map_or(0, |highest| highest.saturating_add(1)),
            endpoints: structure.endpoints.len() as u32,
            text: text_bytes(structure) as u32,
        }
    }
}

impl Structure {
    /// All slots that the structure names, with repetitions.
    fn slots(&self) -> impl Iterator<Item = u32> {
        (self.rows.iter().flat_map(|row| [row.slot, row.alias]))
            .chain(self.ring.iter().copied())
            .chain(self.endpoints.iter().map(|endpoint| endpoint.slot))
    }

    /// Whether a picker could use it. A writer refuses to publish, and a reader to use, a structure that
    /// fails this check. `slots` is the capacity of the table.
    pub(crate) fn check(&self, slots: u32) -> Result<(), StructureError> {
        for (index, group) in self.groups.iter().enumerate() {
            self.check_group(index, group)?;
        }
        let thresholds = self.groups.iter().map(|group| group.threshold);
        for (index, (one, next)) in
            thresholds.clone().zip(thresholds.skip(1).chain([WHOLE])).enumerate()
        {
            let last = index + 1 == self.groups.len();
            if one > next || (last && one != WHOLE) {
                return Err(Malformed::Threshold { group: index, threshold: one }.into());
            }
        }
        for endpoint in &self.endpoints {
            sound("weight", endpoint.slot, endpoint.weight)?;
        }
        match self.slots().max() {
            Some(highest) if highest >= slots => Err(CapacityExceeded {
                what: "slots",
                needed: u64::from(highest) + 1,
                capacity: slots,
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn check_group(&self, index: usize, group: &Group) -> Result<(), Malformed> {
        let available = match group.mode {
            Mode::Weighted => self.rows.len(),
            Mode::Hashed => self.ring.len(),
        };
        let &Group { first_row, rows, choices, .. } = group;
        if rows == 0 || u64::from(first_row) + u64::from(rows) > available as u64 {
            return Err(Malformed::Rows { group: index, rows, first_row, available });
        }
        if !(1..=MAX_CHOICES).contains(&choices) {
            return Err(Malformed::Choices { group: index, choices });
        }
        if let Some(overflow) = group.overflow
            && (overflow as usize >= self.groups.len() || overflow as usize == index)
        {
            let groups = self.groups.len();
            return Err(Malformed::Overflow { group: index, overflow, groups });
        }
        sound("spill_at", index as u32, group.spill_at)?;
        sound("spill_margin", index as u32, group.spill_margin)
    }

    /// Whether it fits, except for its text. The encoder counts text, because it stores equal texts once.
    pub(crate) fn check_capacity(&self, capacity: &Capacity) -> Result<(), CapacityExceeded> {
        for (what, needed, room) in [
            ("groups", self.groups.len(), capacity.groups),
            ("rows", self.rows.len(), capacity.rows),
            ("ring rows", self.ring.len(), capacity.ring),
            ("endpoints", self.endpoints.len(), capacity.endpoints),
        ] {
            if needed as u64 > u64::from(room) {
                return Err(CapacityExceeded { what, needed: needed as u64, capacity: room });
            }
        }
        Ok(())
    }
}

fn sound(what: &'static str, of: u32, value: f32) -> Result<(), Malformed> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Malformed::Number { what, of, value: value.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_rows() -> Structure {
        let row = |slot| Row { probability: u32::MAX, alias: slot, slot };
        Structure {
            groups: vec![Group { rows: 2, ..Group::default() }],
            rows: vec![row(0), row(1)],
            ..Structure::default()
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Structure), with: &str) {
        let mut structure = two_rows();
        change(&mut structure);
        assert_eq!(structure.check(10).unwrap_err().to_string(), with);
    }

    #[test]
    fn a_structure_that_cannot_be_followed_is_refused() {
        assert_eq!(two_rows().check(10), Ok(()));
        assert_eq!(Structure::default().check(0), Ok(()));
        refused(|s| s.groups[0].rows = 3, "group 0 has 3 rows from row 0, but the table has 2");
        refused(|s| s.groups[0].rows = 0, "group 0 has 0 rows from row 0, but the table has 2");
        refused(
            |s| s.groups[0].first_row = u32::MAX,
            "group 0 has 2 rows from row 4294967295, but the table has 2",
        );
        refused(
            |s| s.groups[0].mode = Mode::Hashed,
            "group 0 has 2 rows from row 0, but the table has 0",
        );
        refused(|s| s.groups[0].choices = 0, "group 0 compares 0 candidates; it must be 1 to 8");
        refused(
            |s| s.groups[0].overflow = Some(0),
            "group 0 overflows into group 0, but it must be another one of 1",
        );
        refused(
            |s| s.groups[0].spill_at = f32::NAN,
            "spill_at of 0 is NaN; it must be finite and not negative",
        );
        refused(
            |s| s.groups[0].spill_at = f32::INFINITY,
            "spill_at of 0 is inf; it must be finite and not negative",
        );
        refused(
            |s| s.groups[0].spill_margin = -1.0,
            "spill_margin of 0 is -1; it must be finite and not negative",
        );
        refused(
            |s| s.groups[0].threshold = 7,
            "the threshold of group 0 is 7: thresholds must not decrease, and the last must be \
             2^32-1",
        );
        refused(|s| s.rows[1].alias = 10, "the table has room for 10 slots, not for 11");
        refused(|s| s.ring.push(u32::MAX), "the table has room for 10 slots, not for 4294967296");
    }
}
