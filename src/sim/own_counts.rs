//! A rival without an agent: the real picker on a table in which no load is ever published.
//!
//! The code is the same as with an agent, so the difference is what the agent knows.

use std::net::{Ipv4Addr, SocketAddr};

use pointsman_table::{
    Capacity, Cell, Counters, EndpointRecord, Group, Outcome, Picker, Request, Structure,
    TableWriter, alias_rows,
};

use super::{
    chooser::Chooser,
    queue::Nanos,
    rng::{Purpose, RandomStream},
    scenario::Scenario,
    server::Server,
};

/// Each caller chooses the less loaded of two by its own requests.
pub struct OwnCounts {
    callers: Vec<Picker>,
}

impl OwnCounts {
    /// Makes a picker for each caller of the scenario.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let slots = scenario.backends.len() as u32;
        let mut writer = TableWriter::on_heap(Capacity::for_endpoints(slots));
        let endpoints: Vec<(SocketAddr, u32)> =
            (0..slots).map(address).zip(scenario.backends.iter().map(|b| b.weight)).collect();
        write_without_load(&mut writer, &endpoints, 2);
        let table = writer.table();
        let mut seeds = RandomStream::new(seed, Purpose::Choice);
        let counters = Counters::on_heap(table.capacity().slots, 1);
        let callers = scenario
            .callers
            .iter()
            .map(|_| Picker::new(table.clone(), counters.clone(), seeds.seed(), None));
        Self { callers: callers.collect() }
    }
}

impl Chooser for OwnCounts {
    type Ticket = u32;

    fn choose(&mut self, caller: usize, _: &[Server], _: Nanos) -> Option<(usize, u32)> {
        let pick = self.callers[caller].pick(&Request::default())?;
        Some((pick.slot as usize, pick.slot))
    }

    fn ended(&mut self, caller: usize, slot: u32, _: Nanos, _: Nanos) {
        self.callers[caller].end(slot, 1, Outcome::Success, None);
    }
}

/// Writes a table of these addresses and weights, and publishes it once, without load.
pub fn write_without_load(writer: &mut TableWriter, endpoints: &[(SocketAddr, u32)], choices: u32) {
    let sum: f64 = endpoints.iter().map(|(_, weight)| f64::from(*weight)).sum();
    let mean = sum / endpoints.len() as f64;
    let weights: Vec<(u32, f64)> =
        (0..).zip(endpoints.iter().map(|(_, weight)| f64::from(*weight) / mean)).collect();
    for &(slot, weight) in &weights {
        writer.write_cell(slot, &Cell { slope: (1.0 / weight) as f32, ..Cell::default() });
    }
    let rows = alias_rows(&weights);
    let record =
        |(slot, (address, _)): (u32, &(SocketAddr, u32))| EndpointRecord::new(slot, *address);
    let structure = Structure {
        groups: vec![Group { rows: rows.len() as u32, choices, ..Group::default() }],
        rows,
        ring: Vec::new(),
        endpoints: (0..).zip(endpoints).map(record).collect(),
    };
    writer.write_structure(&structure).expect("the table was made for so many endpoints");
    // Only once: callers count their own requests from here on.
    writer.publish();
}

/// The address of a simulated endpoint. Nothing is ever sent there.
pub(super) fn address(index: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + index), 80).into()
}
