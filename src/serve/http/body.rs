//! Reads a request's body, within its limits of time and size.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};

use crate::serve::{Error, Violation, isolation::account::Account, limits};

pub(super) async fn read_body(body: Incoming, account: &Arc<Account>) -> Result<Bytes, Error> {
    let mut collected = pin!(collect(body, account));
    // Nearly every body comes with its head, and needs no timer.
    let at_once = poll_fn(|context| Poll::Ready(collected.as_mut().poll(context))).await;
    match at_once {
        Poll::Ready(body) => body,
        Poll::Pending => Box::pin(tokio::time::timeout(limits::BODY_TIME, collected))
            .await
            .unwrap_or(Err(Error::TooSlow { limit: limits::BODY_TIME })),
    }
}

async fn collect(mut body: Incoming, account: &Arc<Account>) -> Result<Bytes, Error> {
    let mut whole = Bytes::new();
    let mut pending = account.pending();
    while !body.is_end_stream() {
        let frame = poll_fn(|context| match Pin::new(&mut body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => match pending.hold(whole.len()) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
        });
        let Some(frame) = frame.await? else { break };
        let frame = frame.map_err(|error| {
            let wrong = format!("the body ended too early: {error}");
            Violation::new("", wrong)
        })?;
        // Trailers have no meaning here.
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + piece.len() > limits::MAX_REQUEST {
            return Err(Error::TooLarge { limit: limits::MAX_REQUEST });
        }
        whole = match whole.is_empty() {
            // Copied, since a slice would keep its whole buffer while the rest is awaited.
            true if !body.is_end_stream() => Bytes::copy_from_slice(&piece),
            true => piece,
            false => {
                let mut longer = BytesMut::from(whole);
                longer.extend_from_slice(&piece);
                longer.freeze()
            }
        };
    }
    Ok(whole)
}
