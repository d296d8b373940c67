//! A stream that the agent's end cuts off.

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

/// A gRPC answer that knows nothing of the agent's end, cut off by it.
pub(super) struct ShutdownBody<B> {
    body: B,
    ended: ShutdownSignal,
    over: bool,
    _held: Pending,
}

impl<B> ShutdownBody<B> {
    /// `held`: what it costs as long as it goes on.
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
