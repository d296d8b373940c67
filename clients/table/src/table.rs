//! A service table as a reader has it: mapped, checked once, and read by words.

#[cfg(not(loom))]
use std::{io, os::fd::OwnedFd};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

#[cfg(not(loom))]
use crate::{
    layout::{CAPACITY_AT, MAGIC, MAGIC_AT, VERSION_AT},
    memory,
};

use crate::{
    atomic::{Acquire, Relaxed, fence},
    bank::address_of,
    layout::{
        ASLEEP_AT, BANKS_AT, CELL_BASE, CELL_HOT_BASE, CELL_HOT_SLOPE, CELL_KNEE, CELL_LIMIT,
        CELL_SLOPE, CELL_WORDS, Capacity, DETACH_AFTER_AT, GENERATION_AT, HEARTBEAT_AT,
        LAST_RESORT_ADDRESS_AT, LAST_RESORT_PORT_AT, Layout, PERIOD_AT, PUBLICATION_AT,
        RETRY_BUDGET_AT, SUPERSEDED_AT,
    },
    memory::Words,
    plan::Plan,
    reader::{self, Reading},
};

/// The load of a slot, as numbers that a score is made of: whatever the strategy, a score is
/// `base + slope x own` below the knee, `hot_base + hot_slope x own` from it on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The score with nothing of the caller's own.
    pub base: f32,
    /// What one request of the caller's own since the publication adds.
    pub slope: f32,
    /// The `own` from which the slot is hot. `f32::MAX`: never.
    pub knee: f32,
    /// `base` of a hot slot.
    pub hot_base: f32,
    /// `slope` of a hot slot.
    pub hot_slope: f32,
    /// Picked only while `own` is below it. 0: closed, whatever `own` is.
    pub limit: i32,
}

impl Default for Cell {
    fn default() -> Self {
        Self {
            base: 0.0,
            slope: 0.0,
            knee: f32::MAX,
            hot_base: 0.0,
            hot_slope: 0.0,
            limit: i32::MAX,
        }
    }
}

impl Cell {
    pub(crate) fn to_words(self) -> [u32; CELL_WORDS] {
        let mut words = [0; CELL_WORDS];
        words[CELL_BASE] = self.base.to_bits();
        words[CELL_SLOPE] = self.slope.to_bits();
        words[CELL_KNEE] = self.knee.to_bits();
        words[CELL_HOT_BASE] = self.hot_base.to_bits();
        words[CELL_HOT_SLOPE] = self.hot_slope.to_bits();
        words[CELL_LIMIT] = self.limit as u32;
        words
    }

    pub(crate) fn from_words(words: [u32; CELL_WORDS]) -> Self {
        Self {
            base: f32::from_bits(words[CELL_BASE]),
            slope: f32::from_bits(words[CELL_SLOPE]),
            knee: f32::from_bits(words[CELL_KNEE]),
            hot_base: f32::from_bits(words[CELL_HOT_BASE]),
            hot_slope: f32::from_bits(words[CELL_HOT_SLOPE]),
            limit: words[CELL_LIMIT] as i32,
        }
    }

    /// Whether it may be published: nothing negative, infinite or not a number. The limit may be
    /// negative: the bound less what is in flight.
    pub fn is_sound(&self) -> bool {
        [self.base, self.slope, self.knee, self.hot_base, self.hot_slope]
            .iter()
            .all(|number| number.is_finite() && *number >= 0.0)
    }
}

/// A service table, read-only. It owns its mapping and is shared by all pickers of a process.
#[derive(Debug)]
pub struct Table {
    words: Words,
    layout: Layout,
    /// The last structure that was read: decoded once for all pickers, since it may be large.
    latest: Mutex<Latest>,
    slots_only: AtomicBool,
}

/// The plan to pick by, and the generation that was looked at to know so. They differ where that
/// generation could not be followed.
#[derive(Clone, Debug)]
pub(crate) struct Latest {
    pub(crate) examined: u32,
    pub(crate) plan: Arc<Plan>,
}

impl Table {
    pub(crate) fn over(words: Words, layout: Layout) -> Self {
        assert_eq!(words.len(), layout.words);
        let plan = Arc::new(Plan::nothing(layout.capacity.slots));
        let latest = Mutex::new(Latest { examined: 0, plan });
        Self { words, layout, latest, slots_only: AtomicBool::new(false) }
    }

    /// Maps the table behind a descriptor that the agent handed over, read-only. The descriptor is
    /// closed; the mapping stays. Sizes are taken from the header here, once, and held against the
    /// size of the file.
    ///
    /// # Errors
    /// [`AttachError`]: it is no table, of another version, or not sealed as one.
    #[cfg(not(loom))]
    pub fn from_fd(file: OwnedFd) -> Result<Arc<Self>, AttachError> {
        let header = AttachedHeader::open(&file, memory::TABLE_SEALS)?;
        let layout = header.expect_table()?;
        Ok(Arc::new(Self::over(memory::map(&file, layout.words, false)?, layout)))
    }

    /// A table over a copy of an image's bytes, for tests of other implementations' images and for
    /// looking at one offline.
    ///
    /// # Errors
    /// [`AttachError`]: the bytes are no table, or not exactly one.
    #[cfg(not(loom))]
    pub fn from_image(image: &[u8]) -> Result<Arc<Self>, AttachError> {
        let (words, rest) = image.as_chunks::<4>();
        let length = image.len() as u64;
        if !rest.is_empty() || words.len() < BANKS_AT {
            return Err(AttachError::Size { found: length, expected: BANKS_AT as u64 * 4 });
        }
        let copy = Words::on_heap(words.len());
        for (index, word) in words.iter().enumerate() {
            copy.at(index).store(u32::from_le_bytes(*word), Relaxed);
        }
        let header = AttachedHeader { words: copy, bytes: length };
        let layout = header.expect_table()?;
        Ok(Arc::new(Self::over(header.words, layout)))
    }

    /// Leaves the endpoints out of the structures that are read from now on. For a process that
    /// knows by itself what is behind the slots, as the agent does; they are most of a structure.
    pub fn read_slots_only(&self) {
        self.slots_only.store(true, Ordering::Relaxed);
    }

    pub(crate) fn reads_slots_only(&self) -> bool {
        self.slots_only.load(Ordering::Relaxed)
    }

    /// What it has room for.
    pub fn capacity(&self) -> Capacity {
        self.layout.capacity
    }

    /// The generation of the structure that is current now; 0 before the first.
    pub fn generation(&self) -> u32 {
        self.load_acquire(GENERATION_AT)
    }

    /// The number of the last publication of load; 0 before the first.
    pub fn publication(&self) -> u32 {
        self.load_acquire(PUBLICATION_AT)
    }

    /// Goes up with every sign of life of the agent, and also while it is asleep.
    pub fn heartbeat(&self) -> u32 {
        self.load(HEARTBEAT_AT)
    }

    /// How often load is published, in microseconds.
    pub fn period_us(&self) -> u32 {
        self.load(PERIOD_AT)
    }

    /// After how many microseconds without a publication a caller detaches.
    pub fn detach_after_us(&self) -> u32 {
        self.load(DETACH_AFTER_AT)
    }

    /// How many retries a process may add, in thousandths of its requests.
    pub fn retry_budget(&self) -> u32 {
        self.load(RETRY_BUDGET_AT)
    }

    /// Whether the agent publishes nothing until it is woken.
    pub fn asleep(&self) -> bool {
        self.load(ASLEEP_AT) != 0
    }

    /// Whether another table has taken this one's place.
    pub fn superseded(&self) -> bool {
        self.load(SUPERSEDED_AT) != 0
    }

    /// Where to send requests when the agent has been gone for too long to trust any endpoint.
    pub fn last_resort(&self) -> Option<SocketAddr> {
        let port = self.load_acquire(LAST_RESORT_PORT_AT);
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        let words = std::array::from_fn(|i| self.load(LAST_RESORT_ADDRESS_AT + i));
        Some(SocketAddr::new(address_of(words), port))
    }

    /// The load cell of a slot as it is now; `None` for a slot that the table does not have.
    pub fn cell(&self, slot: u32) -> Option<Cell> {
        (slot < self.layout.capacity.slots).then(|| {
            let at = self.layout.cells + Layout::cell(slot);
            Cell::from_words(std::array::from_fn(|word| self.load(at + word)))
        })
    }

    /// The current plan, decoded. `None`: another thread is decoding it right now. A caller that
    /// has an older one goes on with that; one that has none asks with `wait`.
    pub(crate) fn latest(&self, wait: bool) -> Option<Latest> {
        let mut latest = match self.latest.try_lock() {
            Ok(latest) => latest,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if wait => {
                self.latest.lock().unwrap_or_else(PoisonError::into_inner)
            }
            Err(TryLockError::WouldBlock) => return None,
        };
        if latest.examined != self.generation() {
            match reader::read(self) {
                Reading::Plan(plan) => {
                    *latest = Latest { examined: plan.generation, plan: Arc::new(plan) };
                }
                Reading::Malformed(generation) => latest.examined = generation,
                Reading::Nothing => {}
            }
        }
        Some(latest.clone())
    }

    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn header(&self) -> Words {
        self.words.part(0, BANKS_AT)
    }

    pub(crate) fn cells(&self) -> Words {
        let cells = self.layout.cells;
        self.words.part(cells, self.layout.words - cells)
    }

    fn load(&self, at: usize) -> u32 {
        self.words.at(at).load(Relaxed)
    }

    /// A relaxed load and a fence: of memory that is mapped read-only, Rust promises no other
    /// order of load to work.
    fn load_acquire(&self, at: usize) -> u32 {
        let value = self.load(at);
        fence(Acquire);
        value
    }
}

/// Why a descriptor was not attached.
#[cfg(not(loom))]
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The system's refusal.
    #[error("cannot map it: {0}")]
    Io(#[from] io::Error),
    /// It does not begin as it should.
    #[error("it begins with {found:#010x}, not with {expected:#010x}")]
    Magic {
        /// The first word, or the one in its place.
        found: u32,
        /// What such a segment begins with.
        expected: u32,
    },
    /// Of a layout that this build does not know.
    #[error("its layout has version {found}; this build reads version {expected}")]
    Version {
        /// In the header.
        found: u32,
        /// Known to this build.
        expected: u32,
    },
    /// The file is not as long as its header says.
    #[error("it has {found} bytes where its header asks for {expected}")]
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes that the header asks for.
        expected: u64,
    },
    /// The header asks for more than any segment may have.
    #[error("its header asks for more memory than any table may have")]
    TooLarge,
    /// Counters with a number of shards that there can't be.
    #[error("its header says {found} shards; there can be 1, 2, 4 or 8")]
    Shards {
        /// In the header.
        found: u32,
    },
    /// It could be changed under us.
    #[error("it lacks the seals {missing}")]
    Unsealed {
        /// Names of the seals.
        missing: String,
    },
}

/// A segment's first lines, mapped to be checked before the whole is.
#[cfg(not(loom))]
pub(crate) struct AttachedHeader {
    pub(crate) words: Words,
    bytes: u64,
}

#[cfg(not(loom))]
impl AttachedHeader {
    pub(crate) fn open(file: &OwnedFd, seals: rustix::fs::SealFlags) -> Result<Self, AttachError> {
        let (bytes, found) = memory::size_and_seals(file)?;
        let missing = seals.difference(found);
        if !missing.is_empty() {
            let missing = missing.iter_names().map(|(name, _)| name).collect::<Vec<_>>();
            return Err(AttachError::Unsealed { missing: missing.join(", ") });
        }
        if bytes < BANKS_AT as u64 * 4 {
            return Err(AttachError::Size { found: bytes, expected: BANKS_AT as u64 * 4 });
        }
        Ok(Self { words: memory::map(file, BANKS_AT, false)?, bytes })
    }

    /// Holds the words at these offsets against `magic` and the version that this build knows.
    pub(crate) fn expect_kind(&self, at: [usize; 2], magic: u32) -> Result<(), AttachError> {
        use crate::layout::VERSION;
        let [found, version] = at.map(|at| self.words.at(at).load(Relaxed));
        if found != magic {
            return Err(AttachError::Magic { found, expected: magic });
        }
        let found = version;
        if found != VERSION {
            return Err(AttachError::Version { found, expected: VERSION });
        }
        Ok(())
    }

    /// The layout of a table with this header.
    fn expect_table(&self) -> Result<Layout, AttachError> {
        self.expect_kind([MAGIC_AT, VERSION_AT], MAGIC)?;
        let capacity: [u32; 6] =
            std::array::from_fn(|i| self.words.at(CAPACITY_AT + i).load(Relaxed));
        let layout = Layout::new(Capacity::from_words(capacity)).ok_or(AttachError::TooLarge)?;
        self.expect_words(layout.words)?;
        Ok(layout)
    }

    pub(crate) fn expect_words(&self, words: usize) -> Result<(), AttachError> {
        let expected = words as u64 * 4;
        if self.bytes != expected {
            return Err(AttachError::Size { found: self.bytes, expected });
        }
        Ok(())
    }
}
