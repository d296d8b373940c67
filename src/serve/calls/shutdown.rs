//! The end of the agent, as told to calls that would go on for ever.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::watch;

/// Whether the agent is about to end.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<bool>);

/// Done when the agent is about to end. A set of one, since a set polls what was woken: streams
/// ask with each message.
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
    /// It is: streams finish what they have begun, and say that they are over.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is.
    pub(in crate::serve) fn begun(&self) -> bool {
        *self.0.borrow()
    }

    pub(in crate::serve) fn wait(&self) -> ShutdownSignal {
        let mut ending = self.0.subscribe();
        let wait = async move {
            // An error means that the agent is gone, which is an end as well.
            ending.wait_for(|&ending| ending).await.ok();
        };
        ShutdownSignal(FuturesUnordered::from_iter([Box::pin(wait) as _]))
    }
}
