//! A request body in which each message has to be complete soon after it begins.
//!
//! A stream may pause between two messages for as long as it likes. In the middle of a message the
//! agent holds the bytes that came so far, for a caller that may never send the rest. The caller's
//! account pays for them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::framing::PREFIX;
use crate::serve::{Error, isolation::account::Pending, limits::BODY_TIME};

/// A message of more bytes is charged even if it comes at once: its buffer stays with the stream.
const LONG: usize = 4 << 10;

/// A request's body that ends with an error when a message takes too long.
pub(super) struct MessageTimeout<B> {
    body: B,
    position: Position,
    /// Set only when there is nothing to read in the middle of a message, which is rare. It is due later
    /// than the next check of `connection::idle_timeout`, so that it wakes no thread by itself.
    limit: Option<Pin<Box<Sleep>>>,
    /// The charge for the longest message so far that was slow or long.
    pending: Pending,
    /// The error has been returned.
    over: bool,
}

/// A position in the stream of messages.
#[derive(Debug, PartialEq, Eq)]
enum Position {
    /// So many bytes of a message's prefix have come; 0: between two messages.
    Prefix { seen: usize, length: u32 },
    /// `rest` bytes of the message are still to come.
    Message { length: u32, rest: u32 },
}

impl Position {
    const BETWEEN: Self = Self::Prefix { seen: 0, length: 0 };

    /// Advances by these bytes. Returns whether a message ended in them.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            match self {
                Self::Prefix { seen, length } => {
                    let byte = u32::from(bytes.get_u8());
                    // The first byte is the compression flag, the others are the length.
                    *length = if *seen == 0 { 0 } else { *length << 8 | byte };
                    *seen += 1;
                    if *seen == PREFIX {
                        *self = Self::Message { length: *length, rest: *length };
                    }
                }
                Self::Message { rest, .. } => {
                    let passed = bytes.len().min(*rest as usize);
                    bytes.advance(passed);
                    // At most `rest`.
                    *rest -= passed as u32;
                }
            }
            if matches!(self, Self::Message { rest: 0, .. }) {
                *self = Self::BETWEEN;
                ended = true;
            }
        }
        ended
    }

    /// Bytes of the message that has begun.
    fn begun(&self) -> usize {
        match self {
            Self::Prefix { seen, .. } => *seen,
            Self::Message { length, rest } => PREFIX + (length - rest) as usize,
        }
    }
}

impl<B> MessageTimeout<B> {
    /// `pending`: the charge, empty so far.
    pub(super) fn new(body: B, pending: Pending) -> Self {
        Self { body, position: Position::BETWEEN, limit: None, pending, over: false }
    }

    fn end(&mut self, error: &Error) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        self.over = true;
        Poll::Ready(Some(Err(error.status().into())))
    }
}

impl<B> Body for MessageTimeout<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    if self.position.pass(bytes) {
                        self.limit = None;
                    }
                    let longest = bytes.len().max(self.position.begun());
                    if longest > LONG
                        && let Err(error) = self.pending.hold(longest)
                    {
                        return self.end(&error);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            Poll::Pending if self.position == Position::BETWEEN => Poll::Pending,
            Poll::Pending => {
                let begun = self.position.begun();
                if let Err(error) = self.pending.hold(begun) {
                    return self.end(&error);
                }
                let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(BODY_TIME)));
                ready!(limit.as_mut().poll(context));
                self.end(&Error::TooSlow { limit: BODY_TIME })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tonic::{Code, Status, codegen::tokio_stream::wrappers::ReceiverStream};

    use super::*;
    use crate::{
        identity::Identity,
        quota::Quota,
        serve::isolation::{account::Account, tarpit::Tarpit},
    };

    fn pending(budget: &Arc<Quota<Identity>>) -> Pending {
        Account::new(budget.clone(), Tarpit::new(0), Identity::Uid(1)).pending()
    }

    fn message(length: u8) -> Vec<u8> {
        [&[0, 0, 0, 0, length][..], &vec![7; length.into()]].concat()
    }

    #[test]
    fn a_place_is_known_however_the_bytes_are_cut() {
        let bytes = [message(3), message(0), message(200)].concat();
        let ends = [0, 8, 13, bytes.len()];
        for first in 0..bytes.len() {
            for second in first..=bytes.len() {
                let mut position = Position::BETWEEN;
                position.pass(&bytes[..first]);
                let ended = position.pass(&bytes[first..second]);
                assert_eq!(
                    position == Position::BETWEEN,
                    ends.contains(&second),
                    "{first} {second}"
                );
                let passed = ends.iter().any(|end| (first + 1..=second).contains(end));
                assert_eq!(ended, passed, "{first} {second}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_rests_between_messages_may_and_who_rests_within_one_may_not() {
        let (sender, frames) = mpsc::channel::<Result<_, axum::BoxError>>(16);
        let budget = Quota::new("bytes", 1 << 20);
        let body = StreamBody::new(ReceiverStream::new(frames));
        let mut body = MessageTimeout::new(body, pending(&budget));
        let send = async |bytes: &[u8]| {
            sender.send(Ok(Frame::data(Bytes::copy_from_slice(bytes)))).await.unwrap();
        };
        send(&message(3)).await;
        body.frame().await.unwrap().unwrap();
        let rested = tokio::time::timeout(100 * BODY_TIME, body.frame()).await;
        assert!(rested.is_err(), "nothing came, and nothing was wrong");
        // A message every 9 s is not one message of 18 s, wherever it is cut.
        for _ in 0..3 {
            send(&message(3)[..2]).await;
            body.frame().await.unwrap().unwrap();
            let waits = tokio::time::timeout(Duration::from_secs(9), body.frame()).await;
            assert!(waits.is_err());
            send(&message(3)[2..]).await;
            body.frame().await.unwrap().unwrap();
        }
        // A byte now and then is not enough.
        let mut told = None;
        for _ in 0..20 {
            send(&[0]).await;
            body.frame().await.unwrap().unwrap();
            if let Ok(frame) = tokio::time::timeout(Duration::from_secs(4), body.frame()).await {
                told = frame;
                break;
            }
        }
        let error = told.expect("a limit").unwrap_err();
        let status = Status::from_error(error);
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.message().contains("not complete after 10s"), "{status}");
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_begun_and_waited_for_comes_out_of_the_callers_share() {
        let budget = Quota::new("bytes", 64 << 10);
        let (sender, frames) = mpsc::channel::<Result<_, axum::BoxError>>(16);
        let body = StreamBody::new(ReceiverStream::new(frames));
        let mut body = MessageTimeout::new(body, pending(&budget));
        let piece = |bytes: &[u8]| Ok(Frame::data(Bytes::copy_from_slice(bytes)));
        sender.send(piece(&message(200))).await.unwrap();
        body.frame().await.unwrap().unwrap();
        assert_eq!(budget.in_use(), 0, "it came whole");
        sender.send(piece(&[0, 0, 1, 0, 0])).await.unwrap();
        body.frame().await.unwrap().unwrap();
        assert!(tokio::time::timeout(BODY_TIME / 2, body.frame()).await.is_err());
        assert!(budget.in_use() > 0, "its rest is waited for");
        let refused = loop {
            sender.send(piece(&[7; 10_000])).await.unwrap();
            match body.frame().await.unwrap() {
                Ok(_) => assert!(budget.in_use() <= 48 << 10),
                Err(error) => break Status::from_error(error),
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(body.frame().await.is_none());
        drop(body);
        assert_eq!(budget.in_use(), 0);
    }
}
