//! One shard of the counters, in which a picker counts.

use std::{
    fmt::Debug,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    atomic::{Acquire, AtomicU32, Relaxed, Release, add_unshared, fence},
    counters::{
        ACTIVITY, BLOCK, CANCELLED, Counters, ENDED, EPS, EXPIRED, EXTRA_ENDED, EXTRA_STARTED,
        FAILED, FLOW, Field, HISTOGRAM, LATENCY_CAP_US, LATENCY_SUM, LOST, LOST_CAP_MS, PAGE, QPS,
        REJECTED, REPORTED_IN_FLIGHT, REPORTS_TOTAL, RETRIED, RUN, SEQUENCE_A, SEQUENCE_B, STARTED,
        TIMED, TIMES, UNREACHABLE, UNREACHABLE_TOTAL, UTILIZATION, bucket, slot_index,
    },
    memory::Words,
};

/// How a picker adds to a counter.
pub trait Form: sealed::Add + Debug + Send + 'static {}

pub(crate) mod sealed {
    use crate::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    pub trait Add {
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn add(word: &AtomicU32, amount: u32, order: Ordering);
    }
}

/// Atomic additions: any number of threads may share the shard.
#[derive(Clone, Copy, Debug)]
pub enum Atomic {}

/// Plain loads and stores: one thread at a time counts in the shard, and no other picker has it. That
/// holds under a global lock of the language, or with a segment for each thread. A pick then costs less
/// than half.
#[derive(Clone, Copy, Debug)]
pub enum SingleWriter {}

impl Form for Atomic {}
impl Form for SingleWriter {}

impl sealed::Add for Atomic {
    #[inline(always)]
    #[allow(private_interfaces)]
    fn add(word: &AtomicU32, amount: u32, order: Ordering) {
        word.fetch_add(amount, order);
    }
}

impl sealed::Add for SingleWriter {
    #[inline(always)]
    #[allow(private_interfaces)]
    fn add(word: &AtomicU32, amount: u32, order: Ordering) {
        add_unshared(word, amount, order);
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Success,
    /// The server answered that it failed.
    Failure,
    /// There was no connection. A retry is safe. The agent reacts at once.
    Unreachable,
    /// Its deadline passed. Its latency is a lower bound, and is used as such.
    Expired,
    /// The caller gave up. This says nothing about the endpoint.
    Cancelled,
    /// The server is alive but full.
    Rejected,
}

impl Outcome {
    /// Whether its latency says something about the endpoint's service time.
    fn is_timed(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Expired)
    }
}

/// The load that a server reports about itself.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct ServerLoad {
    /// 1 is fully utilized.
    pub utilization: f32,
    /// Requests that the server has, from all callers.
    pub in_flight: u32,
    /// Requests per second.
    pub qps: f32,
    /// Errors per second.
    pub eps: f32,
}

/// A shard, with the places of its pages.
#[derive(Debug)]
pub(crate) struct Shard {
    counters: Arc<Counters>,
    shard: u32,
    /// The shard's block in page 0.
    block: Words,
    flow: Words,
    times: Words,
    /// The last value of the activity word that this picker wrote.
    activity: u32,
    /// A bit for each kind of pages that this picker knows to be claimed.
    used: u32,
}

impl Shard {
    /// Prepares a shard for the thread that drew `ticket`. Panics if there is no such shard.
    pub(crate) fn take(counters: Arc<Counters>, shard: u32, ticket: u32) -> Self {
        assert!(shard < counters.shards(), "no shard {shard} of {}", counters.shards());
        counters.claim(shard, FLOW);
        let words = counters.words();
        let kind_words = counters.pages_per_kind() * PAGE;
        Self {
            block: words.part(counters.block_at(shard), BLOCK),
            flow: words.part(counters.kind_at(shard, FLOW), kind_words),
            times: words.part(counters.kind_at(shard, TIMES), kind_words),
            counters,
            shard,
            // Odd, so never 0. Threads begin far apart, so that two threads of a shard never write
            // the same values: a sweep would miss the change by the second thread.
            activity: (ticket << 24) | 1,
            used: 1 << FLOW,
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts the start of a request.
    ///
    /// # Safety
    /// `slot` is below the counters' slots.
    #[inline(always)]
    pub(crate) unsafe fn start<F: Form>(&mut self, slot: u32, cost: u32) {
        // SAFETY: the caller's promise: the slot has its words within the pages.
        let started = unsafe { self.flow.at_unchecked(slot_index(slot) + STARTED.run * RUN) };
        F::add(started, 1, Relaxed);
        if cost > 1 {
            self.count::<F>(EXTRA_STARTED, slot, cost - 1, Relaxed);
        }
        self.touch();
    }

    /// Counts the end of a request. The end itself comes last and with Release: a reader that sees it
    /// also sees the request's start, and all other counts of the request.
    ///
    /// # Safety
    /// `slot` is below the counters' slots.
    #[inline(always)]
    pub(crate) unsafe fn end<F: Form>(
        &mut self,
        slot: u32,
        cost: u32,
        outcome: Outcome,
        latency_us: Option<u32>,
    ) {
        if let Some(latency) = latency_us {
            // SAFETY: the caller's promise.
            unsafe { self.time::<F>(slot, outcome, latency) };
        }
        if outcome != Outcome::Success {
            self.judge::<F>(slot, outcome, latency_us);
        }
        if cost > 1 {
            self.count::<F>(EXTRA_ENDED, slot, cost - 1, ENDS);
        }
        // SAFETY: the caller's promise: the slot has its words within the pages.
        let ended = unsafe { self.flow.at_unchecked(slot_index(slot) + ENDED.run * RUN) };
        F::add(ended, 1, ENDS);
        self.touch();
    }

    /// # Safety
    /// `slot` is below the counters' slots.
    #[inline(always)]
    unsafe fn time<F: Form>(&mut self, slot: u32, outcome: Outcome, latency: u32) {
        if !outcome.is_timed() {
            return;
        }
        self.claim(TIMES);
        let timed = slot_index(slot) + TIMED.run * RUN;
        let sum = slot_index(slot) + LATENCY_SUM.run * RUN;
        // SAFETY: the caller's promise: the slot has its words within the pages, and every bucket
        // is within the block.
        unsafe {
            F::add(self.times.at_unchecked(timed), 1, Relaxed);
            F::add(self.times.at_unchecked(sum), latency.min(LATENCY_CAP_US), Relaxed);
            F::add(self.block.at_unchecked(HISTOGRAM + bucket(latency)), 1, Relaxed);
        }
    }

    #[cold]
    #[inline(never)]
    fn judge<F: Form>(&mut self, slot: u32, outcome: Outcome, latency_us: Option<u32>) {
        let field = match outcome {
            Outcome::Success => return,
            Outcome::Cancelled => CANCELLED,
            Outcome::Failure => FAILED,
            Outcome::Expired => EXPIRED,
            Outcome::Rejected => REJECTED,
            Outcome::Unreachable => UNREACHABLE,
        };
        self.count::<F>(field, slot, 1, Relaxed);
        if outcome == Outcome::Unreachable {
            F::add(self.block.at(UNREACHABLE_TOTAL), 1, Relaxed);
        }
        if matches!(outcome, Outcome::Failure | Outcome::Expired)
            && let Some(latency) = latency_us
        {
            let lost = latency.div_ceil(1000).min(LOST_CAP_MS);
            self.count::<F>(LOST, slot, lost, Relaxed);
        }
    }

    /// Adds to a field that only few picks use.
    #[inline(never)]
    fn count<F: Form>(&mut self, field: Field, slot: u32, amount: u32, order: Ordering) {
        self.claim(field.kind);
        F::add(self.word(field, slot), amount, order);
    }

    /// Makes a kind of pages ready for use, unless it is.
    #[inline(always)]
    fn claim(&mut self, kind: usize) {
        if self.used & (1 << kind) == 0 {
            self.counters.claim(self.shard, kind);
            self.used |= 1 << kind;
        }
    }

    fn word(&self, field: Field, slot: u32) -> &AtomicU32 {
        let pages = self.counters.kind_at(self.shard, field.kind);
        self.counters.words().at(pages + slot_index(slot) + field.run * RUN)
    }

    /// Tells the sweep that a counter changed. It comes after the change, so that the sweep finds it.
    #[inline(always)]
    fn touch(&mut self) {
        self.activity = self.activity.wrapping_add(2);
        // SAFETY: the block has more words than this.
        unsafe { self.block.at_unchecked(ACTIVITY) }.store(self.activity, Release);
    }

    /// Counts a retry. The retry also counts as a request of its own.
    pub(crate) fn retried<F: Form>(&mut self) {
        F::add(self.block.at(RETRIED), 1, Relaxed);
        self.touch();
    }

    /// Stores the last report of a server. One thread of the shard writes at a time. A report that
    /// another thread brings meanwhile is dropped.
    pub(crate) fn report<F: Form>(&mut self, slot: u32, load: &ServerLoad) {
        if slot >= self.counters.slots() {
            return;
        }
        for field in [SEQUENCE_A, UTILIZATION, QPS] {
            self.claim(field.kind);
        }
        let sequence = self.word(SEQUENCE_B, slot).load(Acquire);
        let next = sequence.wrapping_add(1);
        let begin = self.word(SEQUENCE_A, slot);
        if begin.compare_exchange(sequence, next, Relaxed, Relaxed).is_err() {
            return;
        }
        fence(Release);
        for (field, value) in [
            (UTILIZATION, load.utilization.to_bits()),
            (REPORTED_IN_FLIGHT, load.in_flight),
            (QPS, load.qps.to_bits()),
            (EPS, load.eps.to_bits()),
        ] {
            self.word(field, slot).store(value, Relaxed);
        }
        self.word(SEQUENCE_B, slot).store(next, Release);
        F::add(self.block.at(REPORTS_TOTAL), 1, Relaxed);
        self.touch();
    }
}

/// With a weaker order a reader may see an end without its start, and compute -1 in flight.
const ENDS: Ordering = if cfg!(relaxed_end) { Relaxed } else { Release };
