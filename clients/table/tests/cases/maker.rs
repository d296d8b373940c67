//! Makes a case: writes images with the writer, and gets the expected results from the reference.

use pointsman_table::{
    Capacity, Cell, EndpointRecord, Group, Mode, Row, Structure, TableWriter, alias_rows,
};

use super::{Case, Counted, Outcome, Step};
use crate::reference::{Published, Question, Reference};

/// Room for the small tables that the cases need.
pub(crate) const SMALL: Capacity =
    Capacity { groups: 4, rows: 16, ring: 16, slots: 8, endpoints: 8, text: 64 };

pub(crate) type Files = Vec<(String, Vec<u8>)>;

pub(crate) fn idle() -> Cell {
    Cell { slope: 1.0, ..Cell::default() }
}

pub(crate) fn flat(base: f32) -> Cell {
    Cell { base, slope: 0.0, ..idle() }
}

pub(crate) struct Maker {
    writer: TableWriter,
    structure: Structure,
    cells: Vec<Cell>,
    publication: u32,
    reference: Reference,
    case: Case,
    images: Files,
    written: bool,
}

impl Maker {
    pub(crate) fn new(name: &str, seed: u32, about: &str) -> Self {
        Self::with(SMALL, (0, 0), name, seed, about)
    }

    /// `numbers`: the generation and the publication before the first image.
    pub(crate) fn with(
        capacity: Capacity,
        numbers: (u32, u32),
        name: &str,
        seed: u32,
        about: &str,
    ) -> Self {
        let mut writer = TableWriter::on_heap(capacity);
        writer.start_from(numbers.0, numbers.1);
        Self {
            writer,
            structure: Structure::default(),
            cells: vec![Cell { limit: 0, knee: 0.0, ..Cell::default() }; capacity.slots as usize],
            publication: 0,
            reference: Reference::new(seed),
            case: Case {
                name: name.into(),
                about: about.into(),
                seed,
                image: format!("{name}.bin"),
                steps: vec![],
                counters: None,
            },
            images: vec![],
            written: false,
        }
    }

    /// Adds a group of slots and weights, and opens the slots.
    pub(crate) fn group(&mut self, weights: &[(u32, f64)], group: Group) -> &mut Self {
        let rows = alias_rows(weights);
        let first_row = self.structure.rows.len() as u32;
        let group = Group { first_row, rows: rows.len() as u32, ..group };
        self.structure.groups.push(group);
        self.structure.rows.extend(rows);
        for (slot, _) in weights {
            self.cell(*slot, idle());
        }
        self
    }

    /// Changes a row.
    pub(crate) fn row(&mut self, row: usize, change: impl FnOnce(Row) -> Row) -> &mut Self {
        let row = &mut self.structure.rows[row];
        *row = change(*row);
        self
    }

    /// Adds a hashed group.
    pub(crate) fn ring(&mut self, ring: &[u32], group: Group) -> &mut Self {
        let first_row = self.structure.ring.len() as u32;
        let rows = ring.len() as u32;
        self.structure.groups.push(Group { mode: Mode::Hashed, first_row, rows, ..group });
        self.structure.ring.extend(ring);
        for slot in ring {
            self.cell(*slot, idle());
        }
        self
    }

    pub(crate) fn last_resort(&mut self, address: &str) -> &mut Self {
        self.writer.set_last_resort(address.parse().unwrap());
        self
    }

    pub(crate) fn endpoint(&mut self, endpoint: EndpointRecord) -> &mut Self {
        self.structure.endpoints.push(endpoint);
        self
    }

    /// Removes all groups, before the structure of the next generation.
    pub(crate) fn restructure(&mut self) -> &mut Self {
        self.structure = Structure::default();
        self
    }

    pub(crate) fn cell(&mut self, slot: u32, cell: Cell) -> &mut Self {
        self.cells[slot as usize] = cell;
        self.writer.write_cell(slot, &cell);
        if self.written {
            let Cell { base, slope, knee, hot_base, hot_slope, limit } = cell;
            self.step(Step::Cell { slot, base, slope, knee, hot_base, hot_slope, limit });
        }
        self
    }

    pub(crate) fn cells(&mut self, cells: impl IntoIterator<Item = (u32, Cell)>) -> &mut Self {
        for (slot, cell) in cells {
            self.cell(slot, cell);
        }
        self
    }

    /// Publishes the structure and the cells as an image of the case.
    pub(crate) fn image(&mut self) -> &mut Self {
        self.writer.write_structure(&self.structure).unwrap();
        self.publication = self.writer.publish();
        let image = if self.images.is_empty() {
            self.case.image.clone()
        } else {
            let image = format!("{}.{}.bin", self.case.name, self.images.len() + 1);
            self.step(Step::Image { image: image.clone() });
            image
        };
        self.images.push((image, self.writer.image()));
        self.written = true;
        self
    }

    pub(crate) fn publish(&mut self) -> &mut Self {
        self.publication = self.writer.publish();
        self.step(Step::Publish { publication: self.publication })
    }

    pub(crate) fn picks(&mut self, count: usize) -> &mut Self {
        self.requests(count, &[], 1, None)
    }

    pub(crate) fn without(&mut self, exclude: &[u32], count: usize) -> &mut Self {
        self.requests(count, exclude, 1, None)
    }

    pub(crate) fn of_cost(&mut self, cost: u32, count: usize) -> &mut Self {
        self.requests(count, &[], cost, None)
    }

    pub(crate) fn by_key(&mut self, key: &str, count: usize) -> &mut Self {
        self.requests(count, &[], 1, Some(key))
    }

    fn requests(
        &mut self,
        count: usize,
        exclude: &[u32],
        cost: u32,
        key: Option<&str>,
    ) -> &mut Self {
        let mut expect = vec![];
        for _ in 0..count {
            let published = Published {
                structure: &self.structure,
                cells: &self.cells,
                publication: self.publication,
            };
            let question = Question { exclude, key: key.map(str::as_bytes) };
            let slot = self.reference.pick(&published, question);
            if let Some(slot) = slot {
                self.reference.add(slot, self.publication, cost as i32);
            }
            expect.push(slot);
        }
        let key = key.map(str::to_owned);
        self.step(Step::Pick { exclude: exclude.to_vec(), cost, key, expect })
    }

    pub(crate) fn start(&mut self, slot: u32, cost: u32) -> &mut Self {
        self.reference.add(slot, self.publication, cost as i32);
        self.step(Step::Start { slot, cost })
    }

    pub(crate) fn end(&mut self, slot: u32, cost: u32) -> &mut Self {
        self.reference.add(slot, self.publication, -(cost as i32));
        self.step(Step::End { slot, cost, outcome: None, latency_us: None })
    }

    pub(crate) fn end_as(
        &mut self,
        slot: u32,
        cost: u32,
        outcome: Outcome,
        latency_us: Option<u32>,
    ) -> &mut Self {
        self.reference.add(slot, self.publication, -(cost as i32));
        self.step(Step::End { slot, cost, outcome: Some(outcome), latency_us })
    }

    pub(crate) fn step(&mut self, step: Step) -> &mut Self {
        self.case.steps.push(step);
        self
    }

    pub(crate) fn counters(&mut self, counted: Counted) -> &mut Self {
        self.case.counters = Some(counted);
        self
    }

    /// The picks of the last step.
    pub(crate) fn last(&self) -> &[Option<u32>] {
        let picks = self.case.steps.iter().rev().find_map(|step| match step {
            Step::Pick { expect, .. } => Some(&expect[..]),
            _ => None,
        });
        picks.unwrap_or_default()
    }

    pub(crate) fn files(&mut self) -> Files {
        let json = (format!("{}.json", self.case.name), self.case.to_json().into_bytes());
        std::mem::take(&mut self.images).into_iter().chain([json]).collect()
    }
}
