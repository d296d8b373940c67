//! Turns an HTTP request into its call, and the answer into a response.
//!
//! A body is read as JSON whatever its content type is, so that curl needs no header.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::State,
    response::Response,
    routing::{get, post},
};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{CONTENT_TYPE, SERVER},
};
use http_body_util::Full;
use hyper::body::{Frame, Incoming};
use serde::Serialize;

use super::{
    body::read_body,
    json, pick_response,
    query::{Query, QueryParameters, ServiceName},
};
use crate::{
    api::v1,
    identity::Identity,
    leases::Undelivered,
    serve::{
        Agent, Caller, Error, Violation,
        calls::{
            delivery::{Delivered, DeliveryTracker},
            pick_response::PickResponse,
            watch_events::{Encoding, Events},
        },
        counters::{Call, Protocol},
        limits,
    },
};

/// The OpenAPI description of these calls. A test holds it to the messages.
pub(super) const OPENAPI: &str = include_str!("../../../schema/openapi.json");

/// The paths that are served, for the error of another path.
pub const PATHS: &str = "POST /v1/pick, POST /v1/report, GET /v1/services, \
     GET /v1/services/{service}, GET /v1/services/{service}/explain, GET /v1/callers, \
     GET /openapi.json";

/// The `Server` header, which `pointsman check` reads.
pub const PRODUCT: HeaderValue =
    HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION")));

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// One message on each line of a stream.
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// One line for each event. The last line is an error that says why the stream ends.
static EVENTS: Encoding = Encoding {
    protocol: Protocol::Http,
    event: |event| json::line(event),
    end: |error| Frame::data(json::line(&error.json())),
};

/// The routes; each request needs a [`Caller`] in its extensions.
pub fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        // POST takes the fast path (`FastPath`). Other methods come here, and are refused with `Allow`.
        .route("/v1/pick", post(no_such_method))
        .route("/v1/report", post(no_such_method))
        .route("/v1/services", get(list))
        .route("/v1/services/{service}", get(one))
        .route("/v1/services/{service}/explain", get(explain))
        .route("/v1/callers", get(callers))
        .route("/openapi.json", get(described))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(agent)
}

/// The calls that an application makes with each of its requests. They are answered without walking
/// the routes, which costs as much as a pick.
#[derive(Clone, Copy)]
pub enum FastPath {
    /// `POST /v1/pick`
    Pick,
    /// `POST /v1/report`
    Report,
}

impl FastPath {
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        match request.uri().path() {
            "/v1/pick" if request.method() == Method::POST => Some(Self::Pick),
            "/v1/report" if request.method() == Method::POST => Some(Self::Report),
            _ => None,
        }
    }

    pub async fn answer(
        self,
        agent: &Agent,
        caller: &Caller,
        version: Version,
        body: Incoming,
    ) -> Response {
        match self {
            Self::Pick => match pick(agent, caller, body).await {
                Ok((picked, leases)) => {
                    agent.metrics.answered(Call::Pick, Protocol::Http, tonic::Code::Ok);
                    // Only HTTP/1.1 answers in order, so that a later request confirms an answer.
                    let tracker = (version <= Version::HTTP_11).then(|| caller.delivery.clone());
                    send(StatusCode::OK, pick_response::line(&picked), Some(leases), tracker)
                }
                Err(error) => refuse(agent, Call::Pick, &error),
            },
            Self::Report => respond(agent, Call::Report, report(agent, caller, body).await),
        }
    }
}

async fn pick(
    agent: &Agent,
    caller: &Caller,
    body: Incoming,
) -> Result<(PickResponse, Undelivered), Error> {
    let body = read_body(body, &caller.account).await?;
    // Charged, since the pick may wait for a source.
    let _held = caller.account.hold_long(body.len())?;
    let message: v1::PickRequest = json::read(&body)?;
    drop(body);
    agent.pick_rate_limited(&caller.on_any_connection(), &message, None).await
}

async fn report(
    agent: &Agent,
    caller: &Caller,
    body: Incoming,
) -> Result<v1::ReportResponse, Error> {
    let message = json::read(&read_body(body, &caller.account).await?)?;
    agent.report(caller.identity, message)
}

async fn list(
    State(agent): State<Arc<Agent>>,
    Extension(caller): Extension<Caller>,
    Query(mut query): Query,
) -> Response {
    let answer = async {
        let request = v1::ListServicesRequest {
            namespace: query.take("namespace").unwrap_or_default(),
            page_size: match query.take("pageSize") {
                Some(text) => text.parse().map_err(|_| {
                    let wrong =
                        format!("{} is not a whole number of 0 or more", limits::quoted(&text));
                    Violation::new("pageSize", wrong)
                })?,
                None => 0,
            },
            page_token: query.take("pageToken").unwrap_or_default(),
        };
        query.end("namespace, pageSize and pageToken")?;
        agent.list_services(caller.identity, &request, None).await
    };
    respond(&agent, Call::ListServices, answer.await)
}

async fn one(
    State(agent): State<Arc<Agent>>,
    Extension(caller): Extension<Caller>,
    ServiceName(service): ServiceName,
    Query(mut query): Query,
) -> Response {
    let watch = match query.take("watch").as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(text) => {
            let wrong = format!("is {}: it must be true or false", limits::quoted(text));
            Err(Violation::new("watch", wrong))
        }
    };
    if let Ok(true) = watch {
        return watched(agent, caller.identity, service, query).await;
    }
    let answer = async {
        watch?;
        query.end("watch, and since with watch=true")?;
        let request = v1::GetServiceRequest { service: service? };
        agent.get_service(caller.identity, &request, None).await
    };
    respond(&agent, Call::GetService, answer.await)
}

async fn watched(
    agent: Arc<Agent>,
    identity: Identity,
    service: Result<String, Error>,
    mut query: QueryParameters,
) -> Response {
    let begun = async {
        let since = query.take("since").unwrap_or_default();
        query.end("watch and since")?;
        let request = v1::WatchServiceRequest { service: service?, since };
        agent.watch_service(identity, request, None).await
    };
    match begun.await {
        Ok(watcher) => {
            let events = Events::new(&agent, watcher, &EVENTS);
            answer(StatusCode::OK, LINES, Body::new(events))
        }
        Err(error) => refuse(&agent, Call::WatchService, &error),
    }
}

async fn explain(
    State(agent): State<Arc<Agent>>,
    Extension(caller): Extension<Caller>,
    ServiceName(service): ServiceName,
    Query(mut query): Query,
) -> Response {
    let answer = async {
        let selector = query.take_below("selector.");
        query.end("selector.LABEL")?;
        let request = v1::ExplainRequest { service: service?, selector };
        agent.explain(caller.identity, &request, None).await
    };
    respond(&agent, Call::Explain, answer.await)
}

async fn callers(
    State(agent): State<Arc<Agent>>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
) -> Response {
    let answer = query.end("none").map(|()| agent.list_callers(caller.identity));
    respond(&agent, Call::ListCallers, answer.map_err(Error::from))
}

async fn described() -> Response {
    answer(StatusCode::OK, JSON, Body::from(OPENAPI))
}

async fn no_such_path(State(agent): State<Arc<Agent>>, uri: Uri) -> Response {
    agent.metrics.misdirected();
    tell(&Error::NoSuchPath { path: limits::quoted(uri.path()), paths: PATHS })
}

async fn no_such_method(State(agent): State<Arc<Agent>>, method: Method, uri: Uri) -> Response {
    agent.metrics.misdirected();
    let path = uri.path().to_owned();
    tell(&Error::NoSuchMethod { path, method: method.to_string() })
}

fn respond<T: Serialize>(agent: &Agent, call: Call, answer: Result<T, Error>) -> Response {
    match answer {
        Ok(message) => {
            agent.metrics.answered(call, Protocol::Http, tonic::Code::Ok);
            send(StatusCode::OK, json::line(&message), None, None)
        }
        Err(error) => refuse(agent, call, &error),
    }
}

fn refuse(agent: &Agent, call: Call, error: &Error) -> Response {
    agent.metrics.answered(call, Protocol::Http, error.code());
    tell(error)
}

/// Refuses a request of which nothing was read.
pub(in crate::serve) fn refuse_unread(
    agent: &Agent,
    fast_path: Option<FastPath>,
    error: &Error,
) -> Response {
    match fast_path {
        Some(FastPath::Pick) => refuse(agent, Call::Pick, error),
        Some(FastPath::Report) => refuse(agent, Call::Report, error),
        None => tell(error),
    }
}

fn tell(error: &Error) -> Response {
    send(error.http_status(), json::line(&error.json()), None, None)
}

fn send(
    status: StatusCode,
    message: Bytes,
    leases: Option<Undelivered>,
    tracker: Option<Arc<DeliveryTracker>>,
) -> Response {
    let body = Delivered::new(Full::new(message), leases, tracker);
    answer(status, JSON, Body::new(body))
}

fn answer(status: StatusCode, content: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content);
    response.headers_mut().insert(SERVER, PRODUCT);
    response
}
