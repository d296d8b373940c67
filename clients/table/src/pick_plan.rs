//! A structure prepared for picks: it holds values that each pick would otherwise compute again.

use crate::{
    layout::{NONE, WHOLE},
    structure::{EndpointRecord, Mode, Row, Structure},
};

/// A decoded generation, shared by the pickers of a process.
///
/// Its fields are private to the crate, and it never changes. Pickers rely on two properties without
/// checking them: each slot in it is below the `slots` that it was made for, and all rows of each
/// group exist.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) generation: u32,
    pub(crate) structure: Structure,
    /// One for each group. If there is no group, one empty branch: never an empty list.
    pub(crate) branches: Vec<Branch>,
    /// For each slot the index of its endpoint, or `NONE`.
    endpoint_of: Vec<u32>,
}

/// A group, ready to draw from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    /// Draws below this choose the group.
    pub(crate) threshold: u32,
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
    pub(crate) choices: u32,
    pub(crate) kind: Kind,
    pub(crate) spill_at: f32,
    pub(crate) spill_margin: f32,
    pub(crate) overflow: u32,
    /// How many other groups its chain of overflow groups has.
    pub(crate) reach: u32,
}

/// How candidates are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Two of more than two rows: nearly all picks.
    Two,
    /// Any other number that is lower than the number of rows.
    Several,
    /// There are no more rows than choices: all rows.
    All,
    /// From the key's row on.
    Hashed,
    /// There is no group.
    Nothing,
}

impl Plan {
    /// The plan before the first generation.
    pub(crate) fn nothing(slots: u32) -> Self {
        Self::new(0, Structure::default(), slots)
    }

    /// `structure` must have passed its check for a table with this many slots.
    pub(crate) fn new(generation: u32, structure: Structure, slots: u32) -> Self {
        debug_assert_eq!(structure.check(slots), Ok(()));
        let branches = (0..structure.groups.len()).map(|index| Branch::of(&structure, index));
        let mut branches: Vec<_> = branches.collect();
        if branches.is_empty() {
            branches.push(Branch::NOTHING);
        }
        let highest = structure.endpoints.iter().map(|endpoint| endpoint.slot as usize + 1).max();
        let mut endpoint_of = vec![NONE; highest.unwrap_or(0)];
        for (index, endpoint) in structure.endpoints.iter().enumerate() {
            endpoint_of[endpoint.slot as usize] = index as u32;
        }
        Self { generation, structure, branches, endpoint_of }
    }

    /// The alias rows of a weighted group.
    #[inline(always)]
    pub(crate) fn rows(&self, branch: &Branch) -> &[Row] {
        debug_assert_ne!(branch.kind, Kind::Hashed);
        let rows = branch.first_row as usize..(branch.first_row + branch.rows) as usize;
        debug_assert!(self.structure.rows.get(rows.clone()).is_some());
        // SAFETY: a plan's weighted groups have all of their rows within `rows`.
        unsafe { self.structure.rows.get_unchecked(rows) }
    }

    /// The ring of a hashed group.
    pub(crate) fn ring(&self, branch: &Branch) -> &[u32] {
        debug_assert_eq!(branch.kind, Kind::Hashed);
        &self.structure.ring[branch.first_row as usize..][..branch.rows as usize]
    }

    pub(crate) fn endpoint(&self, slot: u32) -> Option<&EndpointRecord> {
        let index = *self.endpoint_of.get(slot as usize)?;
        self.structure.endpoints.get(index as usize)
    }
}

impl Branch {
    const NOTHING: Self = Self {
        threshold: WHOLE,
        first_row: 0,
        rows: 0,
        choices: 0,
        kind: Kind::Nothing,
        spill_at: f32::MAX,
        spill_margin: 0.0,
        overflow: NONE,
        reach: 0,
    };

    fn of(structure: &Structure, index: usize) -> Self {
        let group = &structure.groups[index];
        let kind = match (group.mode, group.choices) {
            (Mode::Hashed, _) => Kind::Hashed,
            (Mode::Weighted, choices) if group.rows <= choices => Kind::All,
            (Mode::Weighted, 2) => Kind::Two,
            (Mode::Weighted, _) => Kind::Several,
        };
        Self {
            threshold: group.threshold,
            first_row: group.first_row,
            rows: group.rows,
            choices: group.choices,
            kind,
            spill_at: group.spill_at,
            spill_margin: group.spill_margin,
            overflow: group.overflow.unwrap_or(NONE),
            reach: reach(structure, index),
        }
    }

    /// Whether a draw chooses this group, if it chose no earlier one.
    #[inline(always)]
    pub(crate) fn takes(&self, draw: u32) -> bool {
        draw < self.threshold || self.threshold == WHOLE
    }
}

fn reach(structure: &Structure, from: usize) -> u32 {
    let mut visited = vec![from];
    let mut at = from;
    while let Some(next) = structure.groups[at].overflow {
        at = next as usize;
        if visited.contains(&at) {
            break;
        }
        visited.push(at);
    }
    visited.len() as u32 - 1
}
