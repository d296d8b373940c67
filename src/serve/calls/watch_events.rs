//! Watch events as a response body, in either protocol.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tonic::Code;

use super::{Agent, watch::Watcher};
use crate::{
    api::v1,
    serve::{
        Error,
        counters::{Call, Protocol},
    },
};

type Next = Pin<Box<dyn Future<Output = (Watcher, Result<v1::WatchEvent, Error>)> + Send>>;

/// How a protocol writes events.
pub(in crate::serve) struct Encoding {
    pub(in crate::serve) protocol: Protocol,
    pub(in crate::serve) event: fn(&v1::WatchEvent) -> Bytes,
    /// Encodes the error that ends the stream.
    pub(in crate::serve) end: fn(&Error) -> Frame<Bytes>,
}

/// The events as a body. Each is made when the one before is sent.
pub(in crate::serve) struct Events {
    /// `None` after the last event.
    next: Option<Next>,
    agent: Arc<Agent>,
    encoding: &'static Encoding,
    code: Code,
}

impl Events {
    pub(in crate::serve) fn new(
        agent: &Arc<Agent>,
        watcher: Watcher,
        encoding: &'static Encoding,
    ) -> Self {
        let agent = Arc::clone(agent);
        Self { next: Some(next(watcher)), agent, encoding, code: Code::Cancelled }
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
        let frame = match event {
            Ok(event) => {
                self.next = Some(next(watcher));
                Frame::data((self.encoding.event)(&event))
            }
            Err(error) => {
                self.next = None;
                self.code = error.code();
                (self.encoding.end)(&error)
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
        self.agent.metrics.answered(Call::WatchService, self.encoding.protocol, self.code);
    }
}
