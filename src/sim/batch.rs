//! Many runs over the cores.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Does every job, in parallel, and gives the results in the order of the jobs: what a run comes
/// to must not depend on how many cores there were.
pub fn all<J: Sync, R: Send>(jobs: &[J], run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let result = run(job);
                    results.lock().expect("no run panicked").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no run panicked");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Mean and standard error of a figure over several seeds, or turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// How far the mean of so many is off, as a standard deviation; 0 where there is one.
    pub error: f64,
}

impl Spread {
    /// Of these values, one a seed or turn.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if values.len() < 2 {
            return Self { mean, error: 0.0 };
        }
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { mean, error: (variance / count).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..100).collect();
        assert_eq!(all(&jobs, |job| job * 2), (0..200).step_by(2).collect::<Vec<u64>>());
    }

    #[test]
    fn the_spread_of_equal_values_is_none() {
        assert_eq!(Spread::of([2.0, 2.0, 2.0]), Spread { mean: 2.0, error: 0.0 });
        let spread = Spread::of([1.0, 3.0]);
        assert_eq!((spread.mean, spread.error), (2.0, 1.0));
    }
}
