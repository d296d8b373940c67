//! Ends the leases of an answer that gets lost.
//!
//! A pick counts as in flight from the start. If the caller hangs up before it has the answer, nobody
//! will report the lease, and it must not count until it expires. So the leases of an answer end unused
//! - when its body is dropped before the protocol has sent the body's bytes;
//! - over HTTP/1.1, whose leases do not end with their connection, when the connection breaks and the
//!   answer is the last one on it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::leases::Undelivered;

/// A response's body that ends its leases if it is dropped before it is sent.
#[derive(Debug)]
pub struct Delivered<B> {
    body: B,
    leases: Option<Undelivered>,
    tracker: Option<Arc<DeliveryTracker>>,
    /// The protocol has taken the body's data.
    taken: bool,
}

impl<B> Delivered<B> {
    /// `leases`: those in the body, if any. `tracker`: that of an HTTP/1.1 connection.
    pub fn new(
        body: B,
        leases: Option<Undelivered>,
        tracker: Option<Arc<DeliveryTracker>>,
    ) -> Self {
        Self { body, leases, tracker, taken: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Delivered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // A further poll means that the data is sent. Over HTTP/2 it may have waited for the caller's
        // window until then, and be dropped with the stream.
        if self.taken
            && let Some(leases) = self.leases.take()
        {
            leases.delivered();
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // A unary answer has a single data frame.
        if let Some(Ok(frame)) = &frame
            && frame.is_data()
        {
            self.taken = true;
            if let Some(tracker) = self.tracker.take() {
                *tracker.last() = self.leases.take();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.leases.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tracks whether the last answer of an HTTP/1.1 connection arrives.
#[derive(Debug, Default)]
pub struct DeliveryTracker {
    /// The leases of the last answer, which is written but not confirmed.
    last: Mutex<Option<Undelivered>>,
    broken: AtomicBool,
}

impl DeliveryTracker {
    /// The caller sent another request, so that it has the last answer.
    pub fn request_received(&self) {
        let last = self.last().take();
        if let Some(leases) = last {
            leases.delivered();
        }
    }

    /// The connection is closed. If it broke, the last answer did not arrive.
    pub fn connection_closed(&self) {
        let last = self.last().take();
        match last {
            Some(leases) if !self.broken.load(Relaxed) => leases.delivered(),
            lost => drop(lost),
        }
    }

    pub(in crate::serve) fn connection_broken(&self) {
        self.broken.store(true, Relaxed);
    }

    fn last(&self) -> MutexGuard<'_, Option<Undelivered>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
