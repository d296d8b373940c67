use pointsman_table::Random;
use proptest::prelude::*;

use super::*;

impl Distribution {
    fn mean(&self) -> f64 {
        (0..).zip(&self.at).map(|(state, p)| f64::from(state) * p * self.unit).sum()
    }

    fn variance(&self) -> f64 {
        let off = |state: i32| (f64::from(state) * self.unit - self.mean()).powi(2);
        (0..).zip(&self.at).map(|(state, p)| off(state) * p).sum()
    }
}

fn near(value: f64, expected: f64, part: f64) {
    assert!((value - expected).abs() <= expected * part, "{value}, not {expected}");
}

/// Picks of two choices, with this many other requests always in flight, each of which is as likely
/// to end next. Returns each endpoint's part of the picks.
fn simulated(weights: &[f64], draws: &[f64], others: usize) -> Vec<f64> {
    const PICKS: usize = 60_000;
    let mut random = Random::new(7);
    let mut below = |most: usize| ((u64::from(random.draw()) * most as u64) >> 32) as usize;
    // An urn that has each endpoint as often as it is drawn.
    let mut urn = Vec::new();
    for (index, draw) in draws.iter().enumerate() {
        urn.extend(std::iter::repeat_n(index, (draw * 1e5).round() as usize));
    }
    let mut in_flight = vec![0_u32; weights.len()];
    let mut requests: Vec<usize> = Vec::new();
    let mut picked = vec![0_u32; weights.len()];
    for pick in 0..PICKS {
        if requests.len() > others {
            let ends = requests.swap_remove(below(requests.len()));
            in_flight[ends] -= 1;
        }
        let first = urn[below(urn.len())];
        let second = loop {
            let second = urn[below(urn.len())];
            if second != first {
                break second;
            }
        };
        let score = |index: usize| f64::from(in_flight[index]) / weights[index];
        let winner = if score(second) < score(first) { second } else { first };
        in_flight[winner] += 1;
        requests.push(winner);
        picked[winner] += u32::from(pick >= PICKS / 10);
    }
    let all: u32 = picked.iter().sum();
    picked.iter().map(|own| f64::from(*own) / f64::from(all)).collect()
}

#[test]
fn picks_by_solved_draws_have_the_shares_of_the_weights() {
    let mut light = vec![1.0; 19];
    light.push(0.1);
    for (weights, others) in [
        (&[2.0, 1.0, 1.0][..], 4),
        (&[3.0, 2.0, 2.0, 1.0], 10),
        (&[1.0, 1.0, 0.5], 3),
        (&[5.0, 4.0, 3.0, 2.0, 1.0], 30),
        (&light, 16),
    ] {
        let draws =
            solve(weights, f64::from(others)).unwrap_or_else(|| panic!("{weights:?} at {others}"));
        assert!((draws.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let sum: f64 = weights.iter().sum();
        let shares = simulated(weights, &draws, others as usize);
        for (share, weight) in shares.iter().zip(weights) {
            let wanted = weight / sum;
            let off = (share - wanted).abs();
            assert!(off < 0.06 * wanted, "{weight} of {weights:?} at {others}: {shares:?}");
        }
    }
}

#[test]
fn what_needs_more_than_twice_the_draws_has_no_solution() {
    assert_eq!(solve(&[9.0, 1.0], 3.0), None);
    for others in [10.0, 100.0, 1e4, 1e6] {
        let weights = [5.0, 3.0, 2.0, 1.0, 1.0, 1.0];
        let draws = solve(&weights, others).expect("there is a solution");
        let ratios = || draws.iter().zip(weights).map(|(draw, weight)| draw / weight);
        let (low, high) = (ratios().fold(f64::MAX, f64::min), ratios().fold(0.0, f64::max));
        assert!(high / low <= MOST_CORRECTED * MOST_CORRECTED, "{draws:?}");
    }
}

#[test]
fn requests_that_come_at_random_are_distributed_as_poisson_s() {
    for mean in [0.5, 3.0, 100.0, 512.0] {
        let states = Distribution::poisson(mean);
        assert_eq!(states.unit, 1.0);
        near(states.mean(), mean, 1e-6);
        near(states.variance(), mean, 1e-3);
        near(states.at[0], (-mean).exp(), 1e-6);
    }
    assert!(Distribution::poisson(0.0).mean() < 1e-300);
}

#[test]
fn where_many_are_in_flight_a_state_is_several_and_the_states_stay_few() {
    for mean in [1e4, 1e6, 1e9] {
        let states = Distribution::poisson(mean);
        near(states.mean(), mean, 1e-6);
        near(states.unit, mean / STATES, 1e-9);
        assert!(states.at.len() < 720, "{}", states.at.len());
    }
}

#[test]
fn a_number_in_flight_is_compared_with_whole_states_and_with_what_lies_between() {
    let part = |p: f64| p.ln();
    let states = Distribution::new(10.0, &[part(0.5), part(0.25), part(0.125), part(0.125)]);
    let exceeds = |in_flight| {
        let (lower, no_higher) = states.exceeds(in_flight);
        ((lower * 1e6).round() / 1e6, (no_higher * 1e6).round() / 1e6)
    };
    assert_eq!(exceeds(0.0), (0.5, 1.0));
    assert_eq!(exceeds(10.0), (0.25, 0.5), "ten are exactly one state");
    assert_eq!(exceeds(10.0 - 1e-9), (0.25, 0.5), "up to rounding");
    assert_eq!(exceeds(9.0), (0.5, 0.5));
    assert_eq!(exceeds(14.0), (0.25, 0.25));
    assert_eq!(exceeds(30.0), (0.0, 0.125));
    assert_eq!(exceeds(31.0), (0.0, 0.0));
    assert_eq!(exceeds(40.0), (0.0, 0.0));
}

#[test]
fn halfway_is_the_mean_of_both() {
    let one = Distribution::new(1.0, &[0.0, f64::NEG_INFINITY]);
    let other = Distribution::new(1.0, &[f64::NEG_INFINITY, 0.0]);
    let half = one.halfway(&other);
    assert_eq!((half.at, half.from), (vec![0.5, 0.5], vec![1.0, 0.5]));
}

#[test]
fn weights_are_put_into_eight_classes_at_most_each_with_the_mean_of_its_members() {
    let (all, class_of) = classes(&[0.4, 0.1, 0.2, 0.1, 0.2]);
    assert_eq!(class_of, [2, 0, 1, 0, 1]);
    let counts: Vec<f64> = all.iter().map(|class| class.count).collect();
    assert_eq!(counts, [2.0, 2.0, 1.0]);
    let (all, class_of) = classes(&[0.5, 0.25, 0.245]);
    assert_eq!(class_of, [1, 0, 0], "within two percent");
    near(all[0].part, 0.2475, 1e-9);
    let (_, class_of) = classes(&[1.0, 1.9, 128.0]);
    assert_eq!(class_of, [0, 0, 1], "seven steps of two from the lightest to the heaviest");
    let many: Vec<f64> = (0..1000).map(|number| 1.01_f64.powi(number)).collect();
    let (all, class_of) = classes(&many);
    assert!(all.len() <= CLASSES && class_of.is_sorted(), "{}", all.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_pick_goes_to_somebody(
        weights in prop::collection::vec(1..20_u32, 2..12),
        others in 0.1..60.0_f64,
        heavier in 0.5..2.0_f64,
    ) {
        let sum: f64 = weights.iter().copied().map(f64::from).sum();
        let parts: Vec<f64> = weights.iter().map(|weight| f64::from(*weight) / sum).collect();
        let (classes, _) = classes(&parts);
        let mut factors = vec![1.0; classes.len()];
        factors[0] = heavier;
        let model = Model { classes, others };
        let draws = model.draws(&factors);
        let mut states: Vec<Distribution> =
            model.classes.iter().map(|class| Distribution::poisson(others * class.part)).collect();
        for _ in 0..60 {
            let share = |(own, class): (usize, &Class)| -> f64 {
                let at = (0..).zip(&states[own].at);
                let score = |in_flight: i32| f64::from(in_flight) * states[own].unit / class.part;
                let picked = |k: i32| model.picked(own, score(k), &draws, &states);
                at.map(|(k, p)| p * picked(k)).sum::<f64>() * class.count
            };
            let all: f64 = model.classes.iter().enumerate().map(share).sum();
            prop_assert!((all - 1.0).abs() < 1e-6, "{all}");
            (states, _) = model.step(&draws, states);
        }
        // As many are in flight as come while one is served.
        let in_flight = model.classes.iter().zip(&states).map(|(c, s)| c.count * s.mean());
        let in_flight: f64 = in_flight.sum();
        prop_assert!((in_flight - others).abs() < 0.02 * others, "{in_flight} of {others}");
    }
}
