//! A gRPC response body that ends when the agent shuts down.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Frame};

use super::framing;
use crate::serve::{
    Error,
    calls::shutdown::{Shutdown, ShutdownSignal},
    isolation::account::Pending,
};

/// Ends the stream of a service that does not know of the shutdown itself.
pub(super) struct ShutdownBody<B> {
    body: B,
    ended: ShutdownSignal,
    over: bool,
    _held: Pending,
}

impl<B> ShutdownBody<B> {
    /// `held`: the bytes that the stream is charged for.
    pub(super) fn new(body: B, ending: &Shutdown, held: Pending) -> Self {
        Self { body, ended: ending.wait(), over: false, _held: held }
    }
}

impl<B: Body + Unpin> Body for ShutdownBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                ready!(Pin::new(&mut self.ended).poll(context));
                self.over = true;
                Poll::Ready(Some(Ok(Frame::trailers(framing::trailers(
                    &Error::ShuttingDown.status(),
                )))))
            }
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}
