//! Dispatches the requests of one connection: gRPC by the content type, HTTP with JSON otherwise. It
//! also decides whether the connection stays open after an answer.

use std::{
    future::{pending, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use ::http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use axum::body::Body;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{Notify, watch};

use super::{idle_timeout::IdleTimer, response_body::ResponseBody};
use crate::serve::{
    Agent, Caller, Error,
    grpc::{
        self,
        health_and_reflection::{self, HealthAndReflection},
    },
    http::{self, Route, Routed},
    isolation::account::Stream,
};

/// Whether connections are to close, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    /// They stay open.
    Off,
    /// They move to the agent that has the socket now, without losing a request: HTTP/2 by GOAWAY,
    /// HTTP/1.1 with its next answer. An idle HTTP/1.1 connection that closes by itself could lose a
    /// request that is on its way.
    HandOver,
    /// They finish their requests, and close.
    ShutDown,
}

/// The requests of one connection.
pub(super) struct Dispatch {
    agent: Arc<Agent>,
    health_and_reflection: HealthAndReflection,
    caller: Caller,
    idle_timer: Arc<IdleTimer>,
    draining: Arc<AtomicBool>,
    /// The connection speaks HTTP/2.
    multiplexed: AtomicBool,
    /// Notified when a request of HTTP/2 is answered while connections drain.
    answered_in_drain: Notify,
}

/// Resolves to the answer to one request.
pub(super) struct ResponseFuture {
    dispatch: Arc<Dispatch>,
    answer: Pin<Box<dyn Future<Output = Response<Body>> + Send>>,
    /// HTTP/2 only.
    stream: Option<Stream>,
    /// The stream is reset, without an answer.
    reset: bool,
}

/// Resets the stream of a caller that was refused often. A reset costs a fraction of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the caller has been refused too often")]
pub(super) struct StreamReset;

impl Dispatch {
    /// `draining`: all connections are to close.
    pub(super) fn new(
        agent: Arc<Agent>,
        health_and_reflection: HealthAndReflection,
        caller: Caller,
        idle_timer: Arc<IdleTimer>,
        draining: Arc<AtomicBool>,
    ) -> Arc<Self> {
        let (multiplexed, answered_in_drain) = (AtomicBool::new(false), Notify::new());
        Arc::new(Self {
            agent,
            health_and_reflection,
            caller,
            idle_timer,
            draining,
            multiplexed,
            answered_in_drain,
        })
    }

    /// Answers one request. Each kind of request has its own boxed future. One future for all kinds
    /// would be as large as the largest, and every request would move it.
    pub(super) fn answer(self: Arc<Self>, request: Request<Incoming>) -> ResponseFuture {
        self.idle_timer.request_received();
        let version = request.version();
        let multiplexed = version > Version::HTTP_11;
        if multiplexed && !self.multiplexed.load(SeqCst) {
            self.multiplexed.store(true, SeqCst);
        }
        let stream = match multiplexed.then(|| self.caller.account.open()).transpose() {
            Ok(stream) => stream,
            Err(error) => return self.refuse(&request, &error),
        };
        let dispatch = self.clone();
        let answer: Pin<Box<dyn Future<Output = _> + Send>> = if grpc::is_grpc(request.headers()) {
            match health_and_reflection::serves(request.uri().path()) {
                true => Box::pin(async move {
                    dispatch.health_and_reflection.answer(&dispatch.caller, request).await
                }),
                false => {
                    let (head, body) = (grpc::RequestHead::of(&request), request.into_body());
                    Box::pin(async move {
                        grpc::answer(&dispatch.agent, &dispatch.caller, head, body).await
                    })
                }
            }
        } else {
            if !multiplexed {
                self.caller.delivery.request_received();
            }
            match http::route(&request) {
                Ok(Routed { route: Route::Pick, .. }) => {
                    let body = request.into_body();
                    Box::pin(async move {
                        http::pick(&dispatch.agent, &dispatch.caller, version, body).await
                    })
                }
                Ok(Routed { route: Route::Report, .. }) => {
                    let body = request.into_body();
                    Box::pin(
                        async move { http::report(&dispatch.agent, &dispatch.caller, body).await },
                    )
                }
                routed => {
                    // The rest of the head would be kept while the answer waits.
                    let (head, _) = request.into_parts();
                    let (method, uri) = (head.method, head.uri);
                    Box::pin(async move {
                        http::answer(&dispatch.agent, &dispatch.caller, routed, method, uri).await
                    })
                }
            }
        };
        ResponseFuture { dispatch: self, answer, stream, reset: false }
    }

    /// Refuses a request whose caller has used up its share of bytes.
    fn refuse(self: Arc<Self>, request: &Request<Incoming>, error: &Error) -> ResponseFuture {
        if self.caller.account.is_refused_often() {
            return ResponseFuture {
                dispatch: self,
                answer: Box::pin(pending()),
                stream: None,
                reset: true,
            };
        }
        let response = match grpc::is_grpc(request.headers()) {
            true => grpc::RequestHead::of(request).refuse(&self.agent, error),
            false => http::refuse_unread(&self.agent, &http::route(request), error),
        };
        ResponseFuture {
            dispatch: self,
            answer: Box::pin(ready(response)),
            stream: None,
            reset: false,
        }
    }

    fn answered(&self, response: &mut Response<Body>) {
        let multiplexed = self.multiplexed.load(SeqCst);
        // The end of a streamed answer is not known here, so that it starts no timer.
        if !multiplexed && response.body().size_hint().exact().is_some() {
            self.idle_timer.await_request();
        }
        if self.draining.load(SeqCst) {
            match multiplexed {
                true => self.answered_in_drain.notify_one(),
                false => {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
            }
        }
    }

    /// Completes when the connection is to shut down gracefully.
    pub(super) async fn closing(&self, drain: &mut watch::Receiver<Drain>) {
        loop {
            let how = *drain.borrow_and_update();
            let closing = async {
                match how {
                    Drain::Off => pending().await,
                    Drain::HandOver if self.multiplexed.load(SeqCst) => {}
                    // A new connection waits for its first request. HTTP/1.1 waits for ever, since
                    // its next answer closes it.
                    Drain::HandOver => self.answered_in_drain.notified().await,
                    Drain::ShutDown => {}
                }
            };
            tokio::select! {
                () = closing => return,
                changed = drain.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, StreamReset>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.reset {
            return Poll::Ready(Err(StreamReset));
        }
        let mut response = std::task::ready!(self.answer.as_mut().poll(context));
        self.dispatch.answered(&mut response);
        let (account, stream) = (self.dispatch.caller.account.clone(), self.stream.take());
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, account, stream))))
    }
}
