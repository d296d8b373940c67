//! Pointsman's service table and counters in shared memory, and the picker that reads them.
//!
//! The agent writes a table for each service; programs map it, pick an endpoint per request
//! without a system call, and count what they do in counters of their own, which the agent adds up
//! into the next publication of load. `vectors/README.md` has the layout word by word, and tables
//! and seeds with the picks that every language has to make of them.
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
//! - `structure`: groups, rows, endpoints; `bank`: the same as words; `alias`: weighted draws.
//! - `table`: attaching, load cells, flags; `writer`: the agent's end; `reader`: reading a
//!   structure that is being rewritten; `plan`: a structure made ready for picks.
//! - `picker`: the pick, from end to end; `view`: the score; `candidates`: what is compared;
//!   `fallback`: no winner, or one that is too loaded; `observe`: explaining a pick;
//!   `random`: the generator.
//! - [`counters`]: what callers count, and where; `shard`: counting; `sweep`: adding up;
//!   `run`: copying counters quickly.
//! - [`wake`]: an agent that sleeps; `liveness`: one that is gone.

mod alias;
mod atomic;
mod bank;
mod candidates;
pub mod counters;
mod fallback;
pub mod layout;
mod liveness;
mod memory;
mod observe;
mod picker;
mod plan;
mod random;
mod reader;
mod run;
mod shard;
mod structure;
mod sweep;
mod table;
mod view;
pub mod wake;
mod writer;

pub use alias::alias_rows;
pub use counters::Counters;
pub use layout::Capacity;
pub use liveness::Liveness;
pub use observe::{Candidate, Explanation};
pub use picker::{Pick, Picker, Request};
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
