//! Pointsman's service table and counters in shared memory, and the picker that reads them.
//!
//! The agent writes a table for each service. Programs map it and pick an endpoint per request
//! without a system call. They count starts and ends in counters of their own. The agent sums these
//! counters into the next publication of load. `vectors/README.md` describes the layout word by
//! word. It also has tables and seeds, with the picks that an implementation in any language must
//! make from them.
//!
//! ```
//! use pointsman_table::{
//!     Capacity, Cell, Counters, EndpointRecord, Group, Outcome, Picker, Request, Structure,
//!     TableWriter, alias_rows,
//! };
//!
//! // The agent: two endpoints, the second with twice the weight.
//! let mut writer = TableWriter::on_heap(Capacity::for_endpoints(2));
//! let rows = alias_rows(&[(0, 1.0), (1, 2.0)]);
//! let endpoint = |slot, at: &str| EndpointRecord::new(slot, at.parse().unwrap());
//! for slot in [0, 1] {
//!     writer.write_cell(slot, &Cell { slope: 1.0, ..Cell::default() });
//! }
//! writer.write_structure(&Structure {
//!     groups: vec![Group { rows: rows.len() as u32, ..Group::default() }],
//!     rows,
//!     ring: vec![],
//!     endpoints: vec![endpoint(0, "10.0.0.1:80"), endpoint(1, "10.0.0.2:80")],
//! })?;
//! writer.publish();
//!
//! // A caller's thread.
//! let table = writer.table();
//! let counters = Counters::on_heap(table.capacity().slots, 1);
//! let mut picker: Picker = Picker::new(table, counters, 7, None);
//! let pick = picker.pick(&Request::default()).expect("an endpoint");
//! let address = picker.endpoint(pick.slot).expect("a record").address;
//! assert!(address.port() == 80);
//! picker.end(pick.slot, pick.cost, Outcome::Success, Some(1_500));
//! # Ok::<(), pointsman_table::StructureError>(())
//! ```
//!
//! In reading order:
//! - [`layout`]: every offset and capacity of a table.
//! - `memory`: words on the heap or in a sealed memfd; `atomic`: std's or loom's.
//! - `structure`: groups, rows, endpoints; `bank_codec`: the same as words; `alias`: weighted draws.
//! - `table`: attaching, load cells, flags; `writer`: writes a table; `reader`: reads a structure
//!   while it may be rewritten; `pick_plan`: a structure prepared for picks.
//! - `pick`: a pick's parameters and its result; `picker`: the pick, from end to end; `score`: the score of a slot; `candidates`: the slots that
//!   a pick compares; `fallback`: no winner, or a winner that is too loaded; `observe`: explains a
//!   pick; `random`: the generator.
//! - [`counters`]: what callers count, and where; `shard`: counts; `sweep`: sums the counters;
//!   `page_sums`: sums one page quickly.
//! - [`wake`]: wakes an agent that sleeps; `liveness`: detects an agent that has died.

mod alias;
mod atomic;
mod bank_codec;
mod candidates;
pub mod counters;
mod fallback;
pub mod layout;
mod liveness;
mod memory;
mod observe;
mod page_sums;
mod pick;
mod pick_plan;
mod picker;
mod random;
mod reader;
mod score;
mod shard;
mod structure;
mod sweep;
mod table;
pub mod wake;
mod writer;

pub use alias::alias_rows;
pub use counters::Counters;
pub use layout::Capacity;
pub use liveness::Liveness;
pub use observe::{Candidate, Explanation};
pub use pick::{Pick, Request};
pub use picker::Picker;
pub use random::Random;
pub use shard::{Atomic, Form, Outcome, ServerLoad, SingleWriter};
pub use structure::{
    CapacityExceeded, EndpointRecord, Group, Malformed, Mode, Row, Structure, StructureError,
};
pub use sweep::{Differences, Punched, Sweep, Visit};
#[cfg(not(loom))]
pub use table::AttachError;
pub use table::{Cell, Table};
pub use wake::Waker;
pub use writer::TableWriter;
