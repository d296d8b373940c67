use pointsman_table::alias_rows;
use proptest::prelude::*;

use super::*;

fn drawn(weights: &[f64], others: f64) -> Draws {
    draws(weights, 2, others, || None)
}

#[test]
fn equal_weights_are_drawn_alike_and_compared() {
    let expected = Draws { weights: vec![0.25; 4], choices: 2 };
    assert_eq!(drawn(&[1.0; 4], 16.0), expected);
}

#[test]
fn a_light_endpoint_among_heavy_ones_is_drawn_less_than_its_weight() {
    let mut weights = vec![1.0; 19];
    weights.push(0.1);
    let draws = drawn(&weights, 16.0);
    let part = 0.1 / 19.1;
    assert_eq!(draws.choices, 2);
    assert!(draws.weights[19] < part * 0.8, "{} of {part}", draws.weights[19]);
}

#[test]
fn where_comparing_cannot_give_the_shares_one_is_drawn_by_weight() {
    for (weights, others) in [(&[9.0, 1.0][..], 3.0), (&[9.0, 1.0, 1.0], 0.0)] {
        assert_eq!(drawn(weights, others), Draws { weights: normalised(weights), choices: 1 });
    }
}

#[test]
fn where_much_is_in_flight_the_scores_keep_the_shares() {
    let weights = [50.0, 1.0, 1.0];
    let expected = Draws { weights: normalised(&weights), choices: 3 };
    assert_eq!(draws(&weights, 3, 1e6, || None), expected);
}

#[test]
fn the_scores_alone_keep_the_shares_from_sixteen_in_flight_at_the_lightest() {
    let plain = Draws { weights: vec![0.75, 0.25], choices: 2 };
    assert_eq!(drawn(&[3.0, 1.0], 64.0), plain);
    let corrected = drawn(&[3.0, 1.0], 63.0);
    assert_eq!(corrected.choices, 2);
    assert!(corrected.weights[0] > 0.9, "{corrected:?}");
    assert_ne!(drawn(&[3.0, 1.0], 4.0), plain);
}

#[test]
fn beside_one_that_is_meant_for_half_nothing_is_compared_until_one_is_in_flight_at_the_lightest() {
    let choices = |weights: &[f64], others| drawn(weights, others).choices;
    assert_eq!(choices(&[2.0, 1.0, 1.0], 3.9), 1);
    assert_eq!(choices(&[2.0, 1.0, 1.0], 4.0), 2);
    assert_eq!(choices(&[4.9, 2.4, 2.7], 4.1), 2, "it is not quite half");
}

#[test]
fn where_fewer_than_three_others_are_in_flight_nothing_is_compared() {
    let choices = |others| drawn(&[1.0, 1.0, 0.5], others).choices;
    assert_eq!((choices(2.9), choices(3.0)), (1, 2));
}

#[test]
fn weights_within_two_percent_are_equal() {
    let choices = |ratio: f64| drawn(&[ratio, 1.0], 1.0).choices;
    assert_eq!((choices(1.02), choices(1.03)), (2, 1));
}

#[test]
fn the_number_of_others_moves_by_whole_steps() {
    assert_eq!((settled(4.0, None), settled(2.9, None)), (4.0, 0.0));
    for (others, level) in [(4.9, 4.0), (5.0, 5.0), (3.3, 4.0), (3.2, 3.2), (1.0, 0.0)] {
        assert_eq!(settled(others, Some(4.0)), level, "from 4 to {others}");
    }
    assert_eq!((settled(2.9, Some(0.0)), settled(3.0, Some(0.0))), (0.0, 3.0));
    assert_eq!(settled(2.5, Some(3.0)), 3.0, "less than a step");
}

#[test]
fn weights_that_cannot_be_told_are_equal() {
    for weights in [[0.0, 0.0], [f64::NAN, 1.0], [f64::INFINITY, 1.0], [f64::MAX, f64::MAX]] {
        assert_eq!(normalised(&weights), [0.5, 0.5], "{weights:?}");
    }
}

/// Of `size` endpoints: one heavier than the rest, one lighter, or all of them different.
fn shaped(shape: usize, ratio: f64, size: usize) -> Vec<f64> {
    let mut weights = vec![1.0; size];
    match shape {
        0 => weights[0] = ratio,
        1 => weights[0] = 1.0 / ratio,
        _ => weights
            .iter_mut()
            .enumerate()
            .for_each(|(i, weight)| *weight = ratio.powf(i as f64 / (size - 1) as f64)),
    }
    weights
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn draws_can_be_written_whatever_the_weights_and_the_load(
        shape in 0..3_usize,
        ratio in prop_oneof![Just(1.0), 1.0..1000.0_f64, Just(1000.0)],
        size in prop_oneof![2..5_usize, Just(20), Just(100), Just(1000)],
        others in prop_oneof![Just(0.0), 0.1..100.0_f64, Just(1280.0), Just(64e3), Just(1e6)],
        choices in 1..9_u32,
    ) {
        let weights = shaped(shape, ratio, size);
        let draws = draws(&weights, choices, others, || None);
        prop_assert!(draws.weights.iter().all(|draw| draw.is_finite() && *draw > 0.0));
        prop_assert!((draws.weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        prop_assert!((1..=choices).contains(&draws.choices));
        let slots: Vec<(u32, f64)> = (0..).zip(draws.weights).collect();
        prop_assert_eq!(alias_rows(&slots).len(), size, "each endpoint has its row");
    }
}

/// 13 picks of cost 100 on 20 endpoints of 50:1:...:1. Products of a thousand and more factors
/// overflowed.
#[test]
fn one_heavy_of_twenty_with_1280_in_flight_has_draws() {
    let draws = drawn(&shaped(0, 50.0, 20), 1280.0);
    assert!(draws.weights.iter().all(|draw| draw.is_finite() && *draw > 0.0), "{draws:?}");
}
