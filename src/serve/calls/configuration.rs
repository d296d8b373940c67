//! Whether the agent's configuration file holds.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is wrong with the file, where an earlier one is in force.
#[derive(Debug, Default)]
pub struct ConfigurationStatus(Mutex<Option<String>>);

impl ConfigurationStatus {
    /// The file is wrong, and so; none: it holds.
    pub fn set_problem(&self, problem: Option<String>) {
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
