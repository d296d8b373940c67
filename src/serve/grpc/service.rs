//! Turns a gRPC request into its call, and the answer into a response.
//!
//! tonic reads the frames. Its generated server is not used for two reasons. It answers INTERNAL to a
//! message it can't read, where this one answers INVALID_ARGUMENT with the field. And it has no hook
//! for an answer that gets lost, whose leases have to end.

use std::{future::ready, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use prost::Message;
use tonic::{Code, Status};

use super::{
    framing::{self, GRPC_STATUS, ProstDecoder, RawDecoder, framed, message_status, written},
    message_timeout::MessageTimeout,
    session::Session,
};
use crate::{
    api::v1,
    leases::Undelivered,
    serve::{
        Agent, Caller, Error, Violation,
        calls::{
            delivery::Delivered,
            watch_events::{Encoding, Events},
        },
        counters::{Call, Protocol},
        limits,
    },
};

const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");
/// The answer leaves so long before the caller's deadline, or a tenth of the deadline before if that is
/// less. When a caller's own timer ends the call, the caller never learns what the agent waited for;
/// tonic's even says CANCELLED. On an idle machine an answer takes under a millisecond.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// One message for each event, and trailers that say why the stream ends.
static EVENTS: Encoding = Encoding {
    protocol: Protocol::Grpc,
    event: |event| framed(event),
    end: |error| Frame::trailers(framing::trailers(&error.status())),
};

/// Whether a request speaks gRPC, by its content type.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What a request's head asks for. The head is not kept: it may be long, and its body may never come.
#[derive(Debug)]
pub struct RequestHead {
    /// The call, or the reason to refuse it.
    call: Result<Call, (Option<Call>, Status)>,
    deadline: Option<Duration>,
}

impl RequestHead {
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        let named = path.strip_prefix("/pointsman.v1.Agent/").and_then(Call::by_name);
        let call = match (named, unreadable(request.headers())) {
            (Some(call), None) => Ok(call),
            (Some(call), Some(status)) => Err((Some(call), status)),
            (None, _) => Err((None, no_such_method(path))),
        };
        Self { call, deadline: deadline(request.headers()).map(in_time) }
    }

    #[must_use]
    pub fn refuse(&self, agent: &Agent, error: &Error) -> Response<axum::body::Body> {
        let call = self.call.as_ref().map_or_else(|(call, _)| *call, |call| Some(*call));
        refuse(agent, call, &error.status())
    }
}

pub async fn answer<B>(
    agent: &Arc<Agent>,
    caller: &Caller,
    head: RequestHead,
    body: B,
) -> Response<axum::body::Body>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError> + Send,
{
    let deadline = head.deadline;
    let call = match head.call {
        Ok(call) => call,
        Err((call, status)) => return refuse(agent, call, &status),
    };
    let body = MessageTimeout::new(body, caller.account.pending());
    let answer = match call {
        Call::Pick => match read(body).await {
            Ok(message) => pick(agent, caller, &message, deadline).await,
            Err(status) => Err(status),
        },
        Call::Report => read(body).await.and_then(|message| {
            let answer = agent.report(caller.identity, message);
            answer.map(|reported| send(framed(&reported), None)).map_err(|error| error.status())
        }),
        Call::Session => {
            match Session::new(agent, caller, framing::messages(RawDecoder, body)) {
                // Counted at its end.
                Ok(session) => return stream(session),
                Err(error) => Err(error.status()),
            }
        }
        Call::WatchService => {
            let begun = match read(body).await {
                Ok(message) => {
                    Box::pin(agent.watch_service(caller.identity, message, deadline)).await
                }
                Err(status) => return refuse(agent, Some(call), &status),
            };
            match begun {
                // Counted at its end.
                Ok(watcher) => return stream(Events::new(agent, watcher, &EVENTS)),
                Err(error) => Err(error.status()),
            }
        }
        Call::ListServices => match read(body).await {
            Ok(message) => {
                unary(Box::pin(agent.list_services(caller.identity, &message, deadline)).await)
            }
            Err(status) => Err(status),
        },
        Call::GetService => match read(body).await {
            Ok(message) => {
                unary(Box::pin(agent.get_service(caller.identity, &message, deadline)).await)
            }
            Err(status) => Err(status),
        },
        Call::ListCallers => read(body).await.and_then(|message| {
            let v1::ListCallersRequest {} = message;
            unary(Ok(agent.list_callers(caller.identity)))
        }),
        Call::Explain => match read(body).await {
            Ok(message) => {
                unary(Box::pin(agent.explain(caller.identity, &message, deadline)).await)
            }
            Err(status) => Err(status),
        },
    };
    match answer {
        Ok(response) => {
            agent.metrics.answered(call, Protocol::Grpc, Code::Ok);
            response
        }
        Err(status) => refuse(agent, Some(call), &status),
    }
}

async fn pick(
    agent: &Agent,
    caller: &Caller,
    message: &v1::PickRequest,
    deadline: Option<Duration>,
) -> Result<Response<axum::body::Body>, Status> {
    let answer = async {
        // Charged, since the pick may wait for a source.
        let _held = caller.account.hold_long(message.encoded_len())?;
        agent.pick_rate_limited(&caller.on_connection(), message, deadline).await
    };
    let answer = answer.await.map(|(picked, leases)| send(written(&picked), Some(leases)));
    answer.map_err(|error| error.status())
}

fn unary<T: Message>(answer: Result<T, Error>) -> Result<Response<axum::body::Body>, Status> {
    answer.map(|message| send(framed(&message), None)).map_err(|error| error.status())
}

/// The one message of a unary request, in the time it may take.
async fn read<T, B>(body: B) -> Result<T, Status>
where
    T: Message + Default + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError> + Send,
{
    let limit = limits::BODY_TIME;
    let read = tokio::time::timeout(limit, one_message(body)).await;
    read.unwrap_or_else(|_| Err(Error::TooSlow { limit }.status()))
}

async fn one_message<T, B>(body: B) -> Result<T, Status>
where
    T: Message + Default + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError> + Send,
{
    let mut messages = framing::messages(ProstDecoder::new(), body);
    let message = match messages.message().await {
        Ok(Some(message)) => message,
        Ok(None) => {
            let wrong = "has no message: a unary call sends exactly one";
            return Err(Error::from(Violation::new("", wrong)).status());
        }
        Err(status) => return Err(message_status(status)),
    };
    // Read to the end, so that the stream closes as the client expects.
    messages.trailers().await?;
    Ok(message)
}

/// A response of one message, with the trailers of success.
fn send(message: Bytes, leases: Option<Undelivered>) -> Response<axum::body::Body> {
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(message).with_trailers(ready(Some(Ok(trailers))));
    stream(Delivered::new(body, leases, None))
}

/// A response whose body has its own frames and trailers.
fn stream<B>(body: B) -> Response<axum::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let mut response = Response::new(axum::body::Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    response
}

fn refuse(agent: &Agent, call: Option<Call>, status: &Status) -> Response<axum::body::Body> {
    match call {
        Some(call) => agent.metrics.answered(call, Protocol::Grpc, status.code()),
        None => agent.metrics.misdirected(),
    }
    status.clone().into_http()
}

fn no_such_method(path: &str) -> Status {
    let names = Call::ALL.map(Call::name).join(", ");
    Status::unimplemented(format!("there is no method {path}; pointsman.v1.Agent has {names}"))
}

/// The status for a request whose encoding is not supported.
fn unreadable(headers: &HeaderMap) -> Option<Status> {
    let encoding = headers.get("grpc-encoding")?;
    if encoding == "identity" {
        return None;
    }
    let mut status = Status::unimplemented(
        "the agent reads no compressed messages: send grpc-encoding identity",
    );
    status
        .metadata_mut()
        .insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("identity"));
    Some(status)
}

/// The caller's deadline as `grpc-timeout` has it: at most eight digits and a unit.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// How long a call may wait, so that its answer arrives before the caller's deadline.
fn in_time(deadline: Duration) -> Duration {
    deadline - ON_ITS_WAY.min(deadline / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_in_every_unit_and_nonsense_is_none() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(text).unwrap());
            deadline(&headers)
        };
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        for text in ["", "m", "1", "-1m", "1x", "123456789S", "1 m"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_answer_leaves_before_the_deadline() {
        let waits = |ms| in_time(Duration::from_millis(ms)).as_millis();
        assert_eq!([0, 10, 100, 1_000].map(waits), [0, 9, 90, 980]);
    }
}
