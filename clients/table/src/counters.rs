//! The counters of callers: one segment per process and service. The process writes it, and the agent
//! sums it.
//!
//! Each counter is a wrapping u32 that only increases; the agent computes differences. Threads that
//! share a counter slow each other down (150 to 275 ns a pick). So a segment has up to eight shards,
//! and a thread gets one by a ticket. A request may end in another shard than it started in: only the
//! sums over all shards have a meaning.
//!
//! A segment has pages. Page 0 belongs to the service: after the header it has a block of whole cache
//! lines for each shard, for counts per service. Then each shard has nine kinds of pages with two
//! fields each: 16 words of header, then a run of 504 words for each field. Therefore:
//! - each field is dense, and its runs are aligned to 16 bytes and multiples of 16 bytes, so that a
//!   sweep can use baseline vector loads (126 per run, no remainder);
//! - the starts and ends of 504 slots fill a page. A sweep of 1,000 slots for what is in flight
//!   touches 2 pages of a process, not 18 as it would with all 18 fields in one page. The pages of
//!   200 processes fit into the second-level TLB;
//! - the page of a slot is one division by a constant, and its index is `slot + 520 x page`;
//! - a kind that a client does not use (extra cost, server reports) costs neither memory nor time.
//!
//! The header of a page begins with a canary. It is not zero while the pages of its kind are in use.
//! It becomes zero if the client punches a hole into its file. Before a client first uses a kind in a
//! shard, it writes the canaries of the kind's pages, then sets the kind's bit in the shard's `USED`
//! word. Then it counts.

use std::sync::{
    Arc,
    atomic::{AtomicU32 as Ticket, Ordering},
};
#[cfg(not(loom))]
use std::{
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use crate::{
    atomic::{Acquire, Relaxed, Release},
    layout::{COUNTERS_MAGIC, LINE, VERSION},
    memory::Words,
};
#[cfg(not(loom))]
use crate::{layout::BANKS_AT, memory, table::AttachError, table::AttachedHeader};

/// The most shards. With eight the remaining contention is small, so more would not help.
pub const MAX_SHARDS: u32 = 8;
/// Slots in a page.
pub(crate) const RUN: usize = if cfg!(loom) { 1 } else { 504 };
/// Fields in a page.
pub(crate) const FIELDS_PER_PAGE: usize = 2;
/// Words of a page.
pub(crate) const PAGE: usize = LINE + FIELDS_PER_PAGE * RUN;
/// Kinds of pages.
pub(crate) const KINDS: usize = 9;

/// The value of a canary while there is no hole.
pub(crate) const CANARY: u32 = 0x5afe_5afe;
pub(crate) const CANARY_AT: usize = 0;

// The header of page 0.
const MAGIC_AT: usize = 1;
const VERSION_AT: usize = 2;
const SLOTS_AT: usize = 3;
const SHARDS_AT: usize = 4;

// A shard's block in page 0: a line of single words, then the histogram.
/// Changes with every change of the shard's counters. 0 while the shard is unused.
pub(crate) const ACTIVITY: usize = 0;
pub(crate) const RETRIED: usize = 1;
/// The sum of `unreachable` over all slots, so that the agent notices one without reading the slots.
pub(crate) const UNREACHABLE_TOTAL: usize = 2;
/// How many server reports were written, for all slots.
pub(crate) const REPORTS_TOTAL: usize = 3;
/// A bit for each kind of pages that is in use.
pub(crate) const USED: usize = 4;
pub(crate) const HISTOGRAM: usize = LINE;
pub(crate) const BLOCK: usize = LINE + BUCKETS.next_multiple_of(LINE);

/// Buckets of the latency histogram; see [`bucket`].
pub const BUCKETS: usize = if cfg!(loom) { 1 } else { 64 };

/// The most that one sample may add to `latency_sum`, in microseconds: 10 s. With this cap the sum
/// wraps only after 430 samples between two sweeps.
pub const LATENCY_CAP_US: u32 = 10_000_000;

/// The most that one sample may add to `lost`, in milliseconds: also 10 s. The sum wraps only after
/// 429,000 samples.
pub const LOST_CAP_MS: u32 = LATENCY_CAP_US / 1000;

/// The histogram's bucket for a latency. There are two buckets for each power of two of microseconds.
/// 0 and 1 us have a bucket each; above, bucket `2 x e + h` begins at `2^e + h x 2^(e-1)`.
#[inline]
pub fn bucket(latency_us: u32) -> usize {
    let exponent = 31 - (latency_us | 1).leading_zeros();
    let index = if exponent == 0 {
        latency_us
    } else {
        2 * exponent + ((latency_us >> (exponent - 1)) & 1)
    };
    (index as usize).min(BUCKETS - 1)
}

/// The smallest latency in a bucket, in microseconds.
pub fn bucket_start_us(bucket: usize) -> u64 {
    match bucket {
        0 | 1 => bucket as u64,
        _ => {
            let exponent = bucket as u64 / 2;
            (1 << exponent) + (bucket as u64 % 2) * (1 << (exponent - 1))
        }
    }
}

/// A field: its kind of pages, and which of the two runs in them it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) kind: usize,
    pub(crate) run: usize,
}

const fn field(kind: usize, run: usize) -> Field {
    Field { kind, run }
}

/// The pages that every pick and every end changes.
pub(crate) const FLOW: usize = 0;
pub(crate) const STARTED: Field = field(FLOW, 0);
pub(crate) const ENDED: Field = field(FLOW, 1);
/// Cost beyond 1.
pub(crate) const EXTRA: usize = 1;
pub(crate) const EXTRA_STARTED: Field = field(EXTRA, 0);
pub(crate) const EXTRA_ENDED: Field = field(EXTRA, 1);
/// Latency.
pub(crate) const TIMES: usize = 2;
pub(crate) const TIMED: Field = field(TIMES, 0);
pub(crate) const LATENCY_SUM: Field = field(TIMES, 1);
/// Requests that the endpoint accepted but failed.
pub(crate) const BAD: usize = 3;
pub(crate) const FAILED: Field = field(BAD, 0);
pub(crate) const EXPIRED: Field = field(BAD, 1);
/// Requests that the endpoint did not accept.
pub(crate) const REFUSED: usize = 4;
pub(crate) const UNREACHABLE: Field = field(REFUSED, 0);
pub(crate) const REJECTED: Field = field(REFUSED, 1);
/// The server's last report, guarded by two sequence words.
pub(crate) const REPORT: usize = 5;
pub(crate) const SEQUENCE_A: Field = field(REPORT, 0);
pub(crate) const SEQUENCE_B: Field = field(REPORT, 1);
pub(crate) const UTILIZATION: Field = field(6, 0);
pub(crate) const REPORTED_IN_FLIGHT: Field = field(6, 1);
pub(crate) const QPS: Field = field(7, 0);
pub(crate) const EPS: Field = field(7, 1);
/// Further counts that the agent needs to judge an endpoint.
pub(crate) const JUDGING: usize = 8;
/// Ends that say nothing about the endpoint.
pub(crate) const CANCELLED: Field = field(JUDGING, 0);
/// Milliseconds that failed and expired requests took.
pub(crate) const LOST: Field = field(JUDGING, 1);

/// The index of a slot's first field in the pages of one kind of one shard.
#[inline(always)]
pub(crate) fn slot_index(slot: u32) -> usize {
    let slot = slot as usize;
    LINE + slot + slot / RUN * (PAGE - RUN)
}

/// The counters of one process for one service.
#[derive(Debug)]
pub struct Counters {
    words: Words,
    slots: u32,
    shards: u32,
    pages_per_kind: usize,
    /// Private to this process, and not in shared memory.
    ticket: Ticket,
    #[cfg(not(loom))]
    file: Mutex<Option<OwnedFd>>,
}

impl Counters {
    fn over(words: Words, slots: u32, shards: u32) -> Self {
        Self {
            words,
            slots,
            shards,
            pages_per_kind: pages_per_kind(slots),
            ticket: Ticket::new(0),
            #[cfg(not(loom))]
            file: Mutex::new(None),
        }
    }

    fn with_header(words: Words, slots: u32, shards: u32) -> Self {
        for (at, value) in [
            (CANARY_AT, CANARY),
            (MAGIC_AT, COUNTERS_MAGIC),
            (VERSION_AT, VERSION),
            (SLOTS_AT, slots),
            (SHARDS_AT, shards),
        ] {
            words.at(at).store(value, Relaxed);
        }
        Self::over(words, slots, shards)
    }

    /// Counters in a sealed memfd, for one process. `slots` is the capacity of the table. `shards` is
    /// rounded up to a power of two, at most 8.
    ///
    /// # Errors
    /// An error of the system, and `InvalidInput` for more slots than any table has.
    #[cfg(not(loom))]
    pub fn create(slots: u32, shards: u32, name: &str) -> io::Result<Arc<Self>> {
        let shards = whole_shards(shards);
        let words = words_for(slots, shards).ok_or(io::ErrorKind::InvalidInput)?;
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let (words, file) = memory::create(name, words, memory::COUNTERS_SEALS, mode)?;
        let mut counters = Self::with_header(words, slots, shards);
        counters.file = Mutex::new(Some(file));
        Ok(Arc::new(counters))
    }

    /// Counters that only this process can access, for the agent's own callers, tests and the
    /// simulator. Panics for more slots than any table has.
    pub fn on_heap(slots: u32, shards: u32) -> Arc<Self> {
        let shards = whole_shards(shards);
        let words = words_for(slots, shards).expect("no table has so many slots");
        Arc::new(Self::with_header(Words::on_heap(words), slots, shards))
    }

    /// Maps the counters behind a descriptor that the agent sent, to count in them. The descriptor is
    /// closed; the mapping stays.
    ///
    /// # Errors
    /// [`AttachError`] if it is not a counters segment, has another version, or lacks the seals of one.
    #[cfg(not(loom))]
    pub fn from_fd(file: OwnedFd) -> Result<Arc<Self>, AttachError> {
        let header = AttachedHeader::open(&file, memory::COUNTERS_SEALS)?;
        header.expect_kind([MAGIC_AT, VERSION_AT], COUNTERS_MAGIC)?;
        let slots = header.words.at(SLOTS_AT).load(Relaxed);
        let shards = header.words.at(SHARDS_AT).load(Relaxed);
        if shards != whole_shards(shards) {
            return Err(AttachError::Shards { found: shards });
        }
        let words = words_for(slots, shards).ok_or(AttachError::TooLarge)?;
        header.expect_words(words)?;
        Ok(Arc::new(Self::over(memory::map(&file, words, true)?, slots, shards)))
    }

    /// A descriptor for the process that will count in them.
    ///
    /// # Errors
    /// An error of the system, and `Unsupported` if there is none: on the heap, or after `close_fd`.
    #[cfg(not(loom))]
    pub fn fd(&self) -> io::Result<OwnedFd> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().ok_or(io::ErrorKind::Unsupported)?.try_clone()
    }

    /// Closes the descriptor after it was sent. The mapping stays.
    #[cfg(not(loom))]
    pub fn close_fd(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// How many slots they count for.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// How many shards they have.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// A ticket for a thread, whose shard is the ticket modulo the number of shards. (Hashes of threads
    /// would collide: 180 to 420 ns a pick.)
    pub(crate) fn take_ticket(&self) -> u32 {
        self.ticket.fetch_add(1, Ordering::Relaxed)
    }

    /// A copy of the segment's current bytes.
    pub fn image(&self) -> Vec<u8> {
        let words = &self.words;
        (0..words.len()).flat_map(|word| words.at(word).load(Relaxed).to_le_bytes()).collect()
    }

    /// What this process has in flight at a slot, in units of cost, over all shards. It takes about
    /// 350 ns with eight shards. 0 for a slot that does not exist.
    pub fn in_flight(&self, slot: u32) -> i32 {
        if slot >= self.slots {
            return 0;
        }
        let sum = |fields: [Field; 2], order| {
            let shards = 0..self.shards;
            let words = shards.flat_map(|shard| fields.map(|field| (shard, field)));
            words.fold(0_u32, |sum, (shard, field)| {
                sum.wrapping_add(self.value(shard, field, slot, order))
            })
        };
        // The ends of all shards before the starts of any: else it could read an end without its start.
        let ended = sum([ENDED, EXTRA_ENDED], Acquire);
        sum([STARTED, EXTRA_STARTED], Relaxed).wrapping_sub(ended) as i32
    }

    pub(crate) fn value(&self, shard: u32, field: Field, slot: u32, order: Ordering) -> u32 {
        let pages = self.kind_at(shard, field.kind);
        self.words.at(pages + field.run * RUN + slot_index(slot)).load(order)
    }

    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    pub(crate) fn pages_per_kind(&self) -> usize {
        self.pages_per_kind
    }

    /// Where a shard's block in page 0 begins.
    pub(crate) fn block_at(&self, shard: u32) -> usize {
        LINE + shard as usize * BLOCK
    }

    /// Where the pages of a kind of a shard begin.
    pub(crate) fn kind_at(&self, shard: u32, kind: usize) -> usize {
        SERVICE_PAGE + (shard as usize * KINDS + kind) * self.pages_per_kind * PAGE
    }

    /// Makes a kind of pages of a shard ready for use. The canaries come first, so that a reader that
    /// sees the kind in use sees them.
    #[cold]
    pub(crate) fn claim(&self, shard: u32, kind: usize) {
        let used = self.words.at(self.block_at(shard) + USED);
        if used.load(Acquire) & (1 << kind) != 0 {
            return;
        }
        for page in 0..self.pages_per_kind {
            let page = self.kind_at(shard, kind) + page * PAGE;
            self.words.at(page + CANARY_AT).store(CANARY, Relaxed);
        }
        used.fetch_or(1 << kind, Release);
    }
}

/// Words of page 0.
const SERVICE_PAGE: usize = if cfg!(loom) { LINE + 2 * BLOCK } else { PAGE };

fn pages_per_kind(slots: u32) -> usize {
    (slots as usize).div_ceil(RUN)
}

fn whole_shards(shards: u32) -> u32 {
    shards.clamp(1, MAX_SHARDS).next_power_of_two()
}

fn words_for(slots: u32, shards: u32) -> Option<usize> {
    let pages = shards as u64 * KINDS as u64 * u64::from(slots).div_ceil(RUN as u64);
    let words = SERVICE_PAGE as u64 + pages * PAGE as u64;
    (words <= crate::layout::MAX_WORDS * 4).then_some(words as usize)
}

#[cfg(not(loom))]
const _: () = {
    assert!(PAGE == 1024, "a page of counters is 4 KiB");
    assert!(LINE + MAX_SHARDS as usize * BLOCK <= PAGE, "page 0 holds every shard's block");
    assert!(RUN.is_multiple_of(4), "runs are whole vectors");
    assert!(BANKS_AT <= PAGE, "a reader reads as many bytes of any header as BANKS_AT");
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_its_own_words_within_the_pages() {
        let counters = Counters::on_heap(1100, 2);
        let mut seen = std::collections::HashSet::new();
        for shard in 0..2 {
            for kind in 0..KINDS {
                for run in 0..FIELDS_PER_PAGE {
                    for slot in (0..1100).step_by(if cfg!(miri) { 101 } else { 1 }) {
                        let at = counters.kind_at(shard, kind) + run * RUN + slot_index(slot);
                        assert!(at % PAGE >= LINE, "in a header");
                        assert!(at < counters.words().len());
                        assert!(seen.insert(at), "twice");
                    }
                }
            }
        }
    }

    #[test]
    fn buckets_are_two_to_a_power_of_two() {
        for latency in (0..5_000).chain([9_999_999, u32::MAX / 2, u32::MAX - 1, u32::MAX]) {
            let bucket = bucket(latency);
            assert!(bucket < BUCKETS);
            assert!(bucket_start_us(bucket) <= u64::from(latency));
            assert!(bucket_start_us(bucket + 1) > u64::from(latency), "{latency} in {bucket}");
        }
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 8, 12].map(bucket), [0, 1, 2, 3, 4, 4, 5, 6, 7]);
    }

    #[test]
    fn shards_are_a_power_of_two_of_at_most_eight() {
        assert_eq!([0, 1, 3, 8, 100].map(whole_shards), [1, 1, 4, 8, 8]);
    }
}
