//! The end of the agent, as told to calls that would go on for ever.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::body::{Body, Frame};
use tokio::sync::watch;

use super::{Error, account::Pending, grpc::framing};

/// Whether the agent is about to end.
#[derive(Debug)]
pub struct Ending(watch::Sender<bool>);

/// Done when the agent is about to end. A set of one, since a set polls what was woken: streams
/// ask with each message.
pub(super) struct Ended(FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for Ended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_next_unpin(context).map(|_| ())
    }
}

impl Default for Ending {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Ending {
    /// It is: streams finish what they have begun, and say that they are over.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is.
    pub(super) fn begun(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) fn wait(&self) -> Ended {
        let mut ending = self.0.subscribe();
        let wait = async move {
            // An error means that the agent is gone, which is an end as well.
            ending.wait_for(|&ending| ending).await.ok();
        };
        Ended(FuturesUnordered::from_iter([Box::pin(wait) as _]))
    }
}

/// A gRPC answer that knows nothing of the agent's end, cut off by it.
pub(super) struct UntilEnd<B> {
    body: B,
    ended: Ended,
    over: bool,
    _held: Pending,
}

impl<B> UntilEnd<B> {
    /// `held`: what it costs as long as it goes on.
    pub(super) fn new(body: B, ending: &Ending, held: Pending) -> Self {
        Self { body, ended: ending.wait(), over: false, _held: held }
    }
}

impl<B: Body + Unpin> Body for UntilEnd<B> {
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
                std::task::ready!(Pin::new(&mut self.ended).poll(context));
                self.over = true;
                Poll::Ready(Some(Ok(Frame::trailers(framing::trailers(&Error::Ending.status())))))
            }
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}
