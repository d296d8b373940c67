//! Random numbers for a run.
//!
//! Each purpose has a stream of its own. So rivals get the same arrivals with the same work, even if one
//! draws more often than another. Differences between rivals then do not come from chance.

use rand::{Rng, SeedableRng, rngs::Xoshiro256PlusPlus};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The gaps between arrivals.
    Gaps,
    /// Who sends a request.
    Callers,
    /// How much work a request is.
    Work,
    /// What a chooser draws.
    Choice,
}

/// An independent stream of random numbers.
pub struct RandomStream(Xoshiro256PlusPlus);

impl RandomStream {
    /// The stream of one purpose in the run of this seed.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        // The generator expands its seed by splitmix64, so neighbouring seeds are independent.
        Self(Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_mul(16).wrapping_add(purpose as u64)))
    }

    /// A uniform number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        // 53 bits, shifted away from 0, whose logarithm is infinite.
        let uniform = ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -uniform.ln()
    }

    /// A seed for another generator.
    pub fn seed(&mut self) -> u32 {
        self.0.next_u32()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponential_stream_has_the_mean_and_the_spread_of_one() {
        let mut stream = RandomStream::new(1, Purpose::Work);
        let drawn: Vec<f64> = (0..200_000).map(|_| stream.exponential()).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
        assert!((mean - 1.0).abs() < 0.01 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn purposes_and_seeds_have_streams_of_their_own() {
        let first = |seed, purpose| RandomStream::new(seed, purpose).below(1 << 40);
        let all = [
            first(1, Purpose::Gaps),
            first(1, Purpose::Work),
            first(2, Purpose::Gaps),
            first(2, Purpose::Work),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one));
        }
        assert_eq!(first(1, Purpose::Gaps), all[0]);
    }
}
