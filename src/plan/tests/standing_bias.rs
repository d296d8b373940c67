//! An endpoint with more standing load than its part is drawn less.

use super::*;
use crate::policy::StrategyName;

impl Bench {
    fn stand(&mut self, standing: &[u32]) {
        self.loads.iter_mut().zip(standing).for_each(|(load, standing)| load.standing = *standing);
    }

    /// The bias of the second endpoint over that of the first, in eighths of a doubling.
    fn bias(&mut self) -> f64 {
        let endpoints = &self.plan().endpoints;
        let drawn: f64 = endpoints.iter().map(|e| e.drawn()).sum();
        assert!((drawn - 1.0).abs() < 1e-9, "{drawn}");
        let eighths = (endpoints[1].standing_bias / endpoints[0].standing_bias).log2() * 8.0;
        assert!((eighths - eighths.round()).abs() < 1e-9, "{eighths}");
        eighths.round()
    }
}

#[test]
fn the_bias_grows_with_the_part_of_requests_that_become_standing() {
    let mut bench = Bench::new("aa");
    bench.stand(&[1, 0]);
    for (part_standing, eighths) in [(0.0, 2.0), (0.5, 6.0), (1.0, 12.0)] {
        bench.service.part_standing = part_standing;
        assert_eq!(bench.bias(), eighths, "at {part_standing}");
    }
    bench.stand(&[100, 0]);
    assert_eq!(bench.bias(), 16.0, "from half to twice at most");
}

#[test]
fn a_heavy_endpoint_may_have_as_many_more_streams() {
    let mut bench = Bench::new("aa");
    bench.endpoints[0].weight = 3;
    bench.stand(&[3, 1]);
    assert_eq!(bench.bias(), 0.0);
    bench.stand(&[4, 0]);
    assert_eq!(bench.bias(), 4.0);
    bench.stand(&[0, 4]);
    assert_eq!(bench.bias(), -14.0);
}

#[test]
fn there_is_no_bias_without_standing_load_or_without_a_comparison() {
    let mut bench = Bench::new("aa");
    assert!(bench.plan().endpoints.iter().all(|e| e.standing_bias == 1.0));
    bench.policy.strategy = StrategyName::Random;
    bench.stand(&[9, 0]);
    assert!(bench.plan().endpoints.iter().all(|e| e.standing_bias == 1.0));
}
