//! The atomics of the standard library, or loom's, so that the model checker runs the real code.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, fence};

pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Adds by load and store. Correct with exactly one writing thread, and cheaper than a locked add.
#[inline(always)]
pub(crate) fn add_unshared(word: &AtomicU32, amount: u32, store: std::sync::atomic::Ordering) {
    word.store(word.load(Relaxed).wrapping_add(amount), store);
}
