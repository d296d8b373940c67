//! Whether the agent's configuration file is in force.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The problem of the file, if an earlier one is in force.
#[derive(Debug, Default)]
pub struct ConfigurationStatus(Mutex<Option<String>>);

impl ConfigurationStatus {
    /// Sets the problem; `None`: the file is in force.
    pub fn set_problem(&self, problem: Option<String>) {
        *self.lock() = problem;
    }

    pub fn problem(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
