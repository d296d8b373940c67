//! A figure that was measured several times: its mean, and how sure it is.

/// Mean and standard error of a figure over several seeds, or turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// How far the mean of so many is off, as a standard deviation; 0 where there is one.
    pub error: f64,
}

impl Estimate {
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
    fn the_error_of_equal_values_is_none() {
        assert_eq!(Estimate::of([2.0, 2.0, 2.0]), Estimate { mean: 2.0, error: 0.0 });
        let estimate = Estimate::of([1.0, 3.0]);
        assert_eq!((estimate.mean, estimate.error), (2.0, 1.0));
    }
}
