//! What a pick is asked for, and what it gives.

/// The parameters of a pick.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Slots that must not be picked, such as those that the caller tried already.
    pub exclude: &'a [u32],
    /// The cost of the request. 0 counts as 1.
    pub cost: u32,
    /// The key to hash, in a hashed group. Without a key the pick begins at a random row.
    pub key: Option<&'a [u8]>,
}

impl Default for Request<'_> {
    /// Any slot, cost 1, no key.
    fn default() -> Self {
        Self { exclude: &[], cost: 1, key: None }
    }
}

/// A picked slot. It is in flight until [`crate::Picker::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pick {
    /// The endpoint's slot.
    pub slot: u32,
    /// The cost that was counted. Pass it to [`crate::Picker::end`].
    pub cost: u32,
}
