//! What one client may make its stream hold.

use std::collections::BTreeMap;

/// The most names that a stream subscribes to in one type. An Envoy of a large mesh asks for the
/// endpoints of some thousand clusters.
pub const MOST_NAMES: usize = 20_000;
/// The most listeners or clusters that a state-of-the-world stream names: each response lists all of them,
/// and gRPC clients refuse messages above 4 MiB by default.
pub const MOST_LISTED: usize = 2000;
/// The longest name, in bytes. A DNS name has 253.
pub const LONGEST_NAME: usize = 512;
/// The most types of a stream. The interface has about twenty.
pub const MOST_TYPES: usize = 32;
/// The longest type URL, in bytes.
pub const LONGEST_TYPE_URL: usize = 256;
/// The longest text of a client's rejection that is kept, in bytes.
pub const LONGEST_REJECTION: usize = 1024;
/// The names that are kept of a response that a client rejects.
pub const NAMED_IN_REJECTION: usize = 8;
/// The responses of one type that may wait for the client's answer. A client that answers nothing
/// gets no more of this type.
pub const MOST_UNANSWERED: usize = 8;
/// The bytes of resources in one response, unless a single one has more. gRPC clients refuse messages
/// above 4 MiB by default.
pub const RESPONSE_BYTES: usize = 1 << 20;

/// Why a request ends its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// More names than this are subscribed to.
    TooManyNames(usize),
    /// A name is too long. The first part of it.
    LongName(String),
    /// Too many types are asked for.
    TooManyTypes,
    /// The type URL is empty or too long. The first part of it.
    WrongTypeUrl(String),
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyNames(most) => {
                write!(f, "a stream may subscribe to {most} resources of this type, and no more")
            }
            Self::LongName(name) => write!(
                f,
                "the name of a resource may have {LONGEST_NAME} bytes; this one has more: {name}..."
            ),
            Self::TooManyTypes => {
                write!(f, "a stream may ask for {MOST_TYPES} types of resources, and no more")
            }
            Self::WrongTypeUrl(url) => write!(
                f,
                "type_url has to be that of a resource, with at most {LONGEST_TYPE_URL} bytes; it is {url:?}"
            ),
        }
    }
}

impl std::error::Error for RequestError {}

/// The state of a type, which may be new.
pub(crate) fn of_type<'a, T: Default>(
    types: &'a mut BTreeMap<String, T>,
    type_url: &str,
) -> Result<&'a mut T, RequestError> {
    if !types.contains_key(type_url) {
        if type_url.is_empty() || type_url.len() > LONGEST_TYPE_URL {
            return Err(RequestError::WrongTypeUrl(beginning(type_url, 64)));
        }
        if types.len() >= MOST_TYPES {
            return Err(RequestError::TooManyTypes);
        }
        types.insert(type_url.to_owned(), T::default());
    }
    Ok(types.get_mut(type_url).expect("it was inserted"))
}

pub(crate) fn check_names(names: &[String], most: usize) -> Result<(), RequestError> {
    match names.iter().find(|name| name.len() > LONGEST_NAME) {
        Some(name) => Err(RequestError::LongName(beginning(name, 64))),
        None if names.len() > most => Err(RequestError::TooManyNames(most)),
        None => Ok(()),
    }
}

/// The first `most` bytes of a text, or fewer where a character would be cut.
#[must_use]
pub fn beginning(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
