//! The mean of repeated measurements, with its standard error.

/// The mean and the standard error of a figure over several seeds or turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The standard error of the mean. 0 for a single value.
    pub error: f64,
}

impl Estimate {
    /// From these values, one for each seed or turn.
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
    fn the_error_of_equal_values_is_none() {
        assert_eq!(Estimate::of([2.0, 2.0, 2.0]), Estimate { mean: 2.0, error: 0.0 });
        let estimate = Estimate::of([1.0, 3.0]);
        assert_eq!((estimate.mean, estimate.error), (2.0, 1.0));
    }
}
