//! The versions that a watch tells, and hears again when it is begun anew.

use crate::serve::{Violation, limits};

/// One run of the agent: the versions of another say nothing.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct RunId(pub(super) u32);

impl RunId {
    /// Unlike that of the agent before, but for a chance of 1 in 4 billion.
    pub(in crate::serve) fn new() -> Self {
        // Without random numbers there are no leases either.
        Self(getrandom::u32().unwrap_or_default())
    }

    /// A version of a service, as callers hear it.
    pub(in crate::serve) fn version(self, number: u64) -> String {
        format!("{:08x}.{number}", self.0)
    }

    /// The number in a version, if this agent gave it.
    pub(in crate::serve) fn number(self, version: &str) -> Result<Option<u64>, Violation> {
        let parts = version.split_once('.').and_then(|(run_id, number)| {
            // A sign would be read as well.
            let plain = run_id.len() == 8 && !version.contains('+');
            let run_id = plain.then(|| u32::from_str_radix(run_id, 16).ok()).flatten()?;
            Some((run_id, number.parse().ok()?))
        });
        match parts {
            Some((run_id, number)) => Ok((run_id == self.0).then_some(number)),
            None => Err(Violation::new(
                "since",
                format!(
                    "{} is no version: say that of the last event, or nothing",
                    limits::quoted(version)
                ),
            )),
        }
    }
}
