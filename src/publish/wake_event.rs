//! The event that the publishing thread waits for.

use std::{io, sync::Arc, time::Duration};

use pointsman_table::Waker;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::OwnedFd,
};

/// An eventfd that any thread can signal: signals before a wait coalesce.
#[derive(Debug)]
pub struct WakeEvent {
    file: Arc<OwnedFd>,
    waker: Waker,
}

impl WakeEvent {
    /// Starts unsignaled.
    ///
    /// # Errors
    /// The system gives no event descriptor.
    pub fn new() -> io::Result<Self> {
        let file = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        Ok(Self { waker: Waker::new(file.clone())?, file })
    }

    /// Ends the current wait, or the next one.
    pub fn signal(&self) {
        self.waker.wake();
    }

    /// Waits for one of the events, for `timeout` at most. Returns whether one was signaled, and
    /// resets those that were.
    pub fn wait_for<const N: usize>(events: [&Self; N], timeout: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut watched = events.map(|event| PollFd::new(&*event.file, PollFlags::IN));
        let signaled = poll(&mut watched, Some(&timeout)).is_ok_and(|ready| ready > 0);
        let ready = watched.map(|event| event.revents().contains(PollFlags::IN));
        for (event, _) in events.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            // The read does not block: another thread may have reset the event already, which is as
            // good.
            let _nothing_to_read = rustix::io::read(&event.file, &mut [0; 8]);
        }
        signaled
    }
}
