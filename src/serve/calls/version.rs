//! The versions in watch events, with which a caller resumes a watch.

use crate::serve::{Violation, limits};

/// Identifies one run of the agent: versions of another run mean nothing to this one.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct RunId(pub(super) u32);

impl RunId {
    /// A random number. It equals that of the agent before with a chance of 1 in 4 billion.
    pub(in crate::serve) fn new() -> Self {
        // Without random numbers the agent can give no leases either.
        Self(getrandom::u32().unwrap_or_default())
    }

    /// A service's version, as callers get it.
    pub(in crate::serve) fn version(self, number: u64) -> String {
        format!("{:08x}.{number}", self.0)
    }

    /// The number in a version; `None` if another run gave it.
    pub(in crate::serve) fn number(self, version: &str) -> Result<Option<u64>, Violation> {
        let parts = version.split_once('.').and_then(|(run_id, number)| {
            // `parse` would accept a sign.
            let plain = run_id.len() == 8 && !version.contains('+');
            let run_id = plain.then(|| u32::from_str_radix(run_id, 16).ok()).flatten()?;
            Some((run_id, number.parse().ok()?))
        });
        match parts {
            Some((run_id, number)) => Ok((run_id == self.0).then_some(number)),
            None => Err(Violation::new(
                "since",
                format!(
                    "{} is not a version: send the version of the last event, or leave it out",
                    limits::quoted(version)
                ),
            )),
        }
    }
}
