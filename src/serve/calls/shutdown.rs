//! Tells calls that would go on for ever that the agent shuts down.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

/// Whether the agent shuts down.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<bool>);

/// Completes when the agent shuts down. In a FuturesUnordered, so that a poll costs nothing until the
/// shutdown wakes it: streams poll it with each message.
pub(in crate::serve) struct ShutdownSignal(
    FuturesUnordered<Pin<Box<dyn Future<Output = ()> + Send>>>,
);

impl Future for ShutdownSignal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_next_unpin(context).map(|_| ())
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Begins the shutdown: streams finish what they have begun, and end.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether the shutdown has begun.
    pub(in crate::serve) fn begun(&self) -> bool {
        *self.0.borrow()
    }

    pub(in crate::serve) fn wait(&self) -> ShutdownSignal {
        let mut ending = self.0.subscribe();
        let wait = async move {
            // An error means that the agent is gone, which is a shutdown as well.
            ending.wait_for(|&ending| ending).await.ok();
        };
        ShutdownSignal(FuturesUnordered::from_iter([Box::pin(wait) as _]))
    }
}
