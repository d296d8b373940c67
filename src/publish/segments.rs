//! A service's table and those that it superseded, used as one.

use std::{io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use pointsman_table::{
    Capacity, Counters, Differences, Structure, StructureError, Table, TableWriter,
};

use super::segment::{Memory, Segment, SweepResult};
use crate::{
    catalog::EndpointRef,
    load::{Ages, Turn},
};

/// No requirement for the capacity of a table.
const NOTHING: Capacity = Capacity { groups: 0, rows: 0, ring: 0, slots: 0, endpoints: 0, text: 0 };

/// The table in force, and superseded ones in which requests may still be in flight.
#[derive(Debug)]
pub(super) struct Segments {
    name: String,
    memory: Memory,
    current: Segment,
    draining: Vec<Segment>,
}

impl Segments {
    /// Makes a table with room for `endpoints` and some more.
    ///
    /// # Errors
    /// The system gives no shared memory.
    pub(super) fn new(
        name: &str,
        memory: Memory,
        endpoints: usize,
        last_resort: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let current = Segment::new(name, memory, endpoints, &NOTHING, last_resort)?;
        let draining = Vec::new();
        Ok(Self { name: name.to_owned(), memory, current, draining })
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.current.table()
    }

    pub(super) fn reader_fd(&self) -> io::Result<OwnedFd> {
        self.current.reader_fd()
    }

    pub(super) fn writer(&mut self) -> &mut TableWriter {
        self.current.writer()
    }

    pub(super) fn write_structure(&mut self, structure: &Structure) -> Result<u32, StructureError> {
        self.current.write_structure(structure)
    }

    pub(super) fn new_counters(&self, shards: u32) -> io::Result<Arc<Counters>> {
        self.current.new_counters(shards)
    }

    pub(super) fn attach(&mut self, counters: Arc<Counters>) {
        self.current.attach(counters);
    }

    pub(super) fn detach(&mut self, counters: &Arc<Counters>) {
        self.current.detach(counters);
        self.draining.iter_mut().for_each(|segment| segment.detach(counters));
    }

    /// Gives each of `endpoints` a slot: the one it has, the one it had before it left, or a new
    /// one. If too few slots are left, or if the last resort changes, another table supersedes this
    /// one, all endpoints get new slots there, and the second value is true. `before` has the
    /// endpoints so far with their slots; `kept` has each endpoint's index among them.
    ///
    /// # Errors
    /// The system gives no shared memory; nothing has changed then.
    pub(super) fn give_slots(
        &mut self,
        endpoints: &[EndpointRef],
        before: (&[EndpointRef], &[u32]),
        kept: &[Option<usize>],
        last_resort: Option<SocketAddr>,
    ) -> io::Result<(Vec<u32>, bool)> {
        let slots: Vec<Option<u32>> = (endpoints.iter().zip(kept))
            .map(|(endpoint, kept)| match kept {
                Some(index) => Some(before.1[*index]),
                None => self.current.slot_before(endpoint),
            })
            .collect();
        let missing = slots.iter().filter(|slot| slot.is_none()).count();
        let Capacity { endpoints: most, groups, text, .. } = self.current.capacity();
        let outgrown = missing > self.current.free() || endpoints.len() > most as usize;
        if outgrown || last_resort != self.current.last_resort() {
            // The other table has at least as much room for groups and text as this one, since
            // most endpoints stay.
            let least = Capacity { groups, text, ..NOTHING };
            let slots = self.replace(&least, endpoints.len(), before, last_resort)?;
            if let Some(old) = self.draining.last_mut() {
                old.close_all_but(kept, before);
            }
            return Ok((slots, true));
        }
        let current = &mut self.current;
        current.close_all_but(kept, before);
        let slots = slots.into_iter().map(|slot| slot.unwrap_or_else(|| current.take_slot()));
        Ok((slots.collect(), false))
    }

    /// Puts a larger table in the place of the current one, with slots for `endpoints`, in order.
    ///
    /// # Errors
    /// The system gives no shared memory; nothing has changed then.
    pub(super) fn supersede(
        &mut self,
        least: &Capacity,
        endpoints: usize,
        before: (&[EndpointRef], &[u32]),
    ) -> io::Result<Vec<u32>> {
        self.replace(least, endpoints, before, self.current.last_resort())
    }

    fn replace(
        &mut self,
        least: &Capacity,
        endpoints: usize,
        before: (&[EndpointRef], &[u32]),
        last_resort: Option<SocketAddr>,
    ) -> io::Result<Vec<u32>> {
        let next = Segment::new(&self.name, self.memory, endpoints, least, last_resort)?;
        let mut old = std::mem::replace(&mut self.current, next);
        old.retire(before.0, before.1);
        self.draining.push(old);
        Ok((0..endpoints).map(|_| self.current.take_slot()).collect())
    }

    /// Adds up what is in flight, and drops superseded tables in which nothing is.
    pub(super) fn sweep(&mut self) -> SweepResult {
        let mut seen = self.current.sweep();
        self.draining.retain_mut(|segment| {
            let old = segment.sweep();
            seen.moved |= old.moved;
            seen.unreachable |= old.unreachable;
            seen.in_flight += old.in_flight;
            old.in_flight > 0 || old.moved
        });
        seen
    }

    /// Whether any counter moved since the last sweep.
    pub(super) fn stirred(&self) -> bool {
        self.current.stirred() || self.draining.iter().any(Segment::stirred)
    }

    /// Sets whether callers are to send a wake-up with whatever they count next.
    pub(super) fn set_asleep(&mut self, asleep: bool) {
        for segment in self.draining.iter_mut().chain([&mut self.current]) {
            segment.writer().set_asleep(asleep);
        }
    }

    /// What was in flight at an endpoint at the last sweep, in cost units.
    pub(super) fn in_flight(&self, slot: u32, endpoint: &EndpointRef) -> u32 {
        let before = self.draining.iter();
        let before = before.filter_map(|old| Some(old.in_flight(old.slot_before(endpoint)?)));
        self.current.in_flight(slot) + before.sum::<u32>()
    }

    /// The ages that callers count in, for the table in force.
    pub(super) fn ages(&mut self) -> Arc<Ages> {
        self.current.ages()
    }

    /// Begins another epoch of standing load.
    pub(super) fn turn(&mut self) -> Turn {
        let before = self.draining.iter_mut().map(Segment::turn);
        before.fold(self.current.turn(), Turn::plus)
    }

    /// The part of what is in flight at an endpoint that has been open for longer than the
    /// service's requests take, in cost units.
    pub(super) fn standing(&self, slot: u32, endpoint: &EndpointRef) -> u32 {
        let before = self.draining.iter();
        let before = before.filter_map(|old| Some(old.standing(old.slot_before(endpoint)?)));
        self.current.standing(slot) + before.sum::<u32>()
    }

    /// Whether an endpoint gets requests and gives no answer.
    pub(super) fn hangs(&self, slot: u32) -> bool {
        self.current.hangs(slot)
    }

    /// Calls `each` with what ended since the last call, for each table in which something ended.
    /// The second argument has the slots there of all endpoints that have one.
    pub(super) fn differences(
        &mut self,
        elapsed: Duration,
        endpoints: &[EndpointRef],
        slots: &[u32],
        mut each: impl FnMut(&Differences, &[(usize, u32)]),
    ) {
        if let Some(new) = self.current.differences(elapsed) {
            let slots: Vec<(usize, u32)> = slots.iter().copied().enumerate().collect();
            each(&new, &slots);
        }
        for old in &mut self.draining {
            if let Some(new) = old.differences(elapsed) {
                let slots: Vec<(usize, u32)> = (endpoints.iter().enumerate())
                    .filter_map(|(index, e)| Some((index, old.slot_before(e)?)))
                    .collect();
                each(&new, &slots);
            }
        }
    }

    /// Gives back memory that an idle table does not need.
    pub(super) fn release(&mut self) {
        self.current.release();
    }
}
