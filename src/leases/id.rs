//! The name of a lease: 128 random bits. Its text has 22 characters that need no quoting in a URL
//! or a shell.

use std::{fmt, hash::Hasher};

use arrayvec::ArrayString;
use base64::{
    Engine as _,
    alphabet::Alphabet,
    engine::general_purpose::{GeneralPurpose, NO_PAD},
};
use rand::RngExt;

/// The alphabet for URLs, but with a dot for the dash: a command line would take a text that begins
/// with a dash for an option.
const TEXT: GeneralPurpose = GeneralPurpose::new(
    &match Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 characters"),
    },
    NO_PAD,
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId(u128);

impl LeaseId {
    /// The number of characters of its text.
    pub const TEXT: usize = 22;

    /// Makes an id that nobody can guess, from a generator for secrets that the kernel reseeds. A
    /// system call for each id would cost more than the rest of giving a lease.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    /// Reads what [`fmt::Display`] wrote; None for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 18];
        match TEXT.decode_slice(text, &mut bytes) {
            Ok(16) => bytes.first_chunk().map(|bytes| Self(u128::from_be_bytes(*bytes))),
            _ => None,
        }
    }

    /// The text that [`fmt::Display`] writes.
    #[must_use]
    pub fn text(self) -> ArrayString<{ Self::TEXT }> {
        let mut text = [0; Self::TEXT];
        TEXT.encode_slice(self.0.to_be_bytes(), &mut text).expect("16 bytes have 22 characters");
        ArrayString::from_byte_string(&text).expect("an alphabet of ASCII")
    }

    /// The id of a lease that another agent gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The bytes for another agent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Some of its bits, as random as the others.
    pub(super) fn low_bits(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// Half of its bits, mixed with a number: identifies a lease where memory must be small.
    pub(super) fn fingerprint(self, with: u64) -> u64 {
        // The multiplier is 2^64 over the golden ratio. It spreads a small number over all bits.
        (self.0 >> 64) as u64 ^ with.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl std::hash::Hash for LeaseId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The upper half: the lower bits chose the shard, and are alike within it.
        state.write_u64((self.0 >> 64) as u64);
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A hasher for ids that are random already. The agent alone makes the keys, so nobody can cause
/// collisions.
pub(super) type ByItself = std::hash::BuildHasherDefault<Unhashed>;

/// See [`ByItself`].
#[derive(Default)]
pub(super) struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_reads_back_as_it_was_written() {
        for _ in 0..1000 {
            let lease = LeaseId::random();
            let text = lease.to_string();
            assert_eq!(text.len(), 22);
            assert!(!text.contains('-'), "{text}");
            assert_eq!(LeaseId::parse(&text), Some(lease));
        }
    }

    #[test]
    fn anything_else_is_no_lease() {
        let lease = LeaseId::random().to_string();
        for text in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA==", &lease[1..], &format!("{lease}A"), "ä"] {
            assert_eq!(LeaseId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn another_agent_gets_the_same_lease_by_its_bytes() {
        let lease = LeaseId::random();
        assert_eq!(LeaseId::from_bytes(lease.to_bytes()), lease);
        assert_ne!(LeaseId::from_bytes(lease.to_bytes()), LeaseId::random());
    }

    #[test]
    fn a_fingerprint_tells_identities_apart() {
        let lease = LeaseId::random();
        assert_ne!(lease.fingerprint(0), lease.fingerprint(1000));
        assert_ne!(LeaseId(1 << 64).fingerprint(0), LeaseId(2 << 64).fingerprint(0));
    }

    #[test]
    fn the_lower_half_chooses_the_shard_and_the_upper_half_is_the_hash() {
        use std::hash::BuildHasher;
        let lease = LeaseId((7 << 64) | 0x5_1234);
        assert_eq!((lease.low_bits(), ByItself::default().hash_one(lease)), (0x1234, 7));
    }
}
