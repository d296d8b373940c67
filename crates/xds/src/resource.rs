//! One resource in one form: its name, its encoded body, and its version.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::proto::google::protobuf::Any;

/// The name of a resource.
pub type Name = Arc<str>;

/// A hash of a resource's body. So servers that publish the same content agree on it, and a server
/// that was restarted never gives a known version to other content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// The version of this body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(xxh3_64(body))
    }

    pub(crate) fn of_hash(hash: u64) -> Self {
        Self(hash)
    }

    /// Reads what [`fmt::Display`] wrote; None for a version of another kind of server.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // `from_str_radix` would take a sign, too.
        let digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A resource; cheap to clone, and all clones share its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What clients ask for it by.
    pub name: Name,
    /// The version of the body.
    pub version: Version,
    /// The encoded message.
    pub body: Bytes,
    /// The resource of the next type that a client asks for once it has this one: a cluster's
    /// assignment. It is sent again after this one, since Envoy waits for it.
    pub needs: Option<Name>,
}

impl Resource {
    /// A resource of this encoded message.
    pub fn new(name: impl Into<Name>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { name: name.into(), version: Version::of(&body), body, needs: None }
    }

    pub(crate) fn any(&self, type_url: &str) -> Any {
        Any { type_url: type_url.to_owned(), value: self.body.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_was_written_and_nothing_else_is() {
        for body in [&b""[..], b"a", b"cart"] {
            let version = Version::of(body);
            assert_eq!(Version::parse(&version.to_string()), Some(version));
        }
        let others = ["", "1", "+123456789abcdef", "00112233445566778", "0123456789abcdeg"];
        for other in others {
            assert_eq!(Version::parse(other), None, "{other}");
        }
    }
}
