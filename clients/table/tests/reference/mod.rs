//! A reference implementation of the pick. It follows the specification sentence by sentence, is slow and
//! obvious, and shares no code with the real picker.

use std::collections::HashMap;

use pointsman_table::{Cell, Group, Mode, Structure};

/// The parameters of a pick.
#[derive(Clone, Copy, Default)]
pub(crate) struct Question<'a> {
    pub(crate) exclude: &'a [u32],
    pub(crate) key: Option<&'a [u8]>,
}

/// The content that the agent has published.
pub(crate) struct Published<'a> {
    pub(crate) structure: &'a Structure,
    pub(crate) cells: &'a [Cell],
    pub(crate) publication: u32,
}

/// A picker's own state.
pub(crate) struct Reference {
    random: [u32; 4],
    /// For each slot the cost that was started and ended, and the publication since which it counts.
    own: HashMap<u32, (u32, i32)>,
}

impl Reference {
    pub(crate) fn new(seed: u32) -> Self {
        let mut counter = seed;
        let mut random = [0; 4];
        for word in &mut random {
            counter = counter.wrapping_add(0x9e3779b9);
            *word = counter;
            *word = (*word ^ (*word >> 16)).wrapping_mul(0x85ebca6b);
            *word = (*word ^ (*word >> 13)).wrapping_mul(0xc2b2ae35);
            *word ^= *word >> 16;
        }
        Self { random, own: HashMap::new() }
    }

    /// xoshiro128++, as in its authors' paper.
    fn draw(&mut self) -> u32 {
        let s = &mut self.random;
        let result = s[0].wrapping_add(s[3]).rotate_left(7).wrapping_add(s[0]);
        let t = s[1] << 9;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(11);
        result
    }

    pub(crate) fn add(&mut self, slot: u32, publication: u32, cost: i32) {
        let own = self.own_at(slot, publication);
        self.own.insert(slot, (publication, own.wrapping_add(cost)));
    }

    fn own_at(&self, slot: u32, publication: u32) -> i32 {
        match self.own.get(&slot) {
            Some((since, delta)) if *since == publication => *delta,
            _ => 0,
        }
    }

    /// The picked slot. The caller counts its start with `add`.
    pub(crate) fn pick(
        &mut self,
        published: &Published<'_>,
        question: Question<'_>,
    ) -> Option<u32> {
        let groups = &published.structure.groups;
        if groups.is_empty() {
            return None;
        }
        // 1. Group.
        let mut drawn = 0;
        if groups.len() > 1 {
            let draw = self.draw();
            while !(groups[drawn].threshold == u32::MAX || groups[drawn].threshold > draw) {
                drawn += 1;
            }
        }
        let group = &groups[drawn];

        // 2 to 4. The best candidate, or else the first eligible from the last row on.
        let Some((winner, score)) = self.within(group, published, question) else {
            return self.elsewhere(drawn, published, question);
        };

        // 5. Overflow.
        if let Some(overflow) = group.overflow
            && score >= group.spill_at
        {
            let (best, _) = self.best(&groups[overflow as usize], published, question);
            if let Some((other, other_score)) = best
                && score - other_score > group.spill_margin
            {
                return Some(other);
            }
        }
        Some(winner)
    }

    fn elsewhere(
        &mut self,
        drawn: usize,
        published: &Published<'_>,
        question: Question<'_>,
    ) -> Option<u32> {
        let groups = &published.structure.groups;
        // The overflow groups, each of them once.
        let mut visited = vec![drawn];
        let mut at = drawn;
        while let Some(next) = groups[at].overflow {
            at = next as usize;
            if visited.contains(&at) {
                break;
            }
            visited.push(at);
            if let Some((winner, _)) = self.within(&groups[at], published, question) {
                return Some(winner);
            }
        }
        // All rows, from a drawn one on.
        let rows = published.structure.rows.iter().map(|row| row.slot);
        let all: Vec<u32> = rows.chain(published.structure.ring.iter().copied()).collect();
        let from = ((u64::from(self.draw()) * all.len() as u64) >> 32) as usize;
        (0..all.len())
            .map(|step| all[(from + step) % all.len()])
            .find(|slot| self.score(*slot, published, question).is_some())
    }

    /// The best candidate of a group, or if none is eligible the first eligible of its rows.
    fn within(
        &mut self,
        group: &Group,
        published: &Published<'_>,
        question: Question<'_>,
    ) -> Option<(u32, f32)> {
        let (best, last_row) = self.best(group, published, question);
        if best.is_some() {
            return best;
        }
        for step in 0..group.rows {
            let slot = own_slot(group, published.structure, (last_row + step) % group.rows);
            if let Some(score) = self.score(slot, published, question) {
                return Some((slot, score));
            }
        }
        None
    }

    /// The best candidate of a group, and the last row that was examined.
    fn best(
        &mut self,
        group: &Group,
        published: &Published<'_>,
        question: Question<'_>,
    ) -> (Option<(u32, f32)>, u32) {
        let (candidates, last_row) = match group.mode {
            Mode::Weighted => self.drawn_candidates(group, published.structure),
            Mode::Hashed => {
                return self.first_of_hashed(group, published, question);
            }
        };
        let mut best: Option<(u32, f32)> = None;
        for slot in candidates {
            if let Some(score) = self.score(slot, published, question)
                && best.is_none_or(|(_, lowest)| score < lowest)
            {
                best = Some((slot, score));
            }
        }
        (best, last_row)
    }

    fn drawn_candidates(&mut self, group: &Group, structure: &Structure) -> (Vec<u32>, u32) {
        if group.rows <= group.choices {
            let mut all: Vec<u32> =
                (0..group.rows).map(|row| own_slot(group, structure, row)).collect();
            if group.rows > 1 {
                let product = u64::from(self.draw()) * u64::from(group.rows);
                let row = structure.rows[(group.first_row + (product >> 32) as u32) as usize];
                let first = if (product as u32) < row.probability { row.slot } else { row.alias };
                let at = all.iter().position(|slot| *slot == first).unwrap_or(0);
                all.rotate_left(at);
            }
            return (all, group.rows - 1);
        }
        let mut candidates = vec![];
        let mut last_row = 0;
        'candidates: for _ in 0..group.choices {
            for _ in 0..5 {
                let product = u64::from(self.draw()) * u64::from(group.rows);
                last_row = (product >> 32) as u32;
                let coin = product as u32;
                let row = structure.rows[(group.first_row + last_row) as usize];
                let slot = if coin < row.probability { row.slot } else { row.alias };
                if !candidates.contains(&slot) {
                    candidates.push(slot);
                    continue 'candidates;
                }
            }
            for step in 1..=group.rows {
                let row = (last_row + step) % group.rows;
                let slot = own_slot(group, structure, row);
                if !candidates.contains(&slot) {
                    candidates.push(slot);
                    last_row = row;
                    continue 'candidates;
                }
            }
            break;
        }
        (candidates, last_row)
    }

    fn first_of_hashed(
        &mut self,
        group: &Group,
        published: &Published<'_>,
        question: Question<'_>,
    ) -> (Option<(u32, f32)>, u32) {
        let start = match question.key {
            Some(key) => xxh32(key) % group.rows,
            None => ((u64::from(self.draw()) * u64::from(group.rows)) >> 32) as u32,
        };
        let mut seen = vec![];
        let mut last_row = start;
        for step in 0..group.rows {
            let row = (start + step) % group.rows;
            let slot = own_slot(group, published.structure, row);
            if seen.contains(&slot) {
                continue;
            }
            seen.push(slot);
            last_row = row;
            if let Some(score) = self.score(slot, published, question) {
                return (Some((slot, score)), last_row);
            }
            if seen.len() == group.choices as usize {
                break;
            }
        }
        (None, last_row)
    }

    /// The score of a slot, if it is eligible.
    fn score(&self, slot: u32, published: &Published<'_>, question: Question<'_>) -> Option<f32> {
        let cell = &published.cells[slot as usize];
        let own = self.own_at(slot, published.publication);
        if question.exclude.contains(&slot) || cell.limit == 0 || own >= cell.limit {
            return None;
        }
        let (base, slope) = if (own as f32) < cell.knee {
            (cell.base, cell.slope)
        } else {
            (cell.hot_base, cell.hot_slope)
        };
        let added: f32 = slope * own as f32;
        Some(base + added)
    }
}

/// A row's own slot, counted from the group's first row.
fn own_slot(group: &Group, structure: &Structure, row: u32) -> u32 {
    let row = (group.first_row + row) as usize;
    match group.mode {
        Mode::Weighted => structure.rows[row].slot,
        Mode::Hashed => structure.ring[row],
    }
}

/// xxHash32 with seed 0, from its specification.
fn xxh32(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1];
    let word = |four: &[u8]| u32::from_le_bytes(four.try_into().unwrap());
    let stripes = bytes.chunks_exact(16);
    let mut rest = stripes.remainder();
    let mut hash = PRIMES[4];
    if bytes.len() >= 16 {
        let first = PRIMES[0].wrapping_add(PRIMES[1]);
        let mut lanes = [first, PRIMES[1], 0, 0u32.wrapping_sub(PRIMES[0])];
        for stripe in stripes {
            for (lane, four) in lanes.iter_mut().zip(stripe.chunks(4)) {
                *lane = lane.wrapping_add(word(four).wrapping_mul(PRIMES[1]));
                *lane = lane.rotate_left(13).wrapping_mul(PRIMES[0]);
            }
        }
        let rotated = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
        hash = rotated.fold(0, u32::wrapping_add);
    }
    hash = hash.wrapping_add(bytes.len() as u32);
    while rest.len() >= 4 {
        hash = hash.wrapping_add(word(&rest[..4]).wrapping_mul(PRIMES[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIMES[3]);
        rest = &rest[4..];
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}

#[test]
fn the_hash_is_xxh32() {
    // From the specification's own examples, and the crate's.
    assert_eq!(xxh32(b""), 0x02CC5D05);
    for len in 0..100 {
        let bytes: Vec<u8> = (0..len).collect();
        assert_eq!(xxh32(&bytes), xxhash_rust::xxh32::xxh32(&bytes, 0), "{len} bytes");
    }
}
