//! Waits for the sockets of a process that was killed. The kernel closes a process's descriptors one
//! by one, and drops a lock on a file with its own descriptor. So whoever gets the lock may still find
//! a socket of the process before open.

use std::{thread, time::Duration};

/// How often to try. All tries together take a second: the kernel needs milliseconds, unless other
/// processes keep it from running.
const TRIES: u32 = 100;
/// The time between two tries.
const POLL: Duration = Duration::from_millis(10);

/// Tries again for a second while `is_open` finds that a socket is still open. Blocks the thread
/// meanwhile.
///
/// # Errors
/// That of the last try.
pub fn once_closed<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_open: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if is_open(&error) => thread::sleep(POLL),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_closes_is_tried_until_it_is_closed() {
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            if tries < 4 { Err("open") } else { Ok(tries) }
        };
        assert_eq!(once_closed(attempt, |_| true), Ok(4));
    }

    #[test]
    fn a_socket_that_stays_open_is_an_error_in_the_end_and_another_error_is_one_at_once() {
        let tries_until = |error: &'static str| {
            let mut tries = 0;
            let attempt = || -> Result<(), &str> {
                tries += 1;
                Err(error)
            };
            assert_eq!(once_closed(attempt, |error| *error == "open"), Err(error));
            tries
        };
        assert_eq!((tries_until("open"), tries_until("another")), (TRIES, 1));
    }
}
