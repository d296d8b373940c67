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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{Endpoint, EndpointRef},
        plan::{OutlierState, strategy::LeastRequest},
    };

    fn planned(state: State, limit: i32) -> PlannedEndpoint {
        let list = [Endpoint::at(([10, 0, 0, 1], 80).into())].into();
        let endpoint = EndpointRef::all(&list).next().expect("there is one");
        let mut planned = PlannedEndpoint::new(endpoint, OutlierState::default());
        (planned.weight, planned.state, planned.limit) = (2.0, state, limit);
        planned
    }

    fn written(state: State, limit: i32) -> Cell {
        let in_flight = InFlight { all: 8, standing: 3, counted: 5 };
        cell(&LeastRequest, &planned(state, limit), in_flight, 0.5)
    }

    #[test]
    fn a_score_counts_the_active_part_shrunk_and_by_weight() {
        let cell = written(State::Serving, i32::MAX);
        assert_eq!((cell.base, cell.slope, cell.limit), (1.25, 0.25, i32::MAX));
        assert_eq!((cell.knee, cell.hot_base, cell.hot_slope), (0.0, 1.25, 0.5));
    }

    #[test]
    fn a_limit_is_for_all_that_is_in_flight() {
        let limit = |limit| written(State::Probing, limit).limit;
        assert_eq!([limit(9), limit(8), limit(1), limit(i32::MAX - 1)], [1, 0, 0, i32::MAX - 9]);
    }

    #[test]
    fn only_what_may_be_picked_is_open() {
        for state in [State::Out, State::Ejected] {
            assert_eq!(written(state, i32::MAX), CLOSED);
        }
        for state in [State::Serving, State::Standby, State::Probing] {
            assert_ne!(written(state, i32::MAX), CLOSED);
        }
    }
}
