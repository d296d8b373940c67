//! What the publishing thread listens for while it waits.

use std::{io, sync::Arc, time::Duration};

use pointsman_table::Waker;
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::OwnedFd,
};

/// Something to ring, from any thread or process, and to wait for; rung twice before somebody listens
/// it was rung.
#[derive(Debug)]
pub(super) struct Bell {
    file: Arc<OwnedFd>,
    waker: Waker,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let file = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        Ok(Self { waker: Waker::new(file.clone())?, file })
    }

    pub(super) fn ring(&self) {
        self.waker.wake();
    }

    /// For who rings it elsewhere.
    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Waits at most so long for one of them; whether it was rung. All are quiet from then on.
    pub(super) fn wait_for<const N: usize>(bells: [&Self; N], timeout: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut watched = bells.map(|bell| PollFd::new(&*bell.file, PollFlags::IN));
        let rung = poll(&mut watched, Some(&timeout)).is_ok_and(|ready| ready > 0);
        bells.into_iter().for_each(Self::quiet);
        rung
    }

    /// Not rung, whether it was or not.
    pub(super) fn quiet(&self) {
        // It is non-blocking: empty is as good as read.
        let _nothing_to_read = rustix::io::read(&self.file, &mut [0; 8]);
    }
}
