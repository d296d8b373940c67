//! Sums the counters of a process. Only the agent does this.
//!
//! The agent needs what is in flight at each publication. That reads one page per 504 slots and
//! shard, and nothing of a process that counted nothing since the last visit. The planner needs
//! everything else, ten times a second.
//!
//! Nothing here trusts the client. Sizes are the agent's own. A shard that has become all zeroes is a
//! punched hole. What a process has in flight is clamped between 0 and a cap.

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
    page_sums::PageSums,
    shard::ServerLoad,
};

/// After a longer gap a latency sum may have wrapped. It wraps at 4,295 s of latency, which 4,295
/// concurrent requests add in a second.
const LATENCY_GAP_US: u64 = 1_000_000;

/// The client punched a hole into its counters, so none of them is valid. The agent should disconnect
/// the process and log its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counters of shard {shard} were erased by their own process")]
pub struct Punched {
    /// The shard. 0 also if page 0 is gone, which belongs to all shards.
    pub shard: u32,
}

/// What a call of `in_flight` found for a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// In flight at all slots, in units of cost.
    pub in_flight: u64,
    /// Whether the process counted anything since the last visit.
    pub moved: bool,
    /// Whether an endpoint was unreachable since the last visit. Then call `differences` at once.
    pub unreachable: bool,
}

/// What ended since the last calls, summed over processes, with one entry for each slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Requests that ended, with any outcome.
    pub ended: Vec<u32>,
    /// Those that the server answered with a failure.
    pub failed: Vec<u32>,
    /// Those that got no connection.
    pub unreachable: Vec<u32>,
    /// Those that the server rejected because it was full.
    pub rejected: Vec<u32>,
    /// Those whose deadline passed.
    pub expired: Vec<u32>,
    /// Those that say nothing about the endpoint: the caller gave up, or never reported.
    pub cancelled: Vec<u32>,
    /// Milliseconds that failed and expired requests took, each at most 10 s.
    pub lost_ms: Vec<u32>,
    /// Those whose latency is in `latency_us`.
    pub timed: Vec<u32>,
    /// The sum of their latencies, in microseconds, each at most 10 s.
    pub latency_us: Vec<u64>,
    /// Latencies by [`bucket`](crate::counters::bucket), over all slots.
    pub histogram: Vec<u64>,
    /// Retries, over all slots.
    pub retried: u64,
}

impl Differences {
    /// All zero, for tables of this many slots.
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

/// What the agent remembers of one process's counters.
#[derive(Debug)]
pub struct Sweep {
    counters: Arc<Counters>,
    cap: i32,
    /// The activity word of each shard at the last `in_flight`. 0: not used so far.
    activity: [u32; MAX_SHARDS as usize],
    unreachable: u32,
    /// For each slot, from the last `in_flight`.
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
    /// The sequence number of the last report of each slot and shard. Empty until the first report.
    sequences: Vec<u32>,
}

impl Sweep {
    /// Make it before the process counts: counts from before would be taken for new ones. `cap` is the
    /// most that the process may have in flight at a slot, in units of cost and at most 2^23. A larger
    /// claim is reduced to it.
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

    /// The counters that it sums.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What the process had in flight at a slot at the last `in_flight`, in units of cost.
    pub fn at_slot(&self, slot: u32) -> u32 {
        self.in_flight.get(slot as usize).copied().unwrap_or(0)
    }

    /// Adds what the process has in flight at each slot to `sums`, in units of cost. It does not read
    /// the counters again if the process counted nothing since the last visit. It never reads slots
    /// beyond `sums`, which no endpoint has had yet.
    ///
    /// Ends are read before starts, so a request that ends in between still seems to be in flight. In
    /// the microseconds of a visit that is negligible. It is not if the agent lost its processor in the
    /// middle: a caller whose clock shows that should visit again instead of publishing.
    ///
    /// # Errors
    /// [`Punched`]: discard everything from the process, and `sums`.
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

    /// Whether the process counted anything since the last [`in_flight`](Self::in_flight). The next
    /// `in_flight` then reads it. This reads one word of each shard, and no counter.
    ///
    /// # Errors
    /// [`Punched`]: discard everything from the process.
    pub fn stirred(&self) -> Result<bool, Punched> {
        Ok(self.activity_now()? != self.activity)
    }

    /// Adds what ended since the last call to `sums`. `elapsed_us` is the time since that call. After
    /// more than a second the latencies are omitted, because their sum may have wrapped. Slots beyond
    /// those of `sums` are not read. Returns whether anything was counted.
    ///
    /// # Errors
    /// [`Punched`]: discard everything from the process, and `sums`.
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
        let mut counts = PageSums::new();
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

    /// Passes the server reports since the last call to `take`, by slot. There may be one report from
    /// each shard for the same slot. Reports with a negative or infinite number or NaN are skipped.
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
                    // A picker is writing it, and increases the total when it is done.
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

    /// The activity words. Counters that are read afterwards are at least as new as they.
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
        let (mut ended, mut started) = (PageSums::new(), PageSums::new());
        for page in 0..sums.len().div_ceil(RUN) {
            let (first, count) = slots_of(page, sums.len());
            self.check_canaries(&[FLOW, EXTRA], page)?;
            // Reads the ends of all shards before the starts of any: a request may start in one shard
            // and end in another. So the start of each end that is read is read, too.
            self.sum_flow(ENDED, EXTRA_ENDED, page, count, &mut ended);
            fence(Acquire);
            self.sum_flow(STARTED, EXTRA_STARTED, page, count, &mut started);
            let sums = &mut sums[first..][..count];
            let own = &mut self.in_flight[first..][..count];
            let flow = started.first(count).iter().zip(ended.first(count));
            // With a cap of 2^23 the sum of a page fits.
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

    /// Sums a field of the flow, and its extra cost, over the shards.
    fn sum_flow(&self, field: Field, extra: Field, page: usize, count: usize, into: &mut PageSums) {
        into.clear(count);
        self.add_shards(field, page, count, into);
        self.add_shards(extra, page, count, into);
    }

    fn add_shards(&self, field: Field, page: usize, count: usize, into: &mut PageSums) {
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

    /// The shards that use a kind of pages now. If another one begins to use it between a check of the
    /// canaries and a sum, it has set its canaries before.
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

/// The first slot of a page, and how many of the first `slots` slots it has.
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
