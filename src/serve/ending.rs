//! The end of the agent, as told to calls that would go on for ever.

use std::pin::Pin;

use tokio::sync::watch;

/// Whether the agent is about to end.
#[derive(Debug)]
pub struct Ending(watch::Sender<bool>);

/// Done when the agent is about to end.
pub(super) type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

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

    pub(super) fn wait(&self) -> Ended {
        let mut ending = self.0.subscribe();
        Box::pin(async move {
            // An error means that the agent is gone, which is an end as well.
            ending.wait_for(|&ending| ending).await.ok();
        })
    }
}
