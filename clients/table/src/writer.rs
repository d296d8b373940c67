//! Writes a table. Only the agent does this, with one thread.

#[cfg(not(loom))]
use std::{io, os::fd::OwnedFd};
use std::{net::SocketAddr, sync::Arc};

use crate::{
    atomic::{Relaxed, Release, fence},
    bank_codec::{address_words, encode},
    layout::{
        ASLEEP_AT, CAPACITY_AT, Capacity, DETACH_AFTER_AT, GENERATION_AT, LAST_RESORT_ADDRESS_AT,
        LAST_RESORT_PORT_AT, Layout, MAGIC, MAGIC_AT, PERIOD_AT, PUBLICATION_AT, RETRY_BUDGET_AT,
        SUPERSEDED_AT, VERSION, VERSION_AT, next_generation, next_publication,
    },
    memory::Words,
    structure::{CapacityExceeded, Structure, StructureError},
    table::{Cell, Table},
};

/// Writes one table. A table has one writer, which one thread uses at a time.
#[derive(Debug)]
pub struct TableWriter {
    table: Arc<Table>,
    generation: u32,
    publication: u32,
    refused_cells: u64,
    #[cfg(not(loom))]
    file: Option<OwnedFd>,
}

impl TableWriter {
    /// A table in a sealed memfd, for other processes. `name` appears in `/proc/PID/maps`.
    ///
    /// # Errors
    /// An error of the system, and `InvalidInput` for a capacity above that of any table (1 GiB).
    #[cfg(not(loom))]
    pub fn create(capacity: Capacity, name: &str) -> io::Result<Self> {
        use crate::memory;
        let layout = Layout::new(capacity).ok_or(io::ErrorKind::InvalidInput)?;
        let mode = rustix::fs::Mode::RUSR;
        let (words, file) = memory::create(name, layout.words, memory::TABLE_SEALS, mode)?;
        Ok(Self { file: Some(file), ..Self::over(words, layout) })
    }

    /// A table that only this process can access, for tests and the simulator. Panics for a capacity
    /// above that of any table (1 GiB).
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
            refused_cells: 0,
            #[cfg(not(loom))]
            file: None,
        }
    }

    /// The table, for readers in this process. They share the mapping.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table)
    }

    /// A new read-only descriptor of the table, for another process.
    ///
    /// # Errors
    /// An error of the system (`/proc` has to be mounted), and `Unsupported` for a table on the heap.
    #[cfg(not(loom))]
    pub fn reader_fd(&self) -> io::Result<OwnedFd> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        crate::memory::reopen_read_only(file)
    }

    /// Publishes a structure as the next generation, and returns the number of that generation. Write
    /// the cells of new slots first: a slot whose cell was never written is closed.
    ///
    /// # Errors
    /// The structure does not fit, or no picker could use it. Then nothing was written.
    pub fn write_structure(&mut self, structure: &Structure) -> Result<u32, StructureError> {
        let runs = encode(structure, self.table.layout())?;
        Ok(self.write_runs(&runs))
    }

    fn write_runs(&mut self, runs: &[(usize, Vec<u32>)]) -> u32 {
        let generation = next_generation(self.generation);
        let bank = self.table.layout().bank_of(generation);
        // No word of this bank may be visible before the generation that made the bank idle. A reader
        // that sees such a word then also sees that generation in its check, and discards its copy.
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

    /// Writes the load of a slot. Picks that read the cell use it from now on. `publish` then tells the
    /// pickers that the cell includes their own counts. A cell that is not sound (see
    /// [`Cell::is_sound`]), or whose slot the table does not have, is a bug of the caller: a debug
    /// build panics; a release build keeps the old cell and counts the error.
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

    /// Tells readers that the cells come from a new sweep, which includes what they started and ended
    /// before. Returns the number of the publication.
    pub fn publish(&mut self) -> u32 {
        self.publication = next_publication(self.publication);
        self.table.words().at(PUBLICATION_AT).store(self.publication, Release);
        self.publication
    }

    /// Sets how often load is published, in microseconds.
    pub fn set_period_us(&mut self, period: u32) {
        self.store(PERIOD_AT, period);
    }

    /// Sets after how many microseconds without a publication callers detach.
    pub fn set_detach_after_us(&mut self, detach_after: u32) {
        self.store(DETACH_AFTER_AT, detach_after);
    }

    /// Sets how many retries a process may add, in thousandths of its requests.
    pub fn set_retry_budget(&mut self, budget: u32) {
        self.store(RETRY_BUDGET_AT, budget);
    }

    /// Sets whether the agent sleeps: it then publishes nothing until a caller wakes it. After the agent
    /// has set this it calls [`barrier`](crate::wake::barrier) and reads all counters once more. Only
    /// then may it sleep.
    pub fn set_asleep(&mut self, asleep: bool) {
        self.store(ASLEEP_AT, u32::from(asleep));
    }

    /// Marks the table as replaced by another one, and publishes the structure again as a new
    /// generation: readers check the mark when they notice a generation.
    pub fn supersede(&mut self) {
        let words = self.table.words();
        words.at(SUPERSEDED_AT).store(1, Relaxed);
        let layout = *self.table.layout();
        let bank = layout.bank_of(self.generation);
        let copy = (0..layout.bank).map(|word| words.at(bank + word).load(Relaxed)).collect();
        self.write_runs(&[(0, copy)]);
    }

    /// Sets where requests go when the agent has been gone for too long to trust any endpoint. It stays
    /// the same for the life of the table, so call this before the table is handed out.
    pub fn set_last_resort(&mut self, address: SocketAddr) {
        for (index, word) in address_words(address.ip()).into_iter().enumerate() {
            self.store(LAST_RESORT_ADDRESS_AT + index, word);
        }
        self.store(LAST_RESORT_PORT_AT, u32::from(address.port()));
    }

    /// The last written generation and publication. The table that replaces this one continues from
    /// them, so that a picker never confuses the numbers of the two.
    pub fn numbers(&self) -> (u32, u32) {
        (self.generation, self.publication)
    }

    /// Continues from these numbers instead of from 0. Call it before the first structure.
    pub fn start_from(&mut self, generation: u32, publication: u32) {
        debug_assert_eq!(self.numbers(), (0, 0), "readers may be in the bank");
        self.generation = generation;
        self.publication = publication;
    }

    /// A copy of the table's current bytes.
    pub fn image(&self) -> Vec<u8> {
        let words = self.table.words();
        (0..words.len()).flat_map(|word| words.at(word).load(Relaxed).to_le_bytes()).collect()
    }

    /// Replaces the table's bytes by an image, generation and publication last, and continues from the
    /// image's numbers. Conformance tests use it to replay a recording.
    ///
    /// # Errors
    /// [`AttachError`](crate::AttachError) if it is not an image of a table of this capacity.
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

    /// Checks whether `structure` would fit into a table of `capacity`, so that the agent can make a
    /// larger table before it writes anything.
    ///
    /// # Errors
    /// What exceeds the capacity, or what is wrong with the structure.
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
