//! The conformance vectors: their file format, and how they are made.
//!
//! The expected results come from the reference picker, not from the real one.
#![allow(dead_code, reason = "the example writes them, the test reads them")]

mod all;
mod maker;
mod numbers;
mod segments;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use all::all;

/// A file of `vectors/`. `vectors/README.md` explains its fields.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) seed: u32,
    pub(crate) image: String,
    pub(crate) steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counters: Option<Counted>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    Pick {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<u32>,
        #[serde(default = "one", skip_serializing_if = "is_one")]
        cost: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        expect: Vec<Option<u32>>,
    },
    Start {
        slot: u32,
        #[serde(default = "one", skip_serializing_if = "is_one")]
        cost: u32,
    },
    End {
        slot: u32,
        #[serde(default = "one", skip_serializing_if = "is_one")]
        cost: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latency_us: Option<u32>,
    },
    Cell {
        slot: u32,
        base: f32,
        slope: f32,
        knee: f32,
        hot_base: f32,
        hot_slope: f32,
        limit: i32,
    },
    Publish {
        publication: u32,
    },
    Image {
        image: String,
    },
    Retried,
    Report {
        slot: u32,
        utilization: f32,
        in_flight: u32,
        qps: f32,
        eps: f32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Success,
    Failure,
    Unreachable,
    Expired,
    Cancelled,
    Rejected,
}

/// The expected content of the counters at the end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) slots: u32,
    pub(crate) shards: u32,
    /// Words whose value the implementation chooses. Only 0 is not allowed.
    pub(crate) not_zero: Vec<usize>,
    /// All other words that are not 0.
    pub(crate) words: BTreeMap<usize, u32>,
}

fn one() -> u32 {
    1
}

fn is_one(cost: &u32) -> bool {
    *cost == 1
}

impl Case {
    /// The text of the file, with one step per line.
    pub(crate) fn to_json(&self) -> String {
        fn json(of: &impl Serialize) -> String {
            serde_json::to_string(of).unwrap()
        }
        let steps: Vec<_> = self.steps.iter().map(|step| format!("    {}", json(step))).collect();
        let counters =
            self.counters.iter().map(|counted| format!(",\n  \"counters\": {}", json(counted)));
        format!(
            "{{\n  \"name\": {},\n  \"about\": {},\n  \"seed\": {},\n  \"image\": {},\n  \
             \"steps\": [\n{}\n  ]{}\n}}\n",
            json(&self.name),
            json(&self.about),
            self.seed,
            json(&self.image),
            steps.join(",\n"),
            counters.collect::<String>()
        )
    }
}

/// The files of `vectors/`, by name.
pub(crate) fn files() -> BTreeMap<String, Vec<u8>> {
    all().into_iter().flatten().collect()
}
