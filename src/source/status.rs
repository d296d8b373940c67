//! The state of a running source: whether it was read, and what is wrong.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::problem::Problem;

/// The state of a running source; cheap to clone, one per source.
#[derive(Clone, Debug)]
pub struct Status {
    state: Arc<watch::Sender<State>>,
    again: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// The first read is over, valid or not.
    read: bool,
    /// A read was valid at least once.
    synced: bool,
    problems: Vec<Problem>,
}

impl Default for Status {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())), again: Arc::default() }
    }
}

impl Status {
    /// The current problems. The last valid content stays in force until they are fixed.
    pub fn problems(&self) -> Vec<Problem> {
        self.state.borrow().problems.clone()
    }

    /// Whether a read was valid at least once.
    pub fn synced(&self) -> bool {
        self.state.borrow().synced
    }

    /// Waits until the first read is over. Err: why it was invalid; the source keeps trying.
    pub async fn first_read(&self) -> Result<(), Vec<Problem>> {
        let mut state = self.state.subscribe();
        // The sender lives in `self`, so that waiting can't fail.
        let state = match state.wait_for(|state| state.read).await {
            Ok(state) => state,
            Err(_) => return Ok(()),
        };
        if state.synced { Ok(()) } else { Err(state.problems.clone()) }
    }

    /// Makes the source read again without a change notification.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Completes when the source should read again.
    pub(crate) async fn told_to_look(&self) {
        self.again.notified().await;
    }

    /// Records a read: whether it is valid enough to serve, and its problems.
    pub(crate) fn read(&self, good: bool, problems: Vec<Problem>) {
        self.state.send_modify(|state| {
            *state = State { read: true, synced: state.synced || good, problems };
        });
    }
}
