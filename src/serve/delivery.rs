//! What becomes of a pick whose answer gets lost.
//!
//! The endpoint counts as busy from the moment of the pick. If the caller hangs up before the
//! answer is on its way, nobody will ever report the lease: it must not count until its time is
//! over. So the leases of an answer end with its body, unless the protocol took the body's bytes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::publish::leases::Undelivered;

/// A response's body that ends its leases if it is dropped unread.
#[derive(Debug)]
pub struct Delivered<B> {
    body: B,
    leases: Option<Undelivered>,
}

impl<B> Delivered<B> {
    /// Guards the leases that this body tells of, if any.
    pub fn new(body: B, leases: Option<Undelivered>) -> Self {
        Self { body, leases }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Delivered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        // The one frame of data of a unary answer is the whole answer.
        if let Some(Ok(frame)) = &frame
            && frame.is_data()
            && let Some(leases) = self.leases.take()
        {
            leases.delivered();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
