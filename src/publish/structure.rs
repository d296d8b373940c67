//! From a plan to the structure of a table: shares to thresholds, draws to alias rows.

use pointsman_table::{EndpointRecord, Group, Mode, Structure, alias_rows};

use crate::plan::Plan;

/// The structure that makes callers pick as the plan says. `slots` by the plan's endpoints;
/// thresholds in units of in-flight terms are shrunk as these are.
pub fn structure(plan: &Plan, slots: &[u32], shrink: f64) -> Structure {
    let mut structure = Structure::default();
    let mut cumulative = 0.0;
    let last_share = plan.groups.iter().rposition(|g| g.share > 0.0);
    for (index, group) in plan.groups.iter().enumerate() {
        cumulative += group.share;
        let rows = alias_rows(
            &group
                .members
                .iter()
                .map(|m| (slots[*m as usize], plan.endpoints[*m as usize].draw))
                .collect::<Vec<_>>(),
        );
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
                incarnation: 0,
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

fn threshold(cumulative: f64) -> u32 {
    (cumulative * f64::from(u32::MAX)) as u32
}
