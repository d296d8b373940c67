//! A service's table and those that it superseded, as one.

use std::{io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use pointsman_table::{Counters, Differences, Structure, StructureError, Table, TableWriter};

use super::segment::{Memory, Seen, Segment};
use crate::{
    catalog::EndpointRef,
    load::{Ages, Turn},
};

/// The table in force, and those in which something may still be in flight.
#[derive(Debug)]
pub(super) struct Segments {
    name: String,
    memory: Memory,
    current: Segment,
    draining: Vec<Segment>,
}

impl Segments {
    /// A table with room for so many endpoints, and for more.
    pub(super) fn new(name: &str, memory: Memory, endpoints: usize) -> io::Result<Self> {
        let current = Segment::new(name, memory, endpoints)?;
        Ok(Self { name: name.to_owned(), memory, current, draining: Vec::new() })
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

    /// The endpoint of a slot leaves.
    pub(super) fn close(&mut self, slot: u32) {
        self.current.close(slot);
    }

    /// A slot for every endpoint: that which it has, or a new one. Where too few are left all get new
    /// ones, in a larger table that supersedes this one; true if so.
    ///
    /// # Errors
    /// The system gives no shared memory.
    pub(super) fn give_slots(
        &mut self,
        endpoints: &[EndpointRef],
        mut slots: Vec<Option<u32>>,
    ) -> io::Result<(Vec<u32>, bool)> {
        let missing = slots.iter().filter(|slot| slot.is_none()).count();
        let superseded = missing > self.current.free() || self.current.is_short_of(slots.len());
        if superseded {
            let larger = Segment::new(&self.name, self.memory, endpoints.len())?;
            let mut old = std::mem::replace(&mut self.current, larger);
            let held = (endpoints.iter().zip(&slots))
                .filter_map(|(endpoint, slot)| Some((endpoint.address, (*slot)?)));
            old.retire(held.collect());
            self.draining.push(old);
            slots.fill(None);
        }
        let current = &mut self.current;
        let slots = slots.into_iter().map(|slot| slot.unwrap_or_else(|| current.take_slot()));
        Ok((slots.collect(), superseded))
    }

    /// Adds up what is in flight, and lets go of tables in which nothing is.
    pub(super) fn sweep(&mut self) -> Seen {
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

    /// Whether any counter moved since the last look.
    pub(super) fn stirred(&mut self) -> bool {
        self.current.sweep().moved
    }

    /// In flight at an endpoint at the last sweep, in cost units.
    pub(super) fn in_flight(&self, slot: u32, address: SocketAddr) -> u32 {
        let before = self.draining.iter();
        let before = before.filter_map(|old| Some(old.in_flight(old.retired_slot(address)?)));
        self.current.in_flight(slot) + before.sum::<u32>()
    }

    /// For those who count by age what they open in the table in force.
    pub(super) fn ages(&mut self) -> Arc<Ages> {
        self.current.ages()
    }

    /// Begins another epoch of standing load.
    pub(super) fn turn(&mut self) -> Turn {
        let before = self.draining.iter_mut().map(Segment::turn);
        before.fold(self.current.turn(), Turn::plus)
    }

    /// Of what is in flight at an endpoint, what is open for longer than the service's requests
    /// take, in cost units.
    pub(super) fn standing(&self, slot: u32, address: SocketAddr) -> u32 {
        let before = self.draining.iter();
        let before = before.filter_map(|old| Some(old.standing(old.retired_slot(address)?)));
        self.current.standing(slot) + before.sum::<u32>()
    }

    /// Whether requests go to an endpoint and no answer comes.
    pub(super) fn hangs(&self, slot: u32) -> bool {
        self.current.hangs(slot)
    }

    /// What ended since the last call, of each table in which something did, with the slot there of
    /// each endpoint that has one.
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
                    .filter_map(|(index, e)| Some((index, old.retired_slot(e.address)?)))
                    .collect();
                each(&new, &slots);
            }
        }
    }

    /// Gives back what need not be held while nothing happens.
    pub(super) fn release(&mut self) {
        self.current.release();
    }
}
