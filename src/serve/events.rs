//! What a watcher sees as the body of an answer, in either protocol.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tonic::Code;

use super::{
    Agent, Error,
    grpc::framing,
    json,
    metrics::{Call, Protocol},
    watch::Watcher,
};
use crate::api::v1;

type Next = Pin<Box<dyn Future<Output = (Watcher, Result<v1::WatchEvent, Error>)> + Send>>;

/// The events as a body: each is made when the one before has gone out.
pub(super) struct Events {
    /// None after the last.
    next: Option<Next>,
    agent: Arc<Agent>,
    protocol: Protocol,
    code: Code,
}

impl Events {
    /// As gRPC or HTTP has them.
    pub(super) fn new(agent: &Arc<Agent>, watcher: Watcher, protocol: Protocol) -> Self {
        let agent = Arc::clone(agent);
        Self { next: Some(next(watcher)), agent, protocol, code: Code::Cancelled }
    }
}

fn next(mut watcher: Watcher) -> Next {
    Box::pin(async move {
        let event = watcher.next().await;
        (watcher, event)
    })
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(awaited) = &mut self.next else { return Poll::Ready(None) };
        let (watcher, event) = ready!(awaited.as_mut().poll(context));
        let frame = match (event, self.protocol) {
            (Ok(event), Protocol::Http) => {
                self.next = Some(next(watcher));
                Frame::data(json::line(&event))
            }
            (Ok(event), _) => {
                self.next = Some(next(watcher));
                Frame::data(framing::framed(&event))
            }
            (Err(error), protocol) => {
                self.next = None;
                self.code = error.code();
                match protocol {
                    Protocol::Http => Frame::data(json::line(&error.json())),
                    _ => Frame::trailers(framing::trailers(&error.status())),
                }
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.agent.metrics.answered(Call::WatchService, self.protocol, self.code);
    }
}
