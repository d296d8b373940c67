//! The real picker agrees with the format's specification, on any table and any sequence of requests.
#![cfg(not(loom))]

mod arbitrary;
mod reference;

use arbitrary::{CAPACITY, Operation, SLOTS, cases, cell, operation, structure};
use pointsman_table::{
    Atomic, Cell, Counters, Form, Outcome, Picker, Request, SingleWriter, Structure, TableWriter,
};
use proptest::prelude::*;
use reference::{Published, Question, Reference};

const OPERATIONS: usize = if cfg!(miri) { 12 } else { 60 };

/// The agent's numbers, both in a table and in a copy for the reference.
struct Agent {
    writer: TableWriter,
    structure: Structure,
    cells: Vec<Cell>,
    publication: u32,
}

impl Agent {
    fn new(structure: Structure, cells: Vec<Cell>) -> Self {
        let mut writer = TableWriter::on_heap(CAPACITY);
        for (slot, cell) in cells.iter().enumerate() {
            writer.write_cell(slot as u32, cell);
        }
        writer.write_structure(&structure).unwrap();
        let publication = writer.publish();
        Self { writer, structure, cells, publication }
    }

    fn published(&self) -> Published<'_> {
        Published { structure: &self.structure, cells: &self.cells, publication: self.publication }
    }
}

/// Runs the same operations on both and compares every pick.
fn agree<F: Form>(
    agent: &mut Agent,
    seed: u32,
    operations: &[Operation],
    explain: bool,
) -> Result<(), TestCaseError> {
    let counters = Counters::on_heap(SLOTS, 1);
    let mut picker: Picker<F> = Picker::new(agent.writer.table(), counters, seed, None);
    let mut reference = Reference::new(seed);
    for (step, operation) in operations.iter().enumerate() {
        match operation {
            Operation::Pick { exclude, cost, key } => {
                let question = Question { exclude, key: key.as_deref() };
                let expected = reference.pick(&agent.published(), question);
                let request = Request { exclude, cost: *cost, key: key.as_deref() };
                let picked =
                    if explain { picker.explained(&request).pick } else { picker.pick(&request) };
                prop_assert_eq!(picked.map(|pick| pick.slot), expected, "at step {}", step);
                if let Some(slot) = expected {
                    reference.add(slot, agent.publication, *cost as i32);
                }
            }
            Operation::Start(slot, cost) => {
                picker.start(*slot, *cost);
                reference.add(*slot, agent.publication, *cost as i32);
            }
            Operation::End(slot, cost) => {
                picker.end(*slot, *cost, Outcome::Success, None);
                reference.add(*slot, agent.publication, -(*cost as i32));
            }
            Operation::Cell(slot, cell) => {
                agent.writer.write_cell(*slot, cell);
                agent.cells[*slot as usize] = *cell;
            }
            Operation::Structure(structure) => {
                agent.writer.write_structure(structure).unwrap();
                agent.structure = structure.clone();
            }
            Operation::Publish => agent.publication = agent.writer.publish(),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn every_pick_is_the_references(
        structure in structure(),
        cells in prop::collection::vec(cell(), SLOTS as usize),
        seed in any::<u32>(),
        operations in prop::collection::vec(operation(), 1..OPERATIONS),
        explain in any::<bool>(),
    ) {
        let mut agent = Agent::new(structure, cells);
        agree::<Atomic>(&mut agent, seed, &operations, explain)?;
    }

    #[test]
    fn so_is_that_of_a_single_writer(
        structure in structure(),
        cells in prop::collection::vec(cell(), SLOTS as usize),
        seed in any::<u32>(),
        operations in prop::collection::vec(operation(), 1..OPERATIONS),
    ) {
        let mut agent = Agent::new(structure, cells);
        agree::<SingleWriter>(&mut agent, seed, &operations, false)?;
    }
}
