//! Locks what threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in one call must not make every later pick panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
