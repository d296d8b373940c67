//! Wakes an agent that sleeps. A caller pays only for a compiler fence.
//!
//! A caller counts (a start, an end, a retry, a report), then loads the `asleep` word, and sends a
//! message if it is set. The processor may do that load before the count is visible, because the
//! caller runs no memory fence. The agent runs one instead, once per sleep: it sets the word, runs a
//! barrier on every processor that runs a caller ([`barrier`]), and reads the counters once more. It
//! then sees all counts from before the barrier. A caller that counts after the barrier sees the word.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::{
    io::Errno,
    net::SendFlags,
    thread::{MembarrierCommand, MembarrierQuery},
};

/// The client's means to wake the agent. Cheap to clone.
#[derive(Clone)]
pub struct Waker(Channel);

#[derive(Clone)]
enum Channel {
    File { file: Arc<OwnedFd>, is_socket: bool },
    Call(Arc<dyn Fn() + Send + Sync>),
}

impl Waker {
    /// Over a connected socket, an eventfd or a pipe.
    ///
    /// # Errors
    /// The system cannot examine the descriptor, or cannot make it non-blocking if it is not a socket.
    pub fn new(file: impl Into<Arc<OwnedFd>>) -> io::Result<Self> {
        let file = file.into();
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&*file)?.st_mode);
        let is_socket = kind == rustix::fs::FileType::Socket;
        if !is_socket {
            let flags = rustix::fs::fcntl_getfl(&*file)?;
            rustix::fs::fcntl_setfl(&*file, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        Ok(Self(Channel::File { file, is_socket }))
    }

    /// Over a function, for callers in the agent's own process. Pickers call it for each count while the
    /// agent sleeps.
    pub fn calling(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Channel::Call(Arc::new(wake)))
    }

    /// Sends eight bytes, as an eventfd requires, without blocking. `false` if the other end is gone. A
    /// message that finds no room counts as sent: the messages before it wake the agent.
    pub fn wake(&self) -> bool {
        let message = 1_u64.to_ne_bytes();
        let sent = match &self.0 {
            Channel::Call(wake) => {
                wake();
                return true;
            }
            Channel::File { file, is_socket: true } => {
                // A closed socket must not kill a caller by SIGPIPE.
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                rustix::net::send(file.as_fd(), &message, flags)
            }
            Channel::File { file, is_socket: false } => rustix::io::write(file.as_fd(), &message),
        };
        matches!(sent, Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS))
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Channel::File { file, .. } => f.debug_tuple("Waker").field(file).finish(),
            Channel::Call(_) => f.write_str("Waker(a function)"),
        }
    }
}

/// Which threads count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only threads of this process. The barrier interrupts the processors that run one of them. It took
    /// 0.4 to 0.7 us on the machine where the other barrier took 10 to 23 ms.
    ThisProcess,
    /// Threads of any process that has the table. The barrier waits for a grace period of the kernel.
    AllProcesses,
}

/// The kernel has no such barrier, or a filter refuses it. The agent then polls instead of sleeping.
#[derive(Debug, thiserror::Error)]
#[error("membarrier is not available here: {0}")]
pub struct BarrierUnavailable(io::Error);

/// Checks whether [`barrier`] works here, and prepares it.
///
/// # Errors
/// Why it does not work.
pub fn probe_barrier(reach: Reach) -> Result<(), BarrierUnavailable> {
    let known = rustix::thread::membarrier_query();
    let (wanted, register) = match reach {
        Reach::AllProcesses => (MembarrierQuery::GLOBAL, None),
        Reach::ThisProcess => {
            (MembarrierQuery::PRIVATE_EXPEDITED, Some(MembarrierCommand::RegisterPrivateExpedited))
        }
    };
    if !known.contains(wanted) {
        return Err(BarrierUnavailable(io::ErrorKind::Unsupported.into()));
    }
    match register {
        Some(command) => membarrier(command),
        None => Ok(()),
    }
}

/// A full memory barrier on every processor that runs a thread that may count.
///
/// # Errors
/// The kernel refuses it: see [`probe_barrier`], which has to be called before.
#[cfg(not(loom))]
pub fn barrier(reach: Reach) -> Result<(), BarrierUnavailable> {
    membarrier(match reach {
        Reach::ThisProcess => MembarrierCommand::PrivateExpedited,
        Reach::AllProcesses => MembarrierCommand::Global,
    })
}

/// Loom has no barrier over other threads. A fence here and one in each caller (see [`before_asleep`])
/// have the same effect.
#[cfg(loom)]
pub fn barrier(_reach: Reach) -> Result<(), BarrierUnavailable> {
    #[cfg(not(no_wake_barrier))]
    loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    Ok(())
}

/// Stands between a count and the load of `asleep`. The processor may still reorder the two, and
/// [`barrier`] compensates for that.
#[inline(always)]
pub(crate) fn before_asleep() {
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    #[cfg(loom)]
    loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

fn membarrier(command: MembarrierCommand) -> Result<(), BarrierUnavailable> {
    rustix::thread::membarrier(command).map_err(|errno| BarrierUnavailable(errno.into()))
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
        for reach in [Reach::ThisProcess, Reach::AllProcesses] {
            match probe_barrier(reach) {
                Ok(()) => barrier(reach).unwrap(),
                Err(refused) => assert!(refused.to_string().contains("membarrier")),
            }
        }
    }
}
