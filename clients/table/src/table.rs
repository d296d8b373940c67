//! A service table, for readers. It is mapped and checked once, then read word by word.

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
    bank_codec::address_of,
    layout::{
        ASLEEP_AT, BANKS_AT, CELL_BASE, CELL_HOT_BASE, CELL_HOT_SLOPE, CELL_KNEE, CELL_LIMIT,
        CELL_SLOPE, CELL_WORDS, Capacity, DETACH_AFTER_AT, GENERATION_AT, LAST_RESORT_ADDRESS_AT,
        LAST_RESORT_PORT_AT, Layout, PERIOD_AT, PUBLICATION_AT, RETRY_BUDGET_AT, SUPERSEDED_AT,
    },
    memory::Words,
    pick_plan::Plan,
    reader::{self, Reading},
};

/// The load of a slot, as the coefficients of its score. With every strategy a score is
/// `base + slope x own` below the knee, and `hot_base + hot_slope x own` from the knee on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The score while `own` is 0.
    pub base: f32,
    /// What each of the caller's own requests since the publication adds.
    pub slope: f32,
    /// The slot is hot from this `own` on. `f32::MAX`: never.
    pub knee: f32,
    /// `base` of a hot slot.
    pub hot_base: f32,
    /// `slope` of a hot slot.
    pub hot_slope: f32,
    /// The slot may be picked only while `own` is below it. 0 closes the slot for any `own`.
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

    /// Whether it may be published: no number in it is negative, infinite or NaN. The limit may be
    /// negative, because it is the bound minus what is in flight.
    pub fn is_sound(&self) -> bool {
        [self.base, self.slope, self.knee, self.hot_base, self.hot_slope]
            .iter()
            .all(|number| number.is_finite() && *number >= 0.0)
    }
}

/// A read-only service table. It owns its mapping. All pickers of a process share it.
#[derive(Debug)]
pub struct Table {
    words: Words,
    layout: Layout,
    /// The last structure that was read. It is decoded once for all pickers, since it may be large.
    latest: Mutex<Latest>,
    slots_only: AtomicBool,
}

/// The plan to use, and the last generation that was examined. The plan is older if that generation
/// could not be used.
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

    /// Maps the table behind a descriptor that the agent sent, read-only. The descriptor is closed; the
    /// mapping stays. The sizes are read from the header once, here, and checked against the size of the
    /// file.
    ///
    /// # Errors
    /// [`AttachError`] if it is not a table, has another version, or lacks the seals of a table.
    #[cfg(not(loom))]
    pub fn from_fd(file: OwnedFd) -> Result<Arc<Self>, AttachError> {
        let header = AttachedHeader::open(&file, memory::TABLE_SEALS)?;
        let layout = header.expect_table()?;
        Ok(Arc::new(Self::over(memory::map(&file, layout.words, false)?, layout)))
    }

    /// A table over a copy of an image's bytes. With it tests check images of other implementations, and
    /// tools inspect an image offline.
    ///
    /// # Errors
    /// [`AttachError`] if the bytes are not exactly one table.
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

    /// Omits the endpoints from structures that are read from now on. This is for a process, such as the
    /// agent, that knows the endpoints behind the slots already. Endpoints are most of a structure.
    pub fn read_slots_only(&self) {
        self.slots_only.store(true, Ordering::Relaxed);
    }

    pub(crate) fn reads_slots_only(&self) -> bool {
        self.slots_only.load(Ordering::Relaxed)
    }

    /// The capacity of the table.
    pub fn capacity(&self) -> Capacity {
        self.layout.capacity
    }

    /// The generation of the current structure. 0 before the first one.
    pub fn generation(&self) -> u32 {
        self.load_acquire(GENERATION_AT)
    }

    /// The number of the last publication of load. 0 before the first one.
    pub fn publication(&self) -> u32 {
        self.load_acquire(PUBLICATION_AT)
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

    /// Whether the agent sleeps. It then publishes nothing until a caller wakes it.
    pub fn asleep(&self) -> bool {
        self.load(ASLEEP_AT) != 0
    }

    /// Whether another table has replaced this one.
    pub fn superseded(&self) -> bool {
        self.load(SUPERSEDED_AT) != 0
    }

    /// Where to send requests when the agent has been gone for too long to trust any endpoint: the
    /// service's virtual IP, if it has one. It stays the same for the life of the table.
    pub fn last_resort(&self) -> Option<SocketAddr> {
        let port = self.load(LAST_RESORT_PORT_AT);
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        let words = std::array::from_fn(|i| self.load(LAST_RESORT_ADDRESS_AT + i));
        Some(SocketAddr::new(address_of(words), port))
    }

    /// The current load cell of a slot. `None` for a slot that the table does not have.
    pub fn cell(&self, slot: u32) -> Option<Cell> {
        (slot < self.layout.capacity.slots).then(|| {
            let at = self.layout.cells + Layout::cell(slot);
            Cell::from_words(std::array::from_fn(|word| self.load(at + word)))
        })
    }

    /// The current plan, decoded. `None` while another thread decodes it: a caller with an older plan
    /// then keeps that one. A caller without a plan sets `wait`.
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

    /// A relaxed load and a fence. For memory that is mapped read-only, Rust guarantees no other
    /// ordering of a load.
    fn load_acquire(&self, at: usize) -> u32 {
        let value = self.load(at);
        fence(Acquire);
        value
    }
}

/// Why a descriptor or an image was refused.
#[cfg(not(loom))]
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The system refused.
    #[error("cannot map it: {0}")]
    Io(#[from] io::Error),
    /// It does not begin with the magic number.
    #[error("it begins with {found:#010x}, not with {expected:#010x}")]
    Magic {
        /// The word that stands in its place.
        found: u32,
        /// The magic number.
        expected: u32,
    },
    /// This build does not know its version of the layout.
    #[error("its layout has version {found}; this build reads version {expected}")]
    Version {
        /// The version in the header.
        found: u32,
        /// The version that this build knows.
        expected: u32,
    },
    /// The size of the file differs from what its header says.
    #[error("it has {found} bytes, but its header asks for {expected}")]
    Size {
        /// Bytes of the file.
        found: u64,
        /// Bytes according to the header.
        expected: u64,
    },
    /// The header asks for more than any segment may have.
    #[error("its header asks for more memory than any table may have")]
    TooLarge,
    /// The counters have an impossible number of shards.
    #[error("its header says {found} shards; there can be 1, 2, 4 or 8")]
    Shards {
        /// The number in the header.
        found: u32,
    },
    /// It lacks seals, so another process could change it.
    #[error("it lacks the seals {missing}")]
    Unsealed {
        /// The names of the missing seals.
        missing: String,
    },
}

/// The header of a segment. It is mapped and checked before the whole segment is mapped.
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

    /// Checks the words at these offsets against `magic` and the version that this build knows.
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

    /// The layout of the table that has this header.
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
