//! Waking an agent that sleeps, with nothing between a caller's counters but a compiler fence.
//!
//! A caller counts, then loads the `asleep` word, and sends a message if it is set. On the
//! processor that load may be done before the count is visible; the caller does not pay for a
//! fence. The agent does, once per sleep: it sets the word, runs a barrier on every processor that
//! runs any thread ([`barrier`]), and sweeps once more. Whatever a caller counted before the
//! barrier is then seen by that sweep; whoever counts after it sees the word.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::SendFlags,
    thread::{MembarrierCommand, MembarrierQuery},
};

/// The client's end of whatever wakes the agent: a socket or an eventfd. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker {
    file: Arc<OwnedFd>,
    is_socket: bool,
}

impl Waker {
    /// Over a connected socket, an eventfd or a pipe.
    ///
    /// # Errors
    /// The system's, of looking at the descriptor or of making one that is no socket non-blocking.
    pub fn new(file: impl Into<Arc<OwnedFd>>) -> io::Result<Self> {
        let file = file.into();
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&*file)?.st_mode);
        let is_socket = kind == rustix::fs::FileType::Socket;
        if !is_socket {
            let flags = rustix::fs::fcntl_getfl(&*file)?;
            rustix::fs::fcntl_setfl(&*file, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        Ok(Self { file, is_socket })
    }

    /// Sends eight bytes, which is what an eventfd takes, without blocking. `false`: the other end
    /// is gone. A message that finds no room counts as sent: the ones before it wake the agent.
    pub fn wake(&self) -> bool {
        let message = 1_u64.to_ne_bytes();
        let sent = if self.is_socket {
            // A closed socket must not kill a caller that never heard of signals.
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            rustix::net::send(self.file.as_fd(), &message, flags)
        } else {
            rustix::io::write(self.file.as_fd(), &message)
        };
        matches!(sent, Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS))
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.file.as_raw_fd()
    }
}

/// The kernel has no barrier over all processes' threads, or a filter refuses it. The agent then
/// polls instead of sleeping.
#[derive(Debug, thiserror::Error)]
#[error("membarrier over all processes is not available here: {0}")]
pub struct BarrierUnavailable(io::Error);

/// Whether [`barrier`] can be used here.
///
/// # Errors
/// It can't, and why.
pub fn probe_barrier() -> Result<(), BarrierUnavailable> {
    if rustix::thread::membarrier_query().contains(MembarrierQuery::GLOBAL) {
        return Ok(());
    }
    Err(BarrierUnavailable(io::ErrorKind::Unsupported.into()))
}

/// A full memory barrier on every processor that runs a thread, of whatever process. It waits for
/// the kernel's grace period: some milliseconds to tens of them.
///
/// # Errors
/// The kernel refuses it: see [`probe_barrier`].
pub fn barrier() -> Result<(), BarrierUnavailable> {
    rustix::thread::membarrier(MembarrierCommand::Global)
        .map_err(|errno| BarrierUnavailable(errno.into()))
}

#[cfg(all(test, not(miri)))]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn a_socket_and_an_eventfd_are_woken_alike() {
        let (mut agent, client) = UnixStream::pair().unwrap();
        assert!(Waker::new(OwnedFd::from(client)).unwrap().wake());
        let mut message = [0; 8];
        agent.read_exact(&mut message).unwrap();
        assert_eq!(u64::from_ne_bytes(message), 1);

        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let waker = Waker::new(Arc::clone(&event)).unwrap();
        assert!(waker.wake() && waker.wake());
        rustix::io::read(&*event, &mut message).unwrap();
        assert_eq!(u64::from_ne_bytes(message), 2);
    }

    #[test]
    fn a_full_socket_counts_as_woken_and_a_closed_one_does_not() {
        let (agent, client) = UnixStream::pair().unwrap();
        let waker = Waker::new(OwnedFd::from(client)).unwrap();
        assert!((0..100_000).all(|_| waker.wake()));
        drop(agent);
        assert!(!waker.wake());
    }

    #[test]
    fn the_barrier_is_there_or_says_why_not() {
        match probe_barrier() {
            Ok(()) => barrier().unwrap(),
            Err(refused) => assert!(refused.to_string().contains("membarrier")),
        }
    }
}
