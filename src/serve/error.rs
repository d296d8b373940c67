//! The errors of calls, the same over gRPC and HTTP.
//!
//! The message tells a person what was wrong and what would be right. The details tell a program the
//! same: `google.rpc.ErrorInfo` has a reason that never changes, `google.rpc.BadRequest` the field.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{
    catalog::{LookupError, NameError},
    publish::NoEndpoint,
    quota::Exhausted,
};

/// The `domain` of `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "pointsman.dev";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No source knows the service, or it has no such port.
    #[error("{0}")]
    NotFound(LookupError),
    /// No endpoint of the service can serve.
    #[error("{0}")]
    NoEndpoint(NoEndpoint),
    /// The sources have not answered in time.
    #[error("{what} is {why} (waited {})", humantime::format_duration(*.waited))]
    NotAnswered { what: String, why: String, waited: Duration },
    /// More at a time than makes sense.
    #[error("these are more than {limit} {what}: send the others when these are answered")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        limit: usize,
    },
    /// The agent is shutting down.
    #[error("the agent is shutting down: call again, and the next agent answers")]
    ShuttingDown,
    /// The configuration does not let this caller ask for the service.
    #[error(
        "{caller} may not ask for services of namespace \"{namespace}\": see access in the agent's \
         configuration"
    )]
    Forbidden { caller: String, namespace: String },
    /// The caller holds too much, or all callers together do.
    #[error("{exhausted}; {right}")]
    Exhausted {
        /// The quota and its holder.
        exhausted: Exhausted,
        right: &'static str,
    },
    /// The request's body came too slowly.
    #[error("the request was not complete after {}", humantime::format_duration(*.limit))]
    TooSlow {
        /// How long it may take.
        limit: Duration,
    },
    /// The system gives no memory for a service's table.
    #[error("the agent could not make a table: {0}")]
    NoTable(std::io::Error),
    /// A field of the request is invalid.
    #[error("{}", violations(.0))]
    Invalid(Vec<Violation>),
    /// The request is larger than any that makes sense.
    #[error("the request is larger than {limit} bytes: send less at a time")]
    TooLarge {
        /// The most that is read.
        limit: usize,
    },
    /// HTTP: nothing is served there.
    #[error("there is no path {path}; the paths are {paths}")]
    NoSuchPath { path: String, paths: &'static str },
    /// HTTP: the path does not take this method.
    #[error("{path} does not accept {method}; it accepts {allow}")]
    NoSuchMethod { path: String, method: String, allow: &'static str },
}

/// An invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path: `reports[2].latency`; empty for the request as a whole.
    pub field: String,
    /// What is wrong, and what would be right.
    pub wrong: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, wrong: impl Into<String>) -> Self {
        Self { field: field.into(), wrong: wrong.into() }
    }
}

fn violations(all: &[Violation]) -> String {
    let each = all.iter().map(|violation| match violation.field.as_str() {
        "" => violation.wrong.clone(),
        field => format!("{field}: {}", violation.wrong),
    });
    each.collect::<Vec<_>>().join("; ")
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Violation::new("service", error.to_string()).into()
    }
}

impl From<NoEndpoint> for Error {
    fn from(error: NoEndpoint) -> Self {
        Self::NoEndpoint(error)
    }
}

impl Error {
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound(_) | Self::NoSuchPath { .. } => Code::NotFound,
            Self::NoEndpoint(_) | Self::ShuttingDown => Code::Unavailable,
            Self::NotAnswered { .. } => Code::DeadlineExceeded,
            Self::NoTable(_) => Code::Internal,
            Self::Invalid(_) => Code::InvalidArgument,
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::Exhausted { .. } => {
                Code::ResourceExhausted
            }
            Self::Forbidden { .. } => Code::PermissionDenied,
            Self::TooSlow { .. } => Code::DeadlineExceeded,
            Self::NoSuchMethod { .. } => Code::Unimplemented,
        }
    }

    /// The reason for programs; it never changes.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(LookupError::NoSuchPort { .. }) => "NO_SUCH_PORT",
            Self::NotFound(_) => "NO_SUCH_SERVICE",
            Self::NoEndpoint(_) => "NO_ENDPOINT",
            Self::NotAnswered { .. } => "SOURCE_NOT_ANSWERED",
            Self::NoTable(_) => "NO_TABLE",
            Self::Invalid(_) => "INVALID_REQUEST",
            Self::TooLarge { .. } => "REQUEST_TOO_LARGE",
            Self::TooMany { .. } => "TOO_MANY_AT_ONCE",
            Self::ShuttingDown => "AGENT_ENDING",
            Self::Forbidden { .. } => "FORBIDDEN",
            Self::Exhausted { .. } => "QUOTA_EXHAUSTED",
            Self::TooSlow { .. } => "REQUEST_TOO_SLOW",
            Self::NoSuchPath { .. } => "NO_SUCH_PATH",
            Self::NoSuchMethod { .. } => "NO_SUCH_METHOD",
        }
    }

    /// The metadata of the reason.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NotFound(LookupError::NoSuchService { asked, near }) => {
                vec![("service", asked.to_string()), ("near", near.join(", "))]
            }
            Self::NotFound(LookupError::NoSuchPort { service, asked, ports, near }) => vec![
                ("service", service.to_string()),
                ("port", asked.to_string()),
                ("ports", ports.join(", ")),
                ("near", near.join(", ")),
            ],
            Self::NoEndpoint(NoEndpoint { target, why, .. }) => {
                vec![("service", target.clone()), ("why", why.clone())]
            }
            Self::NotAnswered { what, .. } => vec![("what", what.clone())],
            Self::TooLarge { limit } | Self::TooMany { limit, .. } => {
                vec![("limit", limit.to_string())]
            }
            Self::Forbidden { namespace, .. } => vec![("namespace", namespace.clone())],
            Self::Exhausted { exhausted, .. } => vec![
                ("quota", exhausted.name.to_owned()),
                ("held", exhausted.held.to_string()),
                ("total", exhausted.total.to_string()),
            ],
            _ => Vec::new(),
        }
    }

    /// The gRPC status, with its details.
    #[must_use]
    pub fn status(&self) -> tonic::Status {
        let metadata: std::collections::HashMap<String, String> =
            self.metadata().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(self.reason(), DOMAIN, metadata);
        if let Self::Invalid(violations) = self {
            details.set_bad_request(
                violations
                    .iter()
                    .map(|violation| FieldViolation::new(&violation.field, &violation.wrong))
                    .collect::<Vec<_>>(),
            );
        }
        tonic::Status::with_error_details(self.code(), self.to_string(), details)
    }

    #[must_use]
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::NoSuchPath { .. } => StatusCode::NOT_FOUND,
            Self::NoEndpoint(_) | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotAnswered { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::NoTable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::TooMany { .. } | Self::Exhausted { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NoSuchMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// The body of the HTTP response.
    #[must_use]
    pub fn json(&self) -> Body {
        let metadata: serde_json::Map<String, Value> = self
            .metadata()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect();
        let mut details = vec![json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason(),
            "domain": DOMAIN,
            "metadata": metadata,
        })];
        if let Self::Invalid(violations) = self {
            let violations: Vec<Value> = violations
                .iter()
                .map(|each| json!({ "field": each.field, "description": each.wrong }))
                .collect();
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": violations,
            }));
        }
        let code = code_name(self.code());
        Body { error: BodyError { code, message: self.to_string(), details } }
    }
}

/// The body of an error over HTTP.
#[derive(Debug, Serialize)]
pub struct Body {
    error: BodyError,
}

#[derive(Debug, Serialize)]
struct BodyError {
    code: &'static str,
    message: String,
    /// Each is a `google.protobuf.Any` in proto3 JSON.
    details: Vec<Value>,
}

/// Every code that an [`Error`] may have.
pub const CODES: [Code; 8] = [
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
];

/// The name of a gRPC status code.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ServiceName;

    fn unknown() -> Error {
        Error::NotFound(LookupError::NoSuchService {
            asked: ServiceName::new("crat", "shop", None).unwrap(),
            near: vec!["cart.shop".to_owned()],
        })
    }

    #[test]
    fn a_near_miss_is_told_to_people_and_programs() {
        let error = unknown();
        assert_eq!(error.to_string(), r#"no service "crat.shop"; did you mean "cart.shop"?"#);
        let status = error.status();
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str()), (Code::NotFound, "NO_SUCH_SERVICE"));
        assert_eq!(info.metadata["near"], "cart.shop");
        let body = serde_json::to_value(error.json()).unwrap();
        assert_eq!(body["error"]["code"], "NOT_FOUND");
        assert_eq!(body["error"]["details"][0]["metadata"]["near"], "cart.shop");
        assert_eq!(error.http_status(), 404);
    }

    #[test]
    fn every_field_that_is_wrong_is_named() {
        let error = Error::Invalid(vec![
            Violation::new("count", "must be at most 64"),
            Violation::new("wait", "must not be negative"),
        ]);
        assert_eq!(error.to_string(), "count: must be at most 64; wait: must not be negative");
        let bad = error.status().get_details_bad_request().unwrap();
        assert_eq!(bad.field_violations[1].field, "wait");
        let body = serde_json::to_value(error.json()).unwrap();
        assert_eq!(body["error"]["details"][1]["fieldViolations"][0]["field"], "count");
    }

    #[test]
    fn a_source_that_has_not_answered_is_named_with_the_wait() {
        let error = Error::NotAnswered {
            what: "cart.shop".to_owned(),
            why: "not known yet: no answer so far from file a.yaml".to_owned(),
            waited: Duration::from_secs(1),
        };
        let text = error.to_string();
        assert!(text.contains("file a.yaml") && text.contains("(waited 1s)"), "{text}");
        assert_eq!((error.code(), error.http_status().as_u16()), (Code::DeadlineExceeded, 504));
    }
}
