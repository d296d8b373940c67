//! The publishing cycle of one service: it adds up counters, computes scores, writes them, and
//! plans when it is time.
//!
//! It takes `now` as an argument and owns all it writes. So the simulator runs it on virtual time,
//! and the publishing thread on the clock.

use std::{collections::HashMap, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use pointsman_table::{
    Capacity, Counters, Differences, StructureError, Table, counters::bucket_start_us,
};
use tracing::{debug, error};

use super::{
    cell::cell,
    period,
    rest::Rest,
    retry::Retries,
    segment::Memory,
    segments::Segments,
    standing_load::{InFlight, StandingLoad},
    structure::{Fingerprint, fingerprint, structure},
    usual_time::UsualTime,
};
use crate::{
    catalog::{EndpointRef, Locality},
    load::{Ages, Counts, EndpointLoad, Looks, ServiceLoad},
    plan::{self, Inputs, Plan, strategy},
    policy::Policy,
};

/// The time between two plans while something moves.
pub const PLAN_EVERY: Duration = Duration::from_millis(100);
/// At most one plan per so many passes, or plans alone would double the age of the counts: with 200
/// busy processes and 1,000 slots a pass takes 145 us, and one with a plan 1.9 ms.
const PASSES_A_PLAN: u32 = 10;
/// A client that picks and sees no publication for this many periods, or for [`DETACH_AFTER`] if
/// that is longer, goes on without the agent.
const DETACH_PERIODS: u32 = 20;
const DETACH_AFTER: Duration = Duration::from_millis(100);

/// The input of [`ServicePublisher::new`].
pub struct Setup {
    /// The name in logs and of the memfd.
    pub name: String,
    pub policy: Arc<Policy>,
    pub locality: Locality,
    pub memory: Memory,
    /// The endpoints, in the order of the source.
    pub endpoints: Vec<EndpointRef>,
    /// The port of the service at its virtual IP, if requests of this table may go there.
    pub virtual_port: Option<u16>,
    /// The monotonic time.
    pub now: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// What is in flight on this node, in cost units.
    pub in_flight: u64,
    /// A counter moved since the last pass.
    pub moved: bool,
    /// Braked endpoints to which a connection failed: the catalog removes them.
    pub lost: Vec<SocketAddr>,
    /// A larger table superseded the one before. Callers have to [attach](ServicePublisher::attach)
    /// to it.
    pub superseded: bool,
}

#[derive(Debug)]
pub struct ServicePublisher {
    name: String,
    policy: Arc<Policy>,
    virtual_port: Option<u16>,
    locality: Locality,
    endpoints: Vec<EndpointRef>,
    loads: Vec<EndpointLoad>,
    /// In the order of `endpoints`.
    slots: Vec<u32>,
    service: ServiceLoad,
    /// The median of `service`, which picks read.
    usual_time: UsualTime,
    retries: Retries,
    plan: Arc<Plan>,
    /// The fingerprint of the structure in the table.
    written: Option<Fingerprint>,
    /// The structure may differ from the one in the table.
    unwritten: bool,
    /// What each endpoint's cell was last made from; None: the cell has to be written.
    scored: Vec<Option<InFlight>>,
    segments: Segments,
    standing: StandingLoad,
    shrink: f64,
    period: Duration,
    planned_at: Duration,
    differed_at: Duration,
    /// What was in flight at the passes since the last plan.
    looks: Looks,
    rest: Rest,
    in_flight: u64,
    /// Another process got the table.
    known_to_others: bool,
}

impl ServicePublisher {
    /// Makes the publisher, and writes the first generation.
    ///
    /// # Errors
    /// The system gives no shared memory.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let last_resort = last_resort(&setup.policy, setup.virtual_port);
        let segments =
            Segments::new(&setup.name, setup.memory, setup.endpoints.len(), last_resort)?;
        let mut publisher = Self {
            name: setup.name,
            policy: setup.policy,
            virtual_port: setup.virtual_port,
            locality: setup.locality,
            loads: Vec::new(),
            endpoints: Vec::new(),
            slots: Vec::new(),
            service: ServiceLoad::default(),
            usual_time: UsualTime::default(),
            retries: Retries::default(),
            plan: Arc::default(),
            written: None,
            unwritten: true,
            scored: Vec::new(),
            segments,
            standing: StandingLoad::new(setup.now),
            shrink: 1.0,
            period: period::SHORTEST,
            planned_at: setup.now,
            differed_at: setup.now,
            looks: Looks::default(),
            rest: Rest::new(setup.now),
            in_flight: 0,
            known_to_others: false,
        };
        let policy = publisher.policy.clone();
        publisher.update(setup.endpoints, policy, setup.now)?;
        Ok(publisher)
    }

    /// Takes over an earlier agent's judgements on these endpoints.
    pub fn remember(&mut self, standings: &HashMap<SocketAddr, plan::OutlierState>, now: Duration) {
        for planned in &mut Arc::make_mut(&mut self.plan).endpoints {
            if let Some(standing) = standings.get(&planned.endpoint.address) {
                planned.set_outlier_state(*standing);
            }
        }
        self.decide(now);
        self.publish(now, self.period);
    }

    /// The table that callers read. There is another one after an [`update`](Self::update) or a
    /// [`pass`](Self::pass) that superseded it.
    pub fn table(&self) -> Arc<Table> {
        self.segments.table()
    }

    /// The table for another process, which can only read it.
    ///
    /// # Errors
    /// Errors of the system; `Unsupported` on the heap.
    pub fn table_fd(&mut self) -> io::Result<OwnedFd> {
        self.known_to_others = true;
        self.segments.reader_fd()
    }

    /// Whether threads of other processes may count here.
    pub fn is_known_to_others(&self) -> bool {
        self.known_to_others
    }

    /// Attaches the counters of one process: they count from now on.
    pub fn attach(&mut self, counters: Arc<Counters>) {
        self.segments.attach(counters);
    }

    /// The ages that callers count in for the table in force, beside counters that they have
    /// [attached](Self::attach).
    pub fn ages(&mut self) -> Arc<Ages> {
        self.segments.ages()
    }

    /// Drops the counters of a process that is gone, and what it had in flight.
    pub fn detach(&mut self, counters: &Arc<Counters>) {
        self.segments.detach(counters);
    }

    /// The service time in microseconds: the median of recent requests, 0 before any was timed.
    pub fn usual_time(&self) -> UsualTime {
        self.usual_time.clone()
    }

    /// The period that this service wants between two passes.
    pub fn wanted_period(&self) -> Duration {
        period::wanted(self.service.service_time.median())
    }

    /// Takes over new endpoints or settings. Keeps what was learnt of endpoints that stay. Returns
    /// whether the table was superseded.
    ///
    /// # Errors
    /// The system gives no shared memory for a larger table; nothing has changed then.
    pub fn update(
        &mut self,
        endpoints: Vec<EndpointRef>,
        policy: Arc<Policy>,
        now: Duration,
    ) -> io::Result<bool> {
        // Callers may get another table, which does not ask for wake-ups.
        self.get_up();
        let before: HashMap<SocketAddr, usize> =
            (0..).zip(&self.endpoints).map(|(index, e)| (e.address, index)).collect();
        let kept: Vec<Option<usize>> = (endpoints.iter())
            .map(|endpoint| {
                let index = *before.get(&endpoint.address)?;
                self.endpoints[index].is_same_as(endpoint).then_some(index)
            })
            .collect();
        let last_resort = last_resort(&policy, self.virtual_port);
        let mut superseded = self.give_slots(&endpoints, &kept, last_resort)?;
        let mut loads = std::mem::take(&mut self.loads);
        let load = |kept: Option<usize>| kept.map(|index| std::mem::take(&mut loads[index]));
        self.loads = kept.into_iter().map(load).map(Option::unwrap_or_default).collect();
        self.endpoints = endpoints;
        self.policy = policy;
        self.decide(now);
        superseded |= self.publish(now, self.period);
        Ok(superseded)
    }

    /// Sets the locality of this agent. The next [`Self::update`] plans with it.
    pub fn locate(&mut self, locality: Locality) {
        self.locality = locality;
    }

    pub fn locality(&self) -> &Locality {
        &self.locality
    }

    /// Publishes once: adds up the counters, plans if it is time, and writes load.
    pub fn pass(&mut self, now: Duration, period: Duration) -> Pass {
        let seen = self.segments.sweep();
        let aged = self.standing.next_turn(self.in_flight).is_some_and(|at| at <= now);
        if self.standing.turn(&mut self.segments, &mut self.service, now) {
            self.standing.hold_against(&self.segments, &self.plan, &self.slots);
        }
        self.looks.add(self.standing.active(seen.in_flight));
        self.in_flight = seen.in_flight;
        let due = now.saturating_sub(self.planned_at) >= PLAN_EVERY.max(period * PASSES_A_PLAN);
        let due = self.rest.note(seen.moved, now) || aged || due && !self.rest.is_idle();
        let mut lost = Vec::new();
        if seen.unreachable || due || self.time_is_up(now) {
            lost = self.observe(now);
            self.decide(now);
        }
        let superseded = self.publish(now, period);
        Pass { in_flight: seen.in_flight, moved: seen.moved, lost, superseded }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The slots, in the order of the plan's endpoints.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The loads, in the order of the plan's endpoints.
    pub fn loads(&self) -> &[EndpointLoad] {
        &self.loads
    }

    /// The time between the last two publications.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The number of retries that callers may still make.
    pub fn retries_left(&self, now: Duration) -> f64 {
        self.retries.left(&self.policy.retry, &self.service.ring, now)
    }

    /// Counters for one more process, for [`attach`](Self::attach).
    ///
    /// # Errors
    /// The system gives no shared memory.
    pub fn new_counters(&self, shards: u32) -> io::Result<Arc<Counters>> {
        self.segments.new_counters(shards)
    }

    /// When time alone changes the plan or the load that scores count.
    pub fn next_change(&self) -> Option<Duration> {
        let turn = self.standing.next_turn(self.in_flight);
        self.plan.next_change.into_iter().chain(turn).min()
    }

    fn time_is_up(&self, now: Duration) -> bool {
        self.plan.next_change.is_some_and(|at| at <= now)
    }

    /// Whether nothing has moved for long enough to sleep.
    pub fn is_idle(&self) -> bool {
        self.rest.is_idle()
    }

    pub fn is_asleep(&self) -> bool {
        self.rest.is_asleep()
    }

    /// Whether nothing is in flight, and no counter has moved since the last pass.
    pub fn is_quiet(&self) -> bool {
        self.in_flight == 0 && !self.stirred()
    }

    /// Whether the table sleeps, and [`is_quiet`](Self::is_quiet).
    pub fn is_unused(&self) -> bool {
        self.is_asleep() && self.is_quiet()
    }

    /// When a pass last saw a counter move.
    pub fn moved_at(&self) -> Duration {
        self.rest.moved_at()
    }

    /// Asks callers for a wake-up with whatever they count next. After this the thread needs a
    /// barrier over their threads, and then [`stirred`](Self::stirred): a caller may have counted
    /// before it saw that the table sleeps.
    pub fn lie_down(&mut self) {
        self.rest.lie_down();
        self.segments.set_asleep(true);
        if self.in_flight == 0 {
            self.segments.release();
        }
    }

    /// Stops asking callers for wake-ups.
    pub fn get_up(&mut self) {
        if self.is_asleep() {
            self.segments.set_asleep(false);
        }
        self.rest.get_up();
    }

    /// Whether a counter moved since the last pass.
    pub fn stirred(&self) -> bool {
        self.segments.stirred()
    }

    /// Gives a slot to every endpoint. Returns whether the table was superseded. `kept` has the
    /// index so far of each endpoint that stays.
    fn give_slots(
        &mut self,
        endpoints: &[EndpointRef],
        kept: &[Option<usize>],
        last_resort: Option<SocketAddr>,
    ) -> io::Result<bool> {
        let before = (&self.endpoints[..], &self.slots[..]);
        let (slots, superseded) = self.segments.give_slots(endpoints, before, kept, last_resort)?;
        self.take_slots(slots);
        if superseded {
            // The new table is empty.
            self.written = None;
        }
        Ok(superseded)
    }

    fn take_slots(&mut self, slots: Vec<u32>) {
        self.slots = slots;
        self.scored = vec![None; self.slots.len()];
        self.unwritten = true;
    }

    /// Takes in what ended since the last time. Returns the braked endpoints to which a connection
    /// failed.
    fn observe(&mut self, now: Duration) -> Vec<SocketAddr> {
        let elapsed = now.saturating_sub(self.differed_at);
        // Latency sums can't have wrapped while the table slept.
        let counted_in = self.rest.counted_since(self.differed_at, now);
        self.differed_at = now;
        let mut ended = vec![Counts::default(); self.endpoints.len()];
        self.segments.differences(counted_in, &self.endpoints, &self.slots, |new, slots| {
            add(new, slots, &mut ended);
            self.service.service_time.observe(&new.histogram, |b| bucket_start_us(b + 1));
            self.retries.observe(now, new.retried as u32);
        });
        if let Some(median) = self.service.service_time.median() {
            self.usual_time.set(median);
        }
        self.take_in(now, elapsed, &ended);
        (ended.iter().zip(&self.endpoints))
            .filter(|(new, endpoint)| new.unreachable > 0 && endpoint.braked)
            .map(|(_, endpoint)| endpoint.address)
            .collect()
    }

    fn take_in(&mut self, now: Duration, elapsed: Duration, ended: &[Counts]) {
        let mut all = Counts::default();
        let mut nearest = (0, Counts::default());
        for ((new, load), planned) in ended.iter().zip(&mut self.loads).zip(&self.plan.endpoints) {
            load.observe(now, new);
            all = all.plus(new);
            if planned.group == Some(0) {
                nearest = (nearest.0 + 1, nearest.1.plus(new));
            }
        }
        self.service.ring.add(now, &all);
        let (endpoints, new) = nearest;
        self.service.busy.observe(elapsed, endpoints, new.ended, new.timed, new.latency_us);
        self.service.concurrency.observe(std::mem::take(&mut self.looks), elapsed);
    }

    fn decide(&mut self, now: Duration) {
        self.planned_at = now;
        let loads: Vec<&EndpointLoad> = self.loads.iter().collect();
        let inputs = Inputs {
            policy: &self.policy,
            locality: &self.locality,
            endpoints: &self.endpoints,
            loads: &loads,
            service: &self.service,
            now,
        };
        let previous = (self.plan.version > 0).then_some(&*self.plan);
        let next = plan::plan(&inputs, previous);
        if next.version != self.plan.version {
            debug!(service = %self.name, plan = next.version, "planned");
            self.scored.fill(None);
            self.unwritten = true;
        }
        self.plan = Arc::new(next);
        self.standing.hold_against(&self.segments, &self.plan, &self.slots);
    }

    /// Writes the structure if it changed, then load in one short pass. Returns whether a larger
    /// table superseded this one.
    fn publish(&mut self, now: Duration, period: Duration) -> bool {
        let shrink = period::shrink(self.service.service_time.median(), period, self.shrink);
        if shrink != self.shrink || self.written.is_none() {
            self.shrink = shrink;
            self.scored.fill(None);
            self.unwritten = true;
        }
        if period != self.period || self.written.is_none() {
            self.write_period(period);
        }
        let superseded = if std::mem::take(&mut self.unwritten) {
            self.write_all()
        } else {
            self.write_changed();
            false
        };
        let left = self.retries_left(now);
        let writer = self.segments.writer();
        writer.set_retry_budget((left * 1000.0) as u32);
        writer.publish();
        superseded
    }

    fn write_period(&mut self, period: Duration) {
        self.period = period;
        let detach_after = DETACH_AFTER.max(period * DETACH_PERIODS);
        let writer = self.segments.writer();
        writer.set_period_us(period.as_micros() as u32);
        writer.set_detach_after_us(detach_after.as_micros() as u32);
    }

    /// Writes the cells of new slots before the generation that names them. If the structure does
    /// not fit, a larger table supersedes this one. Returns whether that happened.
    fn write_all(&mut self) -> bool {
        let mut superseded = false;
        loop {
            self.write_changed();
            let structure = structure(&self.plan, &self.slots, self.shrink);
            let fingerprint = fingerprint(&structure);
            if self.written == Some(fingerprint) && !superseded {
                return false;
            }
            match self.segments.write_structure(&structure) {
                Ok(_) => {
                    self.written = Some(fingerprint);
                    return superseded;
                }
                Err(StructureError::CapacityExceeded(_)) => {
                    let least = Capacity::of(&structure);
                    let before = (&self.endpoints[..], &self.slots[..]);
                    match self.segments.supersede(&least, self.endpoints.len(), before) {
                        Ok(slots) => self.take_slots(slots),
                        Err(error) => {
                            // The next publication tries again.
                            self.unwritten = true;
                            if self.written.take().is_some() {
                                error!(service = %self.name, %error, "no memory for a larger table");
                            }
                            return superseded;
                        }
                    }
                    self.write_period(self.period);
                    superseded = true;
                }
                Err(StructureError::Malformed(error)) => {
                    // A property test holds that `structure` makes nothing malformed.
                    error!(
                        service = %self.name,
                        %error,
                        "no table can hold the plan: this is a bug"
                    );
                    return superseded;
                }
            }
        }
    }

    fn write_changed(&mut self) {
        let strategy = strategy::of(self.policy.strategy);
        for (index, planned) in self.plan.endpoints.iter().enumerate() {
            let slot = self.slots[index];
            let in_flight = self.standing.in_flight(&self.segments, index, slot, &planned.endpoint);
            if self.scored[index] == Some(in_flight) {
                continue;
            }
            self.scored[index] = Some(in_flight);
            self.loads[index].in_flight = in_flight.all;
            self.loads[index].standing = in_flight.standing;
            let cell = cell(strategy, planned, in_flight, self.shrink);
            self.segments.writer().write_cell(slot, &cell);
        }
    }
}

/// Where callers send requests when no agent is left: to the virtual IP, if the policy has one.
fn last_resort(policy: &Policy, virtual_port: Option<u16>) -> Option<SocketAddr> {
    policy.virtual_ip.zip(virtual_port).map(SocketAddr::from)
}

fn add(new: &Differences, slots: &[(usize, u32)], ended: &mut [Counts]) {
    for (index, slot) in slots {
        let slot = *slot as usize;
        ended[*index] = ended[*index].plus(&Counts {
            ended: new.ended[slot],
            failed: new.failed[slot] + new.unreachable[slot] + new.expired[slot],
            unreachable: new.unreachable[slot],
            rejected: new.rejected[slot],
            timed: new.timed[slot],
            cancelled: new.cancelled[slot],
            lost_ms: new.lost_ms[slot],
            latency_us: new.latency_us[slot],
        });
    }
}
