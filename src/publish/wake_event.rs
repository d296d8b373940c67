//! What the publishing thread waits for.

use std::{io, sync::Arc, time::Duration};

use pointsman_table::Waker;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::OwnedFd,
};

/// An eventfd, to be rung from any thread: rings before a wait coalesce.
#[derive(Debug)]
pub struct WakeEvent {
    file: Arc<OwnedFd>,
    waker: Waker,
}

impl WakeEvent {
    /// One that is quiet.
    ///
    /// # Errors
    /// The system gives no event descriptor.
    pub fn new() -> io::Result<Self> {
        let file = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        Ok(Self { waker: Waker::new(file.clone())?, file })
    }

    /// Ends a wait, or the next one.
    pub fn ring(&self) {
        self.waker.wake();
    }

    /// Waits at most so long for one of them; whether it was rung. Those that were are quiet from
    /// then on.
    pub fn wait_for<const N: usize>(bells: [&Self; N], timeout: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut watched = bells.map(|bell| PollFd::new(&*bell.file, PollFlags::IN));
        let rung = poll(&mut watched, Some(&timeout)).is_ok_and(|ready| ready > 0);
        let ready = watched.map(|bell| bell.revents().contains(PollFlags::IN));
        for (bell, _) in bells.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            // Non-blocking: another thread may have read it, and that is as good.
            let _nothing_to_read = rustix::io::read(&bell.file, &mut [0; 8]);
        }
        rung
    }
}
