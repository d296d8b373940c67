//! The generator that every language draws from: xoshiro128++, seeded by splitmix32.
//!
//! It uses 32-bit operations only, because JavaScript has no others. It is small enough to be ported to
//! any language. (Blackman, Vigna: Scrambled Linear Pseudorandom Number Generators, 2018.)

/// xoshiro128++.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    state: [u32; 4],
}

impl Random {
    /// The same seed gives the same draws in every language. The four words of state are four
    /// consecutive outputs of splitmix32: the counter increases by 0x9e3779b9, and the output is
    /// murmur3's finalizer of the counter. The finalizer is a bijection, so the state is never all zero.
    pub fn new(seed: u32) -> Self {
        let mut counter = seed;
        let mut next = || {
            counter = counter.wrapping_add(0x9e37_79b9);
            let mut z = counter;
            z = (z ^ (z >> 16)).wrapping_mul(0x85eb_ca6b);
            z = (z ^ (z >> 13)).wrapping_mul(0xc2b2_ae35);
            z ^ (z >> 16)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// The next 32 random bits.
    #[inline(always)]
    pub fn draw(&mut self) -> u32 {
        let [a, b, c, d] = self.state;
        let drawn = a.wrapping_add(d).rotate_left(7).wrapping_add(a);
        let c2 = c ^ a;
        let d2 = d ^ b;
        self.state = [a ^ d2, b ^ c2, c2 ^ (b << 9), d2.rotate_left(11)];
        drawn
    }

    /// A row below `rows` and a coin, from one draw: the high and the low half of a product.
    #[inline(always)]
    pub(crate) fn row_and_coin(&mut self, rows: u32) -> (u32, u32) {
        let product = u64::from(self.draw()) * u64::from(rows);
        ((product >> 32) as u32, product as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs that the generator's authors' code gives for the state 1, 2, 3, 4.
    #[test]
    fn draws_are_those_of_the_published_generator() {
        let mut random = Random { state: [1, 2, 3, 4] };
        let drawn: Vec<u32> = (0..6).map(|_| random.draw()).collect();
        assert_eq!(drawn, [641, 1573767, 3222811527, 3517856514, 836907274, 4247214768]);
    }

    #[test]
    fn every_seed_gives_its_own_state_and_never_zero() {
        assert_ne!(Random::new(0), Random::new(1));
        for seed in [0, 1, 0x61c8_8647, u32::MAX] {
            assert_ne!(Random::new(seed).state, [0; 4]);
        }
    }
}
