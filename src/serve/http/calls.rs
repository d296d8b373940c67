//! Answers each HTTP request: reads its message, makes the call, and has the response written.
//!
//! A body is read as JSON whatever its content type is, so that curl needs no header.

use std::sync::Arc;

use axum::response::Response;
use http::{Method, StatusCode, Uri, Version, header::CONTENT_LENGTH};
use hyper::body::{Body as _, Frame, Incoming};

use super::{
    body::read_body,
    json, pick_response,
    query::{QueryParameters, service_name},
    response::{document, refuse, refuse_uncounted, respond, send, stream},
    router::{Route, Routed},
};
use crate::{
    api::v1,
    leases::Undelivered,
    serve::{
        Agent, Caller, Error, Violation,
        calls::{
            pick_response::PickResponse,
            watch_events::{Encoding, Events},
        },
        counters::{Call, Protocol},
        limits,
    },
};

/// The OpenAPI description of these calls. A test holds it to the messages.
pub(super) const OPENAPI: &str = include_str!("../../../schema/openapi.json");

/// One line for each event. The last line is an error that says why the stream ends.
static EVENTS: Encoding = Encoding {
    protocol: Protocol::Http,
    event: |event| json::line(event),
    end: |error| Frame::data(json::line(&error.json())),
};

/// Answers `POST /v1/pick`.
pub(in crate::serve) async fn pick(
    agent: &Agent,
    caller: &Caller,
    version: Version,
    body: Incoming,
) -> Response {
    match read_and_pick(agent, caller, body).await {
        Ok((picked, leases)) => {
            agent.metrics.answered(Call::Pick, Protocol::Http, tonic::Code::Ok);
            // Only HTTP/1.1 answers in order, so that a later request confirms an answer.
            let tracker = (version <= Version::HTTP_11).then(|| caller.delivery.clone());
            send(StatusCode::OK, pick_response::line(&picked), Some(leases), tracker)
        }
        Err(error) => refuse(agent, Call::Pick, &error),
    }
}

async fn read_and_pick(
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

/// Answers `POST /v1/report`.
pub(in crate::serve) async fn report(agent: &Agent, caller: &Caller, body: Incoming) -> Response {
    let answer = async {
        let message = json::read(&read_body(body, &caller.account).await?)?;
        agent.report(caller.identity, message)
    };
    respond(agent, Call::Report, answer.await)
}

/// Answers a request that has no body, or no route.
pub(in crate::serve) async fn answer(
    agent: &Arc<Agent>,
    caller: &Caller,
    routed: Result<Routed, Error>,
    method: Method,
    uri: Uri,
) -> Response {
    // Charged, since the answer may wait for a source.
    let held = caller.account.hold_long(uri.path_and_query().map_or(0, |path| path.as_str().len()));
    let (_held, Routed { route, service }) = match held.and_then(|held| Ok((held, routed?))) {
        Ok(both) => both,
        Err(error) => {
            if matches!(error, Error::NoSuchPath { .. } | Error::NoSuchMethod { .. }) {
                agent.metrics.misdirected();
            }
            return refuse_uncounted(&error);
        }
    };
    let service = service_name(service.as_deref().unwrap_or_default());
    let query = QueryParameters::of(&uri);
    let mut response = match route {
        Route::ListServices => list(agent, caller, query).await,
        Route::GetService => one(agent, caller, service, query).await,
        Route::Explain => explain(agent, caller, service, query).await,
        Route::ListCallers => callers(agent, caller, query),
        Route::OpenApi => document(OPENAPI),
        Route::Pick | Route::Report => unreachable!("they have a body"),
    };
    if method == Method::HEAD {
        let body = std::mem::take(response.body_mut());
        if let Some(length) = body.size_hint().exact() {
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
    }
    response
}

async fn list(agent: &Agent, caller: &Caller, mut query: QueryParameters) -> Response {
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
    respond(agent, Call::ListServices, answer.await)
}

async fn one(
    agent: &Arc<Agent>,
    caller: &Caller,
    service: Result<String, Error>,
    mut query: QueryParameters,
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
        return watched(agent, caller, service, query).await;
    }
    let answer = async {
        watch?;
        query.end("watch, and since with watch=true")?;
        let request = v1::GetServiceRequest { service: service? };
        agent.get_service(caller.identity, &request, None).await
    };
    respond(agent, Call::GetService, answer.await)
}

async fn watched(
    agent: &Arc<Agent>,
    caller: &Caller,
    service: Result<String, Error>,
    mut query: QueryParameters,
) -> Response {
    let begun = async {
        let since = query.take("since").unwrap_or_default();
        query.end("watch and since")?;
        let request = v1::WatchServiceRequest { service: service?, since };
        agent.watch_service(caller.identity, request, None).await
    };
    match begun.await {
        Ok(watcher) => stream(Events::new(agent, watcher, &EVENTS)),
        Err(error) => refuse(agent, Call::WatchService, &error),
    }
}

async fn explain(
    agent: &Agent,
    caller: &Caller,
    service: Result<String, Error>,
    mut query: QueryParameters,
) -> Response {
    let answer = async {
        let selector = query.take_below("selector.");
        query.end("selector.LABEL")?;
        let request = v1::ExplainRequest { service: service?, selector };
        agent.explain(caller.identity, &request, None).await
    };
    respond(agent, Call::Explain, answer.await)
}

fn callers(agent: &Agent, caller: &Caller, query: QueryParameters) -> Response {
    let answer = query.end("none").map(|()| agent.list_callers(caller.identity));
    respond(agent, Call::ListCallers, answer.map_err(Error::from))
}

/// Refuses a request of which nothing was read.
pub(in crate::serve) fn refuse_unread(
    agent: &Agent,
    routed: &Result<Routed, Error>,
    error: &Error,
) -> Response {
    match routed {
        Ok(Routed { route: Route::Pick, .. }) => refuse(agent, Call::Pick, error),
        Ok(Routed { route: Route::Report, .. }) => refuse(agent, Call::Report, error),
        _ => refuse_uncounted(error),
    }
}
