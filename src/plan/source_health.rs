//! What the source says: unready ones are never picked, draining ones only when nothing is ready,
//! and what the brake kept only after all others.

use super::{Draft, Factor, Inputs, Planned, State};
use crate::catalog::Health;

/// The source's readiness and terminating rule.
pub struct SourceHealth;

impl Factor for SourceHealth {
    fn apply(&self, inputs: &Inputs<'_>, draft: &mut Draft) {
        // Of those that may serve at all, and not what the brake kept: the source no longer says
        // that it is there, while it does say so of a draining endpoint.
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
        let draining =
            |it: &Planned| it.state == State::Serving && it.endpoint.health == Health::Draining;
        if !any_ready && draft.endpoints.iter().any(draining) {
            draft.notes.push("no endpoint is ready: draining ones serve".into());
        }
    }
}
