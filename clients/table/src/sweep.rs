//! The agent's end of a process's counters: adding them up.
//!
//! Two costs. What is in flight is wanted at each publication, so it reads one page per 252 slots
//! and shard, and nothing at all of a process that did nothing since. Everything else is wanted by
//! the planner ten times a second.
//!
//! Nothing here trusts the client: sizes are the agent's own, a shard of zeroes that were not
//! zeroes is a punched hole, and what a process has in flight is never below 0 nor above a cap.

use std::sync::Arc;

use crate::{
    atomic::{Acquire, Relaxed, fence},
    counters::{
        ACTIVITY, BAD, BUCKETS, CANARY_AT, CANCELLED, Counters, ENDED, EPS, EXPIRED, EXTRA,
        EXTRA_ENDED, EXTRA_STARTED, FAILED, FLOW, Field, HISTOGRAM, JUDGING, LATENCY_SUM, LOST,
        MAX_SHARDS, PAGE, QPS, REFUSED, REJECTED, REPORTED_IN_FLIGHT, REPORTS_TOTAL, RETRIED, RUN,
        SEQUENCE_A, SEQUENCE_B, STARTED, TIMED, TIMES, UNREACHABLE, UNREACHABLE_TOTAL, USED,
        UTILIZATION,
    },
    layout::LINE,
    run::Run,
    shard::ServerLoad,
};

/// After a longer gap a latency sum may have gone once around: 4,295 s of latency, which 4,295
/// requests at a time add in a second.
const LATENCY_GAP_US: u64 = 1_000_000;

/// The client punched a hole into its counters: nothing in them means anything any more. The
/// process is to be disconnected, and named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counters of shard {shard} were erased by their own process")]
pub struct Punched {
    /// The shard; also where page 0 is gone, which belongs to all.
    pub shard: u32,
}

/// What an `in_flight` pass saw of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// In flight at all slots, in units of cost.
    pub in_flight: u64,
    /// Whether the process counted anything since the last visit.
    pub moved: bool,
    /// Whether an endpoint was unreachable since the last visit: time for `differences`.
    pub unreachable: bool,
}

/// What ended since the last visits, summed over processes: one entry for each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Requests that ended, however they did.
    pub ended: Vec<u32>,
    /// Of them those that the server failed.
    pub failed: Vec<u32>,
    /// Of them those that found no connection.
    pub unreachable: Vec<u32>,
    /// Of them those that the server had no room for.
    pub rejected: Vec<u32>,
    /// Of them those whose deadline passed.
    pub expired: Vec<u32>,
    /// Of them those that say nothing of the endpoint: the caller gave up, or never said.
    pub cancelled: Vec<u32>,
    /// Milliseconds that failed and expired requests took, each at most 10 s.
    pub lost_ms: Vec<u32>,
    /// Of them those in `latency_us`.
    pub timed: Vec<u32>,
    /// The sum of their latencies, in microseconds, each at most 10 s.
    pub latency_us: Vec<u64>,
    /// Latencies by [`bucket`](crate::counters::bucket), over all slots.
    pub histogram: Vec<u64>,
    /// Retries, over all slots.
    pub retried: u64,
}

impl Differences {
    /// Nothing, for tables of this many slots.
    pub fn new(slots: u32) -> Self {
        let none = || vec![0; slots as usize];
        Self {
            ended: none(),
            failed: none(),
            unreachable: none(),
            rejected: none(),
            expired: none(),
            cancelled: none(),
            lost_ms: none(),
            timed: none(),
            latency_us: vec![0; slots as usize],
            histogram: vec![0; BUCKETS],
            retried: 0,
        }
    }
}

/// The fields of `differences`, in the order of `Sweep::seen`.
const COUNTED: [Field; 9] =
    [FAILED, UNREACHABLE, REJECTED, EXPIRED, CANCELLED, LOST, TIMED, LATENCY_SUM, ENDED];

/// The agent's memory of one process's counters.
#[derive(Debug)]
pub struct Sweep {
    counters: Arc<Counters>,
    cap: i32,
    /// The activity word of each shard at the last `in_flight`; 0: unused so far.
    activity: [u32; MAX_SHARDS as usize],
    unreachable: u32,
    /// Of each slot, from the last `in_flight`.
    in_flight: Vec<u32>,
    total: u64,
    /// The activity words at the last `differences`.
    differed: [u32; MAX_SHARDS as usize],
    /// The sums over shards at the last `differences`, a row of slots for each of `COUNTED`.
    /// Empty until there is something to remember.
    seen: Vec<u32>,
    histogram: [u32; BUCKETS],
    retried: u32,
    reports: [u32; MAX_SHARDS as usize],
    /// The sequence of the last report of each slot and shard, once there was one.
    sequences: Vec<u32>,
}

impl Sweep {
    /// Begins with what the process has counted so far taken as seen only if it is nothing: to be
    /// made before the process counts. `cap`: the most that it may have in flight at a slot, in
    /// units of cost and at most 2^23; what it claims beyond is not believed.
    pub fn new(counters: Arc<Counters>, cap: u32) -> Self {
        let slots = counters.slots() as usize;
        Self {
            counters,
            cap: cap.min(1 << 23).cast_signed(),
            activity: [0; MAX_SHARDS as usize],
            unreachable: 0,
            in_flight: vec![0; slots],
            total: 0,
            differed: [0; MAX_SHARDS as usize],
            seen: Vec::new(),
            histogram: [0; BUCKETS],
            retried: 0,
            reports: [0; MAX_SHARDS as usize],
            sequences: Vec::new(),
        }
    }

    /// The counters that it adds up.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What the process had in flight at a slot at the last `in_flight`, in units of cost.
    pub fn at_slot(&self, slot: u32) -> u32 {
        self.in_flight.get(slot as usize).copied().unwrap_or(0)
    }

    /// Adds what the process has in flight at each slot to `sums`, in units of cost. A process
    /// that counted nothing since the last visit is not read again, and slots beyond `sums` (that
    /// no endpoint has had yet) never are.
    ///
    /// Ends are read before starts, so what ends in between seems to be in flight still. That is
    /// nothing in the microseconds that a visit takes, and much where the agent lost its processor
    /// in the middle: a caller whose clock says so does better to visit again than to publish.
    ///
    /// # Errors
    /// [`Punched`]; nothing of the process is to be believed, `sums` included.
    pub fn in_flight(&mut self, sums: &mut [u32]) -> Result<Visit, Punched> {
        let slots = sums.len().min(self.in_flight.len());
        let sums = &mut sums[..slots];
        let activity = self.activity_now()?;
        let moved = activity != self.activity;
        let mut unreachable = false;
        if moved {
            self.activity = activity;
            let now = self.sum_block(UNREACHABLE_TOTAL);
            unreachable = now != self.unreachable;
            self.unreachable = now;
            self.total = self.visit(sums)?;
        } else if self.total > 0 {
            for (sum, own) in sums.iter_mut().zip(&self.in_flight) {
                *sum = sum.wrapping_add(*own);
            }
        }
        Ok(Visit { in_flight: self.total, moved, unreachable })
    }

    /// Whether the process counted anything since the last [`in_flight`](Self::in_flight), which finds
    /// it then. Reads a word of each shard, and none of the counters.
    ///
    /// # Errors
    /// [`Punched`]; nothing of the process is to be believed.
    pub fn stirred(&self) -> Result<bool, Punched> {
        Ok(self.activity_now()? != self.activity)
    }

    /// Adds what ended since the last call to `sums`. `elapsed_us`: since that call; after more
    /// than a second the latencies of it are left out, since their sum may have wrapped. Slots
    /// beyond those of `sums` are not read. Gives back whether there was anything.
    ///
    /// # Errors
    /// [`Punched`]; nothing of the process is to be believed, `sums` included.
    pub fn differences(
        &mut self,
        elapsed_us: u64,
        sums: &mut Differences,
    ) -> Result<bool, Punched> {
        let activity = self.activity_now()?;
        if activity == self.differed {
            return Ok(false);
        }
        self.differed = activity;
        let latency_is_whole = elapsed_us <= LATENCY_GAP_US;

        let retried = self.sum_block(RETRIED);
        sums.retried += u64::from(retried.wrapping_sub(self.retried));
        self.retried = retried;
        for bucket in 0..BUCKETS {
            let count = self.sum_block(HISTOGRAM + bucket);
            let seen = std::mem::replace(&mut self.histogram[bucket], count);
            sums.histogram[bucket] += u64::from(count.wrapping_sub(seen));
        }

        let slots = self.counters.slots() as usize;
        self.seen.resize(COUNTED.len() * slots, 0);
        let mut counts = Run::new();
        let wanted = sums.ended.len().min(slots);
        for page in 0..wanted.div_ceil(RUN) {
            let (first, count) = slots_of(page, wanted);
            self.check_canaries(&[FLOW, TIMES, BAD, REFUSED, JUDGING], page)?;
            for (index, field) in COUNTED.into_iter().enumerate() {
                counts.clear(count);
                self.add_shards(field, page, count, &mut counts);
                let seen = &mut self.seen[index * slots + first..][..count];
                let counts = counts.first(count);
                let mut into = |of: &mut [u32]| difference(counts, seen, &mut of[first..][..count]);
                match field {
                    FAILED => into(&mut sums.failed),
                    UNREACHABLE => into(&mut sums.unreachable),
                    REJECTED => into(&mut sums.rejected),
                    EXPIRED => into(&mut sums.expired),
                    CANCELLED => into(&mut sums.cancelled),
                    LOST => into(&mut sums.lost_ms),
                    ENDED => into(&mut sums.ended),
                    TIMED if latency_is_whole => into(&mut sums.timed),
                    LATENCY_SUM if latency_is_whole => {
                        let of = &mut sums.latency_us[first..][..count];
                        for ((sum, now), seen) in of.iter_mut().zip(counts).zip(seen) {
                            *sum += u64::from(now.wrapping_sub(*seen));
                            *seen = *now;
                        }
                    }
                    _ => seen.copy_from_slice(counts),
                }
            }
        }
        Ok(true)
    }

    /// Hands over the reports of servers that came since the last call, by slot. Of one slot there
    /// may be one from each shard. What no server can mean (not finite, or negative) is left out.
    pub fn reports(&mut self, mut take: impl FnMut(u32, ServerLoad)) {
        let counters = &*self.counters;
        let slots = counters.slots();
        for shard in 0..counters.shards() {
            let total = self.block(shard, REPORTS_TOTAL, Acquire);
            if total == self.reports[shard as usize] {
                continue;
            }
            self.reports[shard as usize] = total;
            self.sequences.resize((counters.shards() * slots) as usize, 0);
            for slot in 0..slots {
                let seen = &mut self.sequences[(shard * slots + slot) as usize];
                let value = |field, order| counters.value(shard, field, slot, order);
                let sequence = value(SEQUENCE_B, Acquire);
                // 0: never written, or erased.
                if sequence == *seen || sequence == 0 {
                    continue;
                }
                let load = ServerLoad {
                    utilization: f32::from_bits(value(UTILIZATION, Relaxed)),
                    in_flight: value(REPORTED_IN_FLIGHT, Relaxed),
                    qps: f32::from_bits(value(QPS, Relaxed)),
                    eps: f32::from_bits(value(EPS, Relaxed)),
                };
                fence(Acquire);
                if value(SEQUENCE_A, Relaxed) != sequence {
                    // It is being written: the total goes up once it is there.
                    continue;
                }
                *seen = sequence;
                let numbers = [load.utilization, load.qps, load.eps];
                if numbers.iter().all(|number| number.is_finite() && *number >= 0.0) {
                    take(slot, load);
                }
            }
        }
    }

    /// The activity words: what they were when the counters were at least as they are read next.
    fn activity_now(&self) -> Result<[u32; MAX_SHARDS as usize], Punched> {
        if self.counters.words().at(CANARY_AT).load(Relaxed) == 0 {
            return Err(Punched { shard: 0 });
        }
        let mut now = [0; MAX_SHARDS as usize];
        for shard in 0..self.counters.shards() {
            let word = self.block(shard, ACTIVITY, Acquire);
            if word == 0 && self.is_active(shard) {
                return Err(Punched { shard });
            }
            now[shard as usize] = word;
        }
        Ok(now)
    }

    fn visit(&mut self, sums: &mut [u32]) -> Result<u64, Punched> {
        let mut total = 0;
        let (mut ended, mut started) = (Run::new(), Run::new());
        for page in 0..sums.len().div_ceil(RUN) {
            let (first, count) = slots_of(page, sums.len());
            self.check_canaries(&[FLOW, EXTRA], page)?;
            // Every shard's ends before any shard's starts: a request may start in one and end in
            // another, and an end that is seen has a start that is seen.
            self.sum_flow(ENDED, EXTRA_ENDED, page, count, &mut ended);
            fence(Acquire);
            self.sum_flow(STARTED, EXTRA_STARTED, page, count, &mut started);
            let sums = &mut sums[first..][..count];
            let own = &mut self.in_flight[first..][..count];
            let flow = started.first(count).iter().zip(ended.first(count));
            // Below the cap of 2^23 a page's sum fits.
            let mut open_in_page = 0_u32;
            for ((sum, own), (started, ended)) in sums.iter_mut().zip(own).zip(flow) {
                let open = started.wrapping_sub(*ended).cast_signed();
                let open = open.max(0).min(self.cap).cast_unsigned();
                *own = open;
                *sum = sum.wrapping_add(open);
                open_in_page = open_in_page.wrapping_add(open);
            }
            total += u64::from(open_in_page);
        }
        Ok(total)
    }

    /// Sums a field of the flow and its extra over the shards.
    fn sum_flow(&self, field: Field, extra: Field, page: usize, count: usize, into: &mut Run) {
        into.clear(count);
        self.add_shards(field, page, count, into);
        self.add_shards(extra, page, count, into);
    }

    fn add_shards(&self, field: Field, page: usize, count: usize, into: &mut Run) {
        for shard in self.using(field.kind) {
            let page = self.counters.kind_at(shard, field.kind) + page * PAGE;
            into.add(self.counters.words(), page + LINE + field.run * RUN, count);
        }
    }

    fn check_canaries(&self, kinds: &[usize], page: usize) -> Result<(), Punched> {
        for &kind in kinds {
            for shard in self.using(kind) {
                let at = self.counters.kind_at(shard, kind) + page * PAGE + CANARY_AT;
                if self.counters.words().at(at).load(Relaxed) == 0 {
                    return Err(Punched { shard });
                }
            }
        }
        Ok(())
    }

    /// The shards that use a kind of pages, as far as can be seen now. None begins to between a
    /// check of the canaries and a sum but one whose canaries were set before.
    fn using(&self, kind: usize) -> impl Iterator<Item = u32> {
        self.active().filter(move |&shard| self.block(shard, USED, Acquire) & (1 << kind) != 0)
    }

    /// The shards that were ever active.
    fn active(&self) -> impl Iterator<Item = u32> {
        (0..self.counters.shards()).filter(|&shard| self.is_active(shard))
    }

    fn is_active(&self, shard: u32) -> bool {
        self.activity[shard as usize] | self.differed[shard as usize] != 0
    }

    fn block(&self, shard: u32, word: usize, order: std::sync::atomic::Ordering) -> u32 {
        self.counters.words().at(self.counters.block_at(shard) + word).load(order)
    }

    fn sum_block(&self, word: usize) -> u32 {
        self.active().fold(0, |sum, shard| sum.wrapping_add(self.block(shard, word, Relaxed)))
    }
}

/// The first slot of a page, and how many of the first `slots` it has.
fn slots_of(page: usize, slots: usize) -> (usize, usize) {
    let first = page * RUN;
    (first, RUN.min(slots - first))
}

#[inline]
fn difference(counts: &[u32], seen: &mut [u32], into: &mut [u32]) {
    for ((sum, now), seen) in into.iter_mut().zip(counts).zip(seen) {
        *sum = sum.wrapping_add(now.wrapping_sub(*seen));
        *seen = *now;
    }
}
