//! A failed command: a message for a person and an exit code for a script.

use std::process::ExitCode;

use serde_json::Value;

use crate::printable::{printable, printable_lines};

/// The exit codes, as `--help` shows them.
pub const HELP: &str = "\
Exit codes:
  0  picked, or done
  1  any other failure, or a difference
  2  wrong usage, or an invalid request
  3  no such service, port or resource
  4  no endpoint can serve
  5  the agent is not reachable, or the control plane
  6  the source has not answered yet, or the control plane";

#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
}

/// The kinds of failures, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any other failure.
    Other = 1,
    /// The command line, or the request from it, is invalid.
    Usage = 2,
    /// No such service, port or resource.
    NoService = 3,
    /// No endpoint can serve.
    NoEndpoint = 4,
    /// No agent answers at the socket, or no control plane at its address.
    NoAgent = 5,
    /// The agent answers, but its source has not yet. Or a control plane leaves something unanswered.
    NotAnswered = 6,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A failure without an exit code of its own.
    pub fn other(message: impl ToString) -> Self {
        Self::new(Kind::Other, message.to_string())
    }

    /// From an error response: `{"error": {"code", "message", "details"}}`.
    #[must_use]
    pub fn from_response(body: &Value) -> Self {
        let error = &body["error"];
        let reason = error["details"][0]["reason"].as_str().unwrap_or_default();
        let kind = match (error["code"].as_str().unwrap_or_default(), reason) {
            ("NOT_FOUND", "NO_SUCH_SERVICE" | "NO_SUCH_PORT") => Kind::NoService,
            ("UNAVAILABLE", _) => Kind::NoEndpoint,
            ("DEADLINE_EXCEEDED", _) => Kind::NotAnswered,
            ("INVALID_ARGUMENT", _) => Kind::Usage,
            _ => Kind::Other,
        };
        let message = error["message"].as_str().unwrap_or("the agent gave no reason");
        Self::new(kind, printable(message))
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Prints the message to standard error.
    pub(super) fn report(&self) -> ExitCode {
        eprintln!("{}", printable_lines(&self.message));
        ExitCode::from(self.kind as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(code: &str, reason: &str) -> Kind {
        let body = json!({ "error": { "code": code, "details": [{ "reason": reason }] } });
        Failure::from_response(&body).kind()
    }

    #[test]
    fn a_script_can_tell_the_errors_apart() {
        assert_eq!(kind("NOT_FOUND", "NO_SUCH_SERVICE"), Kind::NoService);
        assert_eq!(kind("NOT_FOUND", "NO_SUCH_PORT"), Kind::NoService);
        assert_eq!(kind("NOT_FOUND", "NO_SUCH_PATH"), Kind::Other);
        assert_eq!(kind("UNAVAILABLE", "NO_ENDPOINT"), Kind::NoEndpoint);
        assert_eq!(kind("DEADLINE_EXCEEDED", "SOURCE_NOT_ANSWERED"), Kind::NotAnswered);
        assert_eq!(kind("INVALID_ARGUMENT", "INVALID_REQUEST"), Kind::Usage);
        assert_eq!(Failure::from_response(&Value::Null).kind(), Kind::Other);
    }
}
