//! What a client rejected.

use super::limits::{LONGEST_REJECTION, NAMED_IN_REJECTION, beginning};
use crate::{proto::google::rpc::Status, resource::Name};

/// A response that a client rejected (NACK). The client goes on with what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The response's nonce.
    pub nonce: String,
    /// The first names of its resources: a client names the wrong one in the text only.
    pub names: Vec<Name>,
    /// The client's words.
    pub message: String,
}

/// The names to keep of a response, in case that the client rejects it.
pub(super) fn first<'a>(names: impl Iterator<Item = &'a Name>) -> Vec<Name> {
    names.take(NAMED_IN_REJECTION).cloned().collect()
}

impl Rejection {
    pub(super) fn new(nonce: &str, names: Vec<Name>, status: &Status) -> Self {
        let message = beginning(&status.message, LONGEST_REJECTION);
        Self { nonce: nonce.to_owned(), names, message }
    }
}
