//! The numbers by which a caller scores an endpoint, from its plan and what is in flight there.

use pointsman_table::Cell;

use super::{segment::CLOSED, standing_load::InFlight};
use crate::plan::{
    PlannedEndpoint, State,
    strategy::{Observed, Strategy},
};

/// The numbers of an endpoint's slot. The slot of an endpoint outside the plan is closed: a
/// caller's copy of the structure may still name it.
pub(super) fn cell(
    strategy: &dyn Strategy,
    planned: &PlannedEndpoint,
    in_flight: InFlight,
    shrink: f64,
) -> Cell {
    if matches!(planned.state, State::Out | State::Ejected) {
        return CLOSED;
    }
    let in_flight_shrunk = in_flight.counted as f32 * shrink as f32;
    let score = strategy.score(&Observed {
        weight: planned.weight,
        in_flight: in_flight_shrunk,
        shrink: shrink as f32,
    });
    let limit = match planned.limit {
        i32::MAX => i32::MAX,
        bound => bound.saturating_sub_unsigned(in_flight.all).max(0),
    };
    Cell { limit, ..score }
}
