//! The pod or the user on whose behalf a caller picks.

use std::fmt;

use super::pod_uid::PodUid;

/// The pod or the user on whose behalf a caller picks and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// The user of the process at the other end of the node's socket.
    Uid(u32),
    /// The pod whose folder the caller came through.
    Pod(PodUid),
}

impl Identity {
    /// A short number for an identity, where memory is scarce. Two identities have the same number
    /// only by chance.
    #[must_use]
    pub fn fingerprint(self) -> u64 {
        match self {
            Self::Uid(uid) => uid.into(),
            Self::Pod(uid) => (uid.number() >> 64) as u64 ^ uid.number() as u64,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Pod(uid) => write!(f, "pod {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_not_the_user_of_the_same_number() {
        let pod = PodUid::parse("00000000-0000-0000-0000-0000000003e8").unwrap();
        assert_ne!(Identity::Pod(pod), Identity::Uid(1000));
        assert_eq!(Identity::Uid(1000).to_string(), "uid 1000");
    }
}
