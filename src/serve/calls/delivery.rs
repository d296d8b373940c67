//! What becomes of a pick whose answer gets lost.
//!
//! The endpoint counts as busy from the moment of the pick. If the caller hangs up before it has
//! the answer, nobody will ever report the lease: it must not count until its time is over. So the
//! leases of an answer end unused
//! - with its body, unless the protocol took the body's bytes and has sent them on;
//! - over HTTP/1.1, whose leases don't end with their connection, if the connection turns out to
//!   be broken while the answer is the last one on it.

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

/// A response's body that ends its leases if it is dropped unread.
#[derive(Debug)]
pub struct Delivered<B> {
    body: B,
    leases: Option<Undelivered>,
    line: Option<Arc<Line>>,
    /// The protocol took the body's data.
    told: bool,
}

impl<B> Delivered<B> {
    /// Guards the leases that this body tells of, if any. Over `line` it is the last answer.
    pub fn new(body: B, leases: Option<Undelivered>, line: Option<Arc<Line>>) -> Self {
        Self { body, leases, line, told: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Delivered<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        // Asked for more, so that what came before has gone out: over HTTP/2 it may have been kept
        // for as long as the caller had no room for it, and given up with the stream.
        if self.told
            && let Some(leases) = self.leases.take()
        {
            leases.delivered();
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // The one frame of data of a unary answer is the whole answer.
        if let Some(Ok(frame)) = &frame
            && frame.is_data()
        {
            self.told = true;
            if let Some(line) = self.line.take() {
                *line.last() = self.leases.take();
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

/// An HTTP/1.1 connection's way to its caller.
#[derive(Debug, Default)]
pub struct Line {
    /// Written, but nothing heard of the caller since.
    last: Mutex<Option<Undelivered>>,
    broken: AtomicBool,
}

impl Line {
    /// The caller sent another request, so that it has the answer to the one before.
    pub fn heard(&self) {
        let last = self.last().take();
        if let Some(leases) = last {
            leases.delivered();
        }
    }

    /// The connection is over: if it broke, its last answer did not arrive.
    pub fn over(&self) {
        let last = self.last().take();
        match last {
            Some(leases) if !self.broken.load(Relaxed) => leases.delivered(),
            lost => drop(lost),
        }
    }

    /// The connection broke.
    pub(in crate::serve) fn broke(&self) {
        self.broken.store(true, Relaxed);
    }

    fn last(&self) -> MutexGuard<'_, Option<Undelivered>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
