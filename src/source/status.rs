//! The state of a running source: whether it was read, and what is wrong.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::problem::Problem;

/// How a running source fares; cheap to clone, one per source.
#[derive(Clone, Debug)]
pub struct Status {
    state: Arc<watch::Sender<State>>,
    again: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// The first read, good or bad, is over.
    read: bool,
    /// A read was good at least once.
    synced: bool,
    problems: Vec<Problem>,
}

impl Default for Status {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())), again: Arc::default() }
    }
}

impl Status {
    /// What is wrong now; what was last good stays in force until it is mended.
    pub fn problems(&self) -> Vec<Problem> {
        self.state.borrow().problems.clone()
    }

    /// A read was good at least once.
    pub fn synced(&self) -> bool {
        self.state.borrow().synced
    }

    /// Waits until the first read is over. Err: it was bad, and this is why; the source goes on
    /// trying.
    pub async fn first_read(&self) -> Result<(), Vec<Problem>> {
        let mut state = self.state.subscribe();
        // The sender lives in `self`, so that waiting can't fail.
        let state = match state.wait_for(|state| state.read).await {
            Ok(state) => state,
            Err(_) => return Ok(()),
        };
        if state.synced { Ok(()) } else { Err(state.problems.clone()) }
    }

    /// Has the source read again, though nothing told of a change.
    pub fn look_again(&self) {
        self.again.notify_one();
    }

    /// Completes when the source is to read again.
    pub(crate) async fn told_to_look(&self) {
        self.again.notified().await;
    }

    /// A read is over: good enough to be served, and what was wrong in it.
    pub(crate) fn read(&self, good: bool, problems: Vec<Problem>) {
        self.state.send_modify(|state| {
            *state = State { read: true, synced: state.synced || good, problems };
        });
    }
}
