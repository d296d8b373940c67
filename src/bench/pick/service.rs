//! The service that picks are measured on.

use std::sync::Arc;

use pointsman_table::{
    Capacity, Cell, Counters, EndpointRecord, Form, Group, Picker, Random, Structure, TableWriter,
    alias_rows,
};

pub(super) const ENDPOINTS: [u32; 3] = [3, 100, 10_000];
/// Requests that a thread has in flight.
pub(super) const UNDER_WAY: usize = 16;
/// One request in eight is timed, because the clock costs as much as a pick.
pub(super) const TIMED_EVERY: usize = 8;

/// A service with load on it.
pub(super) struct Service {
    pub(super) writer: TableWriter,
    pub(super) counters: Arc<Counters>,
}

impl Service {
    /// Weights from 1 to 7 and loads from 0 to 7, in random order, so that the processor can predict
    /// neither a comparison nor a memory access.
    pub(super) fn new(endpoints: u32, shards: u32) -> Self {
        let mut random = Random::new(9);
        let mut draw = |bound: u32| ((u64::from(random.draw()) * u64::from(bound)) >> 32) as u32;
        let mut weights: Vec<(u32, f64)> =
            (0..endpoints).map(|slot| (slot, f64::from(1 + slot % 7))).collect();
        for last in (1..weights.len()).rev() {
            weights.swap(last, draw(last as u32 + 1) as usize);
        }
        let mut writer = TableWriter::on_heap(Capacity::for_endpoints(endpoints));
        for slot in 0..endpoints {
            let base = draw(8) as f32;
            writer.write_cell(slot, &Cell { base, slope: 1.0, ..Cell::default() });
        }
        let rows = alias_rows(&weights);
        let address = ([127, 0, 0, 1], 80).into();
        let structure = Structure {
            groups: vec![Group { rows: rows.len() as u32, ..Group::default() }],
            rows,
            ring: Vec::new(),
            endpoints: (0..endpoints).map(|slot| EndpointRecord::new(slot, address)).collect(),
        };
        writer.write_structure(&structure).expect("the table was made for so many endpoints");
        writer.publish();
        let counters = Counters::on_heap(writer.table().capacity().slots, shards);
        Self { writer, counters }
    }

    pub(super) fn picker<F: Form>(&self, seed: u32) -> Picker<F> {
        Picker::new(self.writer.table(), self.counters.clone(), seed, None)
    }
}
