//! What a check found, and how to correct it.

use serde::Serialize;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The name of the check.
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) seen: String,
    /// How to correct it; empty if nothing is wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) right: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Good,
    /// It works, but not as well as it could, or not for long.
    Doubtful,
    Wrong,
}

impl Finding {
    pub(super) fn good(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Good, seen: seen.into(), right: String::new() }
    }

    pub(super) fn doubtful(
        what: &'static str,
        seen: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self { what, verdict: Verdict::Doubtful, seen: seen.into(), right: right.into() }
    }

    pub(super) fn wrong(
        what: &'static str,
        seen: impl Into<String>,
        right: impl Into<String>,
    ) -> Self {
        Self { what, verdict: Verdict::Wrong, seen: seen.into(), right: right.into() }
    }
}
