//! Applies the weights of the source. They are scaled to average 1 over the endpoints that the
//! source calls ready. So scores are in requests, and an ejection leaves the scores of the others
//! alone.

use super::{Draft, Factor, Inputs, State};

/// Applies the source's weights.
pub struct SourceWeight;

impl Factor for SourceWeight {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        let mut sum = 0.0;
        let mut count = 0u32;
        for (index, endpoint) in inputs.endpoints.iter().enumerate() {
            if draft.endpoints[index].state == State::Out {
                continue;
            }
            if endpoint.weight == 0 {
                draft.take_out(index, State::Out, "weight", "the source gives it weight 0");
            } else {
                sum += f64::from(endpoint.weight);
                count += 1;
            }
        }
        if count == 0 {
            return;
        }
        let mean = sum / f64::from(count);
        for (index, endpoint) in inputs.endpoints.iter().enumerate() {
            let weight = f64::from(endpoint.weight) / mean;
            if draft.endpoints[index].state != State::Out && weight != 1.0 {
                let reason = format!("weight {} of {mean:.1} on average", endpoint.weight);
                draft.scale(index, "weight", weight, reason);
            }
        }
    }
}
