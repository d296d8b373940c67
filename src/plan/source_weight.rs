//! Applies the weights of the source. They are scaled to average 1 over the endpoints of a priority that
//! the source calls ready. So scores are in requests, an ejection leaves the scores of the others alone,
//! and endpoints that stand in for others may have weights of another scale.

use std::collections::BTreeMap;

use super::{Draft, Factor, Inputs, State};

/// Applies the source's weights.
pub struct SourceWeight;

impl Factor for SourceWeight {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        // By priority: the sum of the weights, and how many there are.
        let mut listed: BTreeMap<u8, (f64, f64)> = BTreeMap::new();
        for (index, endpoint) in inputs.endpoints.iter().enumerate() {
            if draft.endpoints[index].state == State::Out {
                continue;
            }
            if endpoint.weight == 0 {
                draft.take_out(index, State::Out, "weight", "the source gives it weight 0");
                draft.endpoints[index].weight = 0.0;
            } else {
                let (sum, count) = listed.entry(endpoint.priority).or_default();
                *sum += f64::from(endpoint.weight);
                *count += 1.0;
            }
        }
        for (index, endpoint) in inputs.endpoints.iter().enumerate() {
            if draft.endpoints[index].state == State::Out {
                continue;
            }
            let Some((sum, count)) = listed.get(&endpoint.priority) else { continue };
            let mean = sum / count;
            let weight = f64::from(endpoint.weight) / mean;
            if weight != 1.0 {
                let reason = format!("weight {} of {mean:.1} on average", endpoint.weight);
                draft.scale(index, "weight", weight, reason);
            }
        }
    }
}
