//! Writes responses: messages as JSON, errors with their status, streams as lines.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_TYPE, SERVER},
};
use http_body_util::Full;
use serde::Serialize;

use super::json;
use crate::{
    leases::Undelivered,
    serve::{
        Agent, Error,
        calls::{
            delivery::{Delivered, DeliveryTracker},
            watch_events::Events,
        },
        counters::{Call, Protocol},
    },
};

/// The `Server` header, which `pointsman check` reads.
pub const PRODUCT: HeaderValue =
    HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION")));

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// One message on each line of a stream.
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// The answer of a call, or its error.
pub(super) fn respond<T: Serialize>(
    agent: &Agent,
    call: Call,
    answer: Result<T, Error>,
) -> Response {
    match answer {
        Ok(message) => {
            agent.metrics.answered(call, Protocol::Http, tonic::Code::Ok);
            send(StatusCode::OK, json::line(&message), None, None)
        }
        Err(error) => refuse(agent, call, &error),
    }
}

/// The error of a call.
pub(super) fn refuse(agent: &Agent, call: Call, error: &Error) -> Response {
    agent.metrics.answered(call, Protocol::Http, error.code());
    refuse_uncounted(error)
}

/// An error that belongs to no call.
pub(super) fn refuse_uncounted(error: &Error) -> Response {
    let mut response = send(error.http_status(), json::line(&error.json()), None, None);
    if let Error::NoSuchMethod { allow, .. } = error {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// A message. The leases in it end unless the caller gets it.
pub(super) fn send(
    status: StatusCode,
    message: Bytes,
    leases: Option<Undelivered>,
    tracker: Option<Arc<DeliveryTracker>>,
) -> Response {
    let body = Delivered::new(Full::new(message), leases, tracker);
    answer(status, JSON, Body::new(body))
}

/// A stream of events, one on each line.
pub(super) fn stream(events: Events) -> Response {
    answer(StatusCode::OK, LINES, Body::new(events))
}

/// A document that is JSON already.
pub(super) fn document(text: &'static str) -> Response {
    answer(StatusCode::OK, JSON, Body::from(text))
}

fn answer(status: StatusCode, content: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content);
    response.headers_mut().insert(SERVER, PRODUCT);
    response
}
