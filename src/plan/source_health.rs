//! Applies the health that the source tells. Unready endpoints are never picked. Draining ones are
//! picked only when none is ready, and braked ones only after all others.

use super::{Draft, Factor, Inputs, PlannedEndpoint, State};
use crate::catalog::Health;

/// Applies the source's health.
pub struct SourceHealth;

impl Factor for SourceHealth {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        // Only eligible endpoints, and no braked ones: the source no longer lists those, while it
        // does list a draining endpoint.
        let any_ready = (draft.endpoints.iter())
            .filter(|planned| planned.is_ready())
            .any(|planned| planned.endpoint.health == Health::Ready && planned.endpoint.weight > 0);
        for (index, endpoint) in inputs.endpoints.iter().enumerate() {
            if draft.endpoints[index].state == State::Out {
                continue;
            }
            match endpoint.health {
                Health::Ready => {}
                Health::Unready => {
                    draft.take_out(index, State::Out, "health", "the source calls it unready");
                }
                Health::Draining if any_ready => {
                    draft.take_out(index, State::Out, "health", "draining, and others are ready");
                }
                Health::Draining => {
                    draft.scale(index, "health", 1.0, "draining, but nothing is ready");
                }
            }
        }
        let draining = |it: &PlannedEndpoint| {
            it.state == State::Serving && it.endpoint.health == Health::Draining
        };
        if !any_ready && draft.endpoints.iter().any(draining) {
            draft.notes.push("no endpoint is ready: draining ones serve".into());
        }
    }
}
