//! Turns a plan into the structure of a table: shares into thresholds, draw weights into alias
//! rows.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZeroU64,
};

use pointsman_table::{EndpointRecord, Group, Mode, Structure, alias_rows};

use crate::plan::{Plan, PlannedEndpoint};

/// The structure that makes callers pick as the plan demands. `slots` are in the order of the
/// plan's endpoints. Thresholds in units of in-flight terms shrink with these terms.
pub fn structure(plan: &Plan, slots: &[u32], shrink: f64) -> Structure {
    let mut structure = Structure::default();
    let mut cumulative = 0.0;
    let last_share = plan.groups.iter().rposition(|g| g.share > 0.0);
    for (index, group) in plan.groups.iter().enumerate() {
        cumulative += group.share;
        let drawn = |weight: fn(&PlannedEndpoint) -> f64| {
            let members = group.members.iter().map(|member| *member as usize);
            let drawn = members.map(|index| (slots[index], weight(&plan.endpoints[index])));
            alias_rows(&drawn.collect::<Vec<_>>())
        };
        let mut rows = drawn(PlannedEndpoint::drawn);
        if rows.is_empty() {
            // A table can't hold a group without a row, and the plan wants its endpoints picked.
            rows = drawn(|_| 1.0);
        }
        structure.groups.push(Group {
            threshold: if Some(index) >= last_share { u32::MAX } else { threshold(cumulative) },
            choices: group.choices,
            mode: Mode::Weighted,
            overflow: group.overflow.map(|o| o as u32),
            spill_at: if group.spill_at == f32::MAX {
                f32::MAX
            } else {
                group.spill_at * shrink as f32
            },
            spill_margin: group.spill_margin,
            first_row: structure.rows.len() as u32,
            rows: rows.len() as u32,
        });
        structure.rows.extend(rows);
    }
    structure.endpoints = plan
        .endpoints
        .iter()
        .zip(slots)
        .filter(|(planned, _)| planned.group.is_some())
        .map(|(planned, slot)| {
            let endpoint = &planned.endpoint;
            EndpointRecord {
                slot: *slot,
                address: endpoint.address,
                zone: endpoint.zone.clone().unwrap_or_default(),
                weight: endpoint.weight as f32,
                incarnation: incarnation(endpoint.pod),
                labels: endpoint
                    .labels
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect(),
            }
        })
        .collect();
    structure
}

/// What tells a pod from others that had its address: a part of the hash of its uid. 0: the source
/// names no pod.
fn incarnation(pod: Option<NonZeroU64>) -> u32 {
    pod.map_or(0, |pod| (pod.get() as u32).max(1))
}

/// Distinguishes structures without a copy of one, which would double the memory of an endpoint.
pub type Fingerprint = u64;

/// The fingerprint of the whole structure.
pub fn fingerprint(structure: &Structure) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    for group in &structure.groups {
        let spill = (group.spill_at.to_bits(), group.spill_margin.to_bits());
        let rows = (group.first_row, group.rows);
        (group.threshold, group.choices, group.mode == Mode::Hashed).hash(&mut hasher);
        (group.overflow, spill, rows).hash(&mut hasher);
    }
    for row in &structure.rows {
        (row.probability, row.alias, row.slot).hash(&mut hasher);
    }
    structure.ring.hash(&mut hasher);
    for endpoint in &structure.endpoints {
        (endpoint.slot, endpoint.address, &endpoint.zone).hash(&mut hasher);
        (endpoint.weight.to_bits(), endpoint.incarnation, &endpoint.labels).hash(&mut hasher);
    }
    hasher.finish()
}

fn threshold(cumulative: f64) -> u32 {
    (cumulative * f64::from(u32::MAX)) as u32
}
