//! Whether the agent's configuration file holds.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is wrong with the file, where an earlier one is in force.
#[derive(Debug, Default)]
pub struct Configuration(Mutex<Option<String>>);

impl Configuration {
    /// The file is wrong, and so; none: it holds.
    pub fn judge(&self, problem: Option<String>) {
        *self.lock() = problem;
    }

    /// What is wrong with it.
    pub fn problem(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
