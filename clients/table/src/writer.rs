//! The agent's end of a table: the one thread that writes it.

#[cfg(not(loom))]
use std::{io, os::fd::OwnedFd};
use std::{net::SocketAddr, sync::Arc};

use crate::{
    atomic::{Relaxed, Release, fence},
    bank::{address_words, encode},
    layout::{
        ASLEEP_AT, CAPACITY_AT, Capacity, DETACH_AFTER_AT, GENERATION_AT, HEARTBEAT_AT,
        LAST_RESORT_ADDRESS_AT, LAST_RESORT_PORT_AT, Layout, MAGIC, MAGIC_AT, PERIOD_AT,
        PUBLICATION_AT, RETRY_BUDGET_AT, SUPERSEDED_AT, VERSION, VERSION_AT, next_generation,
        next_publication,
    },
    memory::Words,
    structure::{CapacityExceeded, Structure, StructureError},
    table::{Cell, Table},
};

/// Writes one table. There is one writer of a table, and one thread at a time that uses it.
#[derive(Debug)]
pub struct TableWriter {
    table: Arc<Table>,
    generation: u32,
    publication: u32,
    heartbeat: u32,
    refused_cells: u64,
    #[cfg(not(loom))]
    file: Option<OwnedFd>,
}

impl TableWriter {
    /// A table in a sealed memfd, to be handed to other processes. `name` appears in
    /// `/proc/PID/maps`.
    ///
    /// # Errors
    /// The system's, and `InvalidInput` for a capacity beyond any table (1 GiB).
    #[cfg(not(loom))]
    pub fn create(capacity: Capacity, name: &str) -> io::Result<Self> {
        use crate::memory;
        let layout = Layout::new(capacity).ok_or(io::ErrorKind::InvalidInput)?;
        let mode = rustix::fs::Mode::RUSR;
        let (words, file) = memory::create(name, layout.words, memory::TABLE_SEALS, mode)?;
        Ok(Self { file: Some(file), ..Self::over(words, layout) })
    }

    /// A table of this process alone, for tests and the simulator; panics for a capacity beyond
    /// any table (1 GiB).
    pub fn on_heap(capacity: Capacity) -> Self {
        let layout = Layout::new(capacity).expect("a table has at most 1 GiB");
        Self::over(Words::on_heap(layout.words), layout)
    }

    fn over(words: Words, layout: Layout) -> Self {
        let constants = [(MAGIC_AT, MAGIC), (VERSION_AT, VERSION)];
        let capacity = layout.capacity.to_words().into_iter().enumerate();
        for (at, value) in constants.into_iter().chain(capacity.map(|(i, v)| (CAPACITY_AT + i, v)))
        {
            words.at(at).store(value, Relaxed);
        }
        Self {
            table: Arc::new(Table::over(words, layout)),
            generation: 0,
            publication: 0,
            heartbeat: 0,
            refused_cells: 0,
            #[cfg(not(loom))]
            file: None,
        }
    }

    /// The table for readers in this process: they share the mapping.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table)
    }

    /// A new descriptor of the table for another process, which can only read it.
    ///
    /// # Errors
    /// The system's (`/proc` has to be mounted), and `Unsupported` for a table on the heap.
    #[cfg(not(loom))]
    pub fn reader_fd(&self) -> io::Result<OwnedFd> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        crate::memory::reopen_read_only(file)
    }

    /// Publishes a structure as the next generation, whose number it gives back. The cells of new
    /// slots have to be written before; a slot whose cell was never written is closed.
    ///
    /// # Errors
    /// It does not fit, or no picker could follow it. Nothing was written then.
    pub fn write_structure(&mut self, structure: &Structure) -> Result<u32, StructureError> {
        let runs = encode(structure, self.table.layout())?;
        Ok(self.write_runs(&runs))
    }

    fn write_runs(&mut self, runs: &[(usize, Vec<u32>)]) -> u32 {
        let generation = next_generation(self.generation);
        let bank = self.table.layout().bank_of(generation);
        // No word of this bank may be seen before the generation that made it idle: a reader that
        // sees one of them sees that generation too when it looks again, and discards its copy.
        #[cfg(not(no_writer_fence))]
        fence(Release);
        for (offset, words) in runs {
            for (index, word) in words.iter().enumerate() {
                self.store(bank + offset + index, *word);
            }
        }
        self.table.words().at(GENERATION_AT).store(generation, Release);
        self.generation = generation;
        generation
    }

    /// Writes the load of a slot. It counts from now on for pickers that look; `publish` tells
    /// them that what they added themselves is in it. A cell that is not sound (see
    /// [`Cell::is_sound`]) or of a slot beyond the table is a mistake of the caller's: a debug
    /// build panics, a release build leaves the cell as it was and counts it.
    pub fn write_cell(&mut self, slot: u32, cell: &Cell) {
        let layout = self.table.layout();
        if slot >= layout.capacity.slots || !cell.is_sound() {
            self.refused_cells += 1;
            debug_assert!(false, "{cell:?} for slot {slot} of {}", layout.capacity.slots);
            return;
        }
        let at = layout.cells + Layout::cell(slot);
        for (word, value) in cell.to_words().into_iter().enumerate() {
            self.store(at + word, value);
        }
    }

    /// How many cells were not written because they were not sound.
    pub fn refused_cells(&self) -> u64 {
        self.refused_cells
    }

    /// Tells readers that the cells are those of a new sweep: what they started and ended before
    /// is in them. Gives back the publication's number.
    pub fn publish(&mut self) -> u32 {
        self.beat();
        self.publication = next_publication(self.publication);
        self.table.words().at(PUBLICATION_AT).store(self.publication, Release);
        self.publication
    }

    /// A sign of life without a publication, for an agent that sleeps.
    pub fn beat(&mut self) {
        self.heartbeat = self.heartbeat.wrapping_add(1);
        self.store(HEARTBEAT_AT, self.heartbeat);
    }

    /// How often load is published, in microseconds.
    pub fn set_period_us(&mut self, period: u32) {
        self.store(PERIOD_AT, period);
    }

    /// After how many microseconds without a publication callers detach.
    pub fn set_detach_after_us(&mut self, detach_after: u32) {
        self.store(DETACH_AFTER_AT, detach_after);
    }

    /// How many retries a process may add, in thousandths of its requests.
    pub fn set_retry_budget(&mut self, budget: u32) {
        self.store(RETRY_BUDGET_AT, budget);
    }

    /// Says that nothing will be published until somebody wakes the agent, or that this is over.
    /// Before sleeping the agent calls [`barrier`](crate::wake::barrier) and looks at all counters
    /// once more.
    pub fn set_asleep(&mut self, asleep: bool) {
        self.store(ASLEEP_AT, u32::from(asleep));
    }

    /// Says that another table has taken this one's place, and publishes the structure again as a
    /// new generation: readers look at the flag when they notice a generation.
    pub fn supersede(&mut self) {
        let words = self.table.words();
        words.at(SUPERSEDED_AT).store(1, Relaxed);
        let layout = *self.table.layout();
        let bank = layout.bank_of(self.generation);
        let copy = (0..layout.bank).map(|word| words.at(bank + word).load(Relaxed)).collect();
        self.write_runs(&[(0, copy)]);
    }

    /// Where requests go when the agent has been gone too long to trust any endpoint. To be set
    /// before the table is handed out.
    pub fn set_last_resort(&mut self, address: Option<SocketAddr>) {
        let words = self.table.words();
        words.at(LAST_RESORT_PORT_AT).store(0, Relaxed);
        if let Some(address) = address {
            for (index, word) in address_words(address.ip()).into_iter().enumerate() {
                self.store(LAST_RESORT_ADDRESS_AT + index, word);
            }
            words.at(LAST_RESORT_PORT_AT).store(u32::from(address.port()), Release);
        }
    }

    /// The generation and the publication that were written last, to go on from those of another
    /// table (a picker of both then never takes one's number for the other's).
    pub fn numbers(&self) -> (u32, u32) {
        (self.generation, self.publication)
    }

    /// Goes on from these numbers instead of from 0. To be called before the first structure.
    pub fn start_from(&mut self, generation: u32, publication: u32) {
        debug_assert_eq!(self.numbers(), (0, 0), "readers may be in the bank");
        self.generation = generation;
        self.publication = publication;
    }

    /// The bytes of the table as they are now.
    pub fn image(&self) -> Vec<u8> {
        let words = self.table.words();
        (0..words.len()).flat_map(|word| words.at(word).load(Relaxed).to_le_bytes()).collect()
    }

    /// Puts an image in the place of the table's bytes, generation and publication last, and goes
    /// on from its numbers: to replay what was recorded, as conformance tests do.
    ///
    /// # Errors
    /// [`AttachError`](crate::AttachError): it is no image of a table of this capacity.
    #[cfg(not(loom))]
    pub fn overwrite(&mut self, image: &[u8]) -> Result<(), crate::AttachError> {
        let other = Table::from_image(image)?;
        let (words, ours) = (other.words(), self.table.words());
        if other.capacity() != self.table.capacity() {
            let bytes = |words: &Words| words.len() as u64 * 4;
            return Err(crate::AttachError::Size { found: bytes(words), expected: bytes(ours) });
        }
        let last = [PUBLICATION_AT, GENERATION_AT];
        for word in (0..words.len()).filter(|word| !last.contains(word)) {
            self.store(word, words.at(word).load(Relaxed));
        }
        for word in last {
            ours.at(word).store(words.at(word).load(Relaxed), Release);
        }
        (self.generation, self.publication) = (other.generation(), other.publication());
        Ok(())
    }

    /// Whether `structure` would fit into a table of `capacity`, so that a larger one can be made
    /// before anything is written.
    ///
    /// # Errors
    /// What there is too much of, or what is wrong with it.
    pub fn fits(structure: &Structure, capacity: Capacity) -> Result<(), StructureError> {
        let layout = Layout::new(capacity).ok_or(CapacityExceeded {
            what: "words",
            needed: u64::MAX,
            capacity: crate::layout::MAX_WORDS as u32,
        })?;
        encode(structure, &layout).map(|_| ())
    }

    fn store(&self, at: usize, value: u32) {
        self.table.words().at(at).store(value, Relaxed);
    }
}
