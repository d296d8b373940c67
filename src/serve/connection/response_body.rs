//! A response's body. Bytes that wait for the caller to read them are charged to its account.
//!
//! hyper copies a body of HTTP/1.1 into the connection's buffer, which never shrinks, so that a long
//! body goes there in pieces. h2 keeps the bytes until the caller has room for them; they are charged
//! until it drops them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};

use crate::serve::{
    Error,
    isolation::account::{Account, Pending, Stream},
};

/// Bytes of a body that the request's own cost covers.
const SHORT: usize = 1 << 10;
/// Bytes given to HTTP/1.1 at a time: the usual size of its buffer.
const PIECE: usize = 8 << 10;

pub(super) struct ResponseBody {
    body: Body,
    account: Arc<Account>,
    /// HTTP/2 only.
    stream: Option<Stream>,
    multiplexed: bool,
    /// Bytes that HTTP/1.1 did not take yet.
    rest: Bytes,
}

/// Bytes with their charge, which ends with the last of them.
struct PaidBytes {
    bytes: Bytes,
    _pending: Option<Pending>,
    _stream: Option<Stream>,
}

impl AsRef<[u8]> for PaidBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ResponseBody {
    pub(super) fn new(body: Body, account: Arc<Account>, stream: Option<Stream>) -> Self {
        Self { body, account, multiplexed: stream.is_some(), stream, rest: Bytes::new() }
    }

    /// Charges these bytes to the caller.
    fn pay_for(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        let short = if self.multiplexed { SHORT } else { PIECE };
        let pending = match bytes.len() > short {
            true => Some(self.account.hold(bytes.len())?),
            false => None,
        };
        // The request ends with its last bytes.
        let last = self.stream.is_some() && self.body.size_hint().exact() == Some(0);
        let stream = if last { self.stream.take() } else { None };
        if pending.is_none() && stream.is_none() {
            return Ok(bytes);
        }
        Ok(Bytes::from_owner(PaidBytes { bytes, _pending: pending, _stream: stream }))
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let response_body = self.get_mut();
        if response_body.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut response_body.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            };
            let bytes = match frame.into_data() {
                Ok(bytes) => bytes,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            match response_body.pay_for(bytes) {
                Ok(bytes) => response_body.rest = bytes,
                Err(error) => {
                    // The head may be sent already, so that no status can say it.
                    response_body.account.refuse(&error);
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
        let piece = match response_body.multiplexed {
            true => std::mem::take(&mut response_body.rest),
            false => response_body.rest.split_to(response_body.rest.len().min(PIECE)),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::{
        identity::Identity,
        quota::Quota,
        serve::{isolation::tarpit::Tarpit, limits},
    };

    fn response_body(body: Vec<u8>, multiplexed: bool) -> (ResponseBody, Arc<Quota<Identity>>) {
        let budget = Quota::new("bytes", 1 << 20);
        let account = Account::new(budget.clone(), Tarpit::new(0), Identity::Uid(1));
        let stream = multiplexed.then(|| account.open().unwrap());
        (ResponseBody::new(Body::from(body), account, stream), budget)
    }

    #[tokio::test]
    async fn a_long_answer_is_paid_for_until_its_bytes_are_gone() {
        for multiplexed in [true, false] {
            let (mut body, budget) = response_body(vec![7; 100_000], multiplexed);
            assert_eq!(body.size_hint().exact(), Some(100_000));
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(budget.in_use() >= 100_000, "{}", budget.in_use());
            let mut length = first.len();
            drop(first);
            while let Some(frame) = body.frame().await {
                length += frame.unwrap().into_data().unwrap().len();
            }
            assert_eq!(length, 100_000);
            drop(body);
            assert_eq!(budget.in_use(), 0);
        }
    }

    #[tokio::test]
    async fn a_request_counts_until_its_short_answer_has_gone_out() {
        let (mut body, budget) = response_body(vec![7; 100], true);
        let account = body.account.clone();
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(body.frame().await.is_none());
        drop(body);
        let second = account.open().unwrap();
        assert!(budget.in_use() >= limits::STREAM_BYTES, "the first is not over");
        drop((bytes, second));
        account.flushed();
        assert_eq!(budget.in_use(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_its_caller_has_no_share_for_breaks_off() {
        let (mut body, budget) = response_body(vec![7; 2000], true);
        budget.resize(Identity::Uid(1), 0, 3 << 18).unwrap();
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.account.refusal().is_some());
    }
}
