//! One table: its slots, the counters attached to it, and their sums.
//!
//! During the life of a table a slot never goes to another endpoint. An endpoint that leaves and
//! comes back gets its old slot again. When the slots run out, a new segment supersedes this one,
//! which lives until nothing is in flight in it.

use std::{collections::HashMap, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use pointsman_table::{
    Capacity, Cell, Counters, Differences, Structure, StructureError, Sweep, Table, TableWriter,
};
use tracing::warn;

use crate::{
    catalog::EndpointRef,
    clock,
    load::{Ages, Hanging, Turn},
};

/// A sweep that took longer was preempted: with 200 busy processes a sweep takes a quarter of this.
const PREEMPTED: Duration = Duration::from_millis(1);

/// The most that all leases may cost together. Sweeps count up to it exactly, so the part of each
/// endpoint is known. A caller that holds little may still have three requests of the highest cost.
pub const MOST_COST: u32 = 1 << 23;

/// The cell of a slot that takes no picks.
pub(super) const CLOSED: Cell =
    Cell { base: 0.0, slope: 0.0, knee: f32::MAX, hot_base: 0.0, hot_slope: 0.0, limit: 0 };

/// Where a table lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A sealed memfd that other processes can map.
    Shared,
    /// The heap of this process, for the simulator and tests.
    Heap,
}

/// What one sweep found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SweepResult {
    /// A counter moved since the last sweep.
    pub(super) moved: bool,
    /// An endpoint was newly reported as unreachable.
    pub(super) unreachable: bool,
    /// The sum over all slots, in cost units.
    pub(super) in_flight: u64,
}

#[derive(Debug)]
pub(super) struct Segment {
    name: String,
    memory: Memory,
    last_resort: Option<SocketAddr>,
    writer: TableWriter,
    slots: u32,
    next_slot: u32,
    /// Endpoints that left the table, or all of them once it is superseded, with their slots:
    /// requests may still be in flight there.
    left: HashMap<SocketAddr, (EndpointRef, u32)>,
    attachments: Vec<Sweep>,
    in_flight: Vec<u32>,
    /// Counts by age what the callers of the socket open.
    ages: Option<Arc<Ages>>,
    /// By slot; empty if no endpoint leaves requests without an answer.
    hanging: Vec<Hanging>,
}

impl Segment {
    /// Makes a table with room for `endpoints` and some more, and with at least the capacity
    /// `least`.
    pub(super) fn new(
        name: &str,
        memory: Memory,
        endpoints: usize,
        least: &Capacity,
        last_resort: Option<SocketAddr>,
    ) -> io::Result<Self> {
        let capacity = capacity(endpoints as u32, least);
        let mut writer = match memory {
            Memory::Shared => {
                let writer = TableWriter::create(capacity, name)?;
                writer.table().read_slots_only();
                writer
            }
            Memory::Heap => TableWriter::on_heap(capacity),
        };
        if let Some(address) = last_resort {
            writer.set_last_resort(address);
        }
        Ok(Self {
            name: name.to_owned(),
            memory,
            last_resort,
            writer,
            slots: capacity.slots,
            next_slot: 0,
            left: HashMap::new(),
            attachments: Vec::new(),
            in_flight: Vec::new(),
            ages: None,
            hanging: Vec::new(),
        })
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.writer.table()
    }

    pub(super) fn reader_fd(&self) -> io::Result<OwnedFd> {
        self.writer.reader_fd()
    }

    pub(super) fn writer(&mut self) -> &mut TableWriter {
        &mut self.writer
    }

    pub(super) fn new_counters(&self, shards: u32) -> io::Result<Arc<Counters>> {
        match self.memory {
            Memory::Shared => Counters::create(self.slots, shards, &self.name),
            Memory::Heap => Ok(Counters::on_heap(self.slots, shards)),
        }
    }

    pub(super) fn attach(&mut self, counters: Arc<Counters>) {
        self.attachments.push(Sweep::new(counters, MOST_COST));
    }

    pub(super) fn detach(&mut self, counters: &Arc<Counters>) {
        self.attachments.retain(|sweep| !Arc::ptr_eq(sweep.counters(), counters));
    }

    /// The ages that callers of this table count in.
    pub(super) fn ages(&mut self) -> Arc<Ages> {
        self.ages.get_or_insert_with(|| Arc::new(Ages::new(self.slots))).clone()
    }

    /// Begins another epoch.
    pub(super) fn turn(&mut self) -> Turn {
        let Some(ages) = &self.ages else { return Turn::default() };
        let hanging = &mut self.hanging;
        let turn = ages.turn(|slot, became, answered| {
            if hanging.is_empty() && became > 0 && !answered {
                hanging.resize(self.slots as usize, Hanging::default());
            }
            if let Some(hanging) = hanging.get_mut(slot as usize) {
                hanging.turned(became, answered);
            }
        });
        if hanging.iter().all(|each| *each == Hanging::default()) {
            *hanging = Vec::new();
        }
        turn
    }

    /// What has been open at a slot for longer than the service's requests take, in cost units.
    pub(super) fn standing(&self, slot: u32) -> u32 {
        self.ages.as_ref().map_or(0, |ages| ages.standing(slot))
    }

    /// Whether a slot gets requests and its endpoint gives no answer.
    pub(super) fn hangs(&self, slot: u32) -> bool {
        self.hanging.get(slot as usize).is_some_and(Hanging::is)
    }

    pub(super) fn capacity(&self) -> Capacity {
        self.writer.table().capacity()
    }

    /// The number of slots that no endpoint has had.
    pub(super) fn free(&self) -> usize {
        (self.slots - self.next_slot) as usize
    }

    /// The slot that an endpoint had before it left this table.
    pub(super) fn slot_before(&self, endpoint: &EndpointRef) -> Option<u32> {
        let (left, slot) = self.left.get(&endpoint.address)?;
        left.is_same_as(endpoint).then_some(*slot)
    }

    /// Takes a slot that no endpoint has had. At least one must be [`free`](Self::free).
    pub(super) fn take_slot(&mut self) -> u32 {
        debug_assert!(self.next_slot < self.slots);
        self.next_slot += 1;
        self.next_slot - 1
    }

    /// Closes the slots of those endpoints of `before` that are not in `kept`: a caller's copy of
    /// the structure may still name them.
    pub(super) fn close_all_but(
        &mut self,
        kept: &[Option<usize>],
        before: (&[EndpointRef], &[u32]),
    ) {
        let mut leaving = vec![true; before.0.len()];
        kept.iter().flatten().for_each(|index| leaving[*index] = false);
        for ((endpoint, slot), leaving) in before.0.iter().zip(before.1).zip(leaving) {
            if leaving {
                self.writer.write_cell(*slot, &CLOSED);
                self.left.insert(endpoint.address, (endpoint.clone(), *slot));
            }
        }
    }

    /// Where callers send requests when no agent is left.
    pub(super) fn last_resort(&self) -> Option<SocketAddr> {
        self.last_resort
    }

    /// Marks this table as superseded. It lives on for what is in flight in it.
    pub(super) fn retire(&mut self, endpoints: &[EndpointRef], slots: &[u32]) {
        let held = endpoints.iter().zip(slots);
        self.left
            .extend(held.map(|(endpoint, slot)| (endpoint.address, (endpoint.clone(), *slot))));
        self.writer.supersede();
    }

    pub(super) fn write_structure(&mut self, structure: &Structure) -> Result<u32, StructureError> {
        self.writer.write_structure(structure)
    }

    /// Adds up what is in flight. Detaches a process that erased its counters, and logs that.
    ///
    /// Requests that end during a sweep still count as in flight. So a preempted sweep is repeated.
    pub(super) fn sweep(&mut self) -> SweepResult {
        let start = clock::now();
        let first = self.sweep_once();
        if clock::now().saturating_sub(start) < PREEMPTED {
            return first;
        }
        let second = self.sweep_once();
        SweepResult {
            moved: first.moved || second.moved,
            unreachable: first.unreachable || second.unreachable,
            in_flight: second.in_flight,
        }
    }

    /// Whether a counter moved since the last sweep. Erased counters count as moved.
    pub(super) fn stirred(&self) -> bool {
        self.attachments.iter().any(|sweep| sweep.stirred().unwrap_or(true))
    }

    fn sweep_once(&mut self) -> SweepResult {
        self.in_flight.clear();
        // Slots that no endpoint has had are left out.
        self.in_flight.resize(self.next_slot as usize, 0);
        let mut seen = SweepResult::default();
        let (name, in_flight) = (&self.name, &mut self.in_flight);
        let mut erased = false;
        self.attachments.retain_mut(|sweep| match sweep.in_flight(in_flight) {
            Ok(visit) => {
                seen.moved |= visit.moved;
                seen.unreachable |= visit.unreachable;
                seen.in_flight += visit.in_flight;
                true
            }
            Err(error) => {
                warn!(service = %name, %error, "detached a process");
                erased = true;
                false
            }
        });
        if erased {
            // The part that came from the erased counters can't be subtracted, so the sweep starts
            // again without them.
            return SweepResult { moved: true, ..self.sweep_once() };
        }
        seen
    }

    /// What was in flight at a slot at the last sweep, in cost units.
    pub(super) fn in_flight(&self, slot: u32) -> u32 {
        self.in_flight.get(slot as usize).copied().unwrap_or(0)
    }

    /// What ended since the last call; None if nothing did.
    pub(super) fn differences(&mut self, elapsed: Duration) -> Option<Differences> {
        let mut sums = Differences::new(self.next_slot);
        let elapsed_us = elapsed.as_micros() as u64;
        let mut any = false;
        let name = &self.name;
        self.attachments.retain_mut(|sweep| match sweep.differences(elapsed_us, &mut sums) {
            Ok(moved) => {
                any |= moved;
                true
            }
            Err(error) => {
                warn!(service = %name, %error, "detached a process");
                false
            }
        });
        any.then_some(sums)
    }

    /// Gives back memory that an idle table does not need.
    pub(super) fn release(&mut self) {
        self.in_flight = Vec::new();
    }
}

/// The usual number of slots is half as many again as endpoints, plus 16, since slots are not
/// reused. Touched pages cost memory, so the areas of a bank lie close together. Where `least` asks
/// for more than is usual, it gets an eighth more, plus 16: a table that was outgrown may go on
/// growing.
fn capacity(endpoints: u32, least: &Capacity) -> Capacity {
    /// The number of endpoints that a small service may grow by before its table is superseded.
    const ROOM: u32 = 16;
    /// Plans have groups for the own zone, the region, the other zones, and the brake. The rest is
    /// for new strategies.
    const GROUPS: u32 = 8;
    let with_room = |number: u32| number.saturating_add(number / 8).saturating_add(ROOM);
    let room = with_room(endpoints.max(least.endpoints));
    let usual = Capacity::for_endpoints(room);
    let or_more = |usual: u32, least: u32| if least > usual { with_room(least) } else { usual };
    Capacity {
        groups: or_more(GROUPS, least.groups),
        rows: or_more(room, least.rows),
        ring: or_more(usual.ring, least.ring),
        slots: or_more(endpoints + endpoints / 2 + ROOM, least.slots),
        endpoints: usual.endpoints,
        text: or_more(usual.text, least.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Capacity =
        Capacity { groups: 0, rows: 0, ring: 0, slots: 0, endpoints: 0, text: 0 };

    #[test]
    fn a_table_has_slots_for_half_as_many_more_endpoints_and_sixteen() {
        let usual = capacity(100, &NONE);
        assert_eq!((usual.slots, usual.rows, usual.groups), (166, 128, 8));
        assert_eq!(usual.endpoints, Capacity::for_endpoints(128).endpoints);
    }

    #[test]
    fn where_more_than_usual_is_asked_for_there_is_an_eighth_more_and_sixteen() {
        let usual = capacity(100, &NONE);
        let least = Capacity { groups: 8, rows: 136, slots: 200, text: usual.text + 8, ..NONE };
        let larger = capacity(100, &least);
        assert_eq!((larger.groups, larger.rows, larger.slots), (8, 136 + 17 + 16, 200 + 25 + 16));
        assert!(larger.text >= least.text + least.text / 8 + 16 && larger.ring == usual.ring);
        let grown = capacity(100, &Capacity { endpoints: 400, ..NONE });
        assert_eq!((grown.rows, grown.slots), (400 + 50 + 16, 166));
    }
}
