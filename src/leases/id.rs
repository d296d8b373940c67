//! The name of a lease: 128 random bits, written in 22 characters that a URL or a shell leaves alone.

use std::{fmt, hash::Hasher};

use arrayvec::ArrayString;
use base64::{
    Engine as _,
    alphabet::Alphabet,
    engine::general_purpose::{GeneralPurpose, NO_PAD},
};
use rand::RngExt;

/// As for URLs, but with a dot for the dash: a command line would take what begins with a dash for
/// an option.
const TEXT: GeneralPurpose = GeneralPurpose::new(
    &match Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 characters"),
    },
    NO_PAD,
);

/// A lease's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseId(u128);

impl LeaseId {
    /// Characters of its text.
    pub const TEXT: usize = 22;

    /// One that nobody can guess: a generator for secrets, seeded by the kernel again and again. A
    /// system call for each would cost more than the rest of giving a lease.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::rng().random())
    }

    /// Reads what [`fmt::Display`] wrote; anything else is no lease.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 18];
        match TEXT.decode_slice(text, &mut bytes) {
            Ok(16) => bytes.first_chunk().map(|bytes| Self(u128::from_be_bytes(*bytes))),
            _ => None,
        }
    }

    /// What [`fmt::Display`] writes.
    #[must_use]
    pub fn text(self) -> ArrayString<{ Self::TEXT }> {
        let mut text = [0; Self::TEXT];
        TEXT.encode_slice(self.0.to_be_bytes(), &mut text).expect("16 bytes have 22 characters");
        ArrayString::from_byte_string(&text).expect("an alphabet of ASCII")
    }

    /// Of a lease that another agent gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// For another agent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// As random as the rest of it.
    pub(super) fn low_bits(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// Half of it, mixed with a number: tells a lease in memory that must be small.
    pub(super) fn fingerprint(self, with: u64) -> u64 {
        // The multiplier is 2^64 over the golden ratio: it spreads a small number over all bits.
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

/// Hashes what is random already: the agent alone makes keys, so nobody can make them clash.
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
    fn a_fingerprint_tells_identities_apart() {
        let lease = LeaseId::random();
        assert_ne!(lease.fingerprint(0), lease.fingerprint(1000));
    }
}
