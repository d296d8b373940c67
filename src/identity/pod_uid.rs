//! The uid of a pod.

use std::fmt;

/// The uid by which Kubernetes distinguishes pods, also two of the same name. It is bytes, since a
/// number of 128 bits would align every lease to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid([u8; 16]);

/// The hexadecimal digits of a [`PodUid`].
const DIGITS: usize = 32;

/// The digits before which [`fmt::Display`] puts a hyphen.
const HYPHENS: [usize; 4] = [8, 12, 16, 20];

impl PodUid {
    /// Reads 32 hexadecimal digits, with hyphens as in a UUID or without any: kubelet writes the
    /// uid of a static pod without.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = match text.len() {
            DIGITS => text.to_owned(),
            _ => text.split('-').collect(),
        };
        let plain = digits.len() == DIGITS && digits.bytes().all(|c| c.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| plain)?;
        let uid = Self(number.to_be_bytes());
        let hyphens = text.len() == DIGITS || text.eq_ignore_ascii_case(&uid.to_string());
        hyphens.then_some(uid)
    }

    /// Reads the bytes of [`PodUid::to_bytes`].
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes for another agent.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(super) fn number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.number());
        let [a, b, c, d] = HYPHENS;
        let parts = [&digits[..a], &digits[a..b], &digits[b..c], &digits[c..d], &digits[d..]];
        f.write_str(&parts.join("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

    #[test]
    fn a_pods_uid_reads_back_as_it_was_written() {
        let uid = PodUid::parse(TEXT).unwrap();
        assert_eq!(uid.to_string(), TEXT);
        assert_eq!(PodUid::from_bytes(uid.to_bytes()), uid);
        assert_eq!(PodUid::parse(&TEXT.replace('-', "")), Some(uid), "a static pod's");
        assert_eq!(PodUid::parse(&TEXT.to_uppercase()), Some(uid));
    }

    #[test]
    fn anything_else_is_no_uid() {
        let plus = format!("+{}", &TEXT.replace('-', "")[1..]);
        let moved = "1b4e28b-a2fa1-11d2-883f-0016d3cca427";
        for text in ["", "1", &TEXT[1..], &format!("{TEXT}-"), &plus, moved, "../../../etc", "ä"] {
            assert_eq!(PodUid::parse(text), None, "{text}");
        }
    }
}
