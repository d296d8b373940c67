//! Watches what a connection reads and writes, and notes
//!
//! - that it broke (`delivery`): its last answer may not have arrived;
//! - since when it waits for the rest of an HTTP/2 frame (`idle_timeout`): until then nothing else
//!   comes in on the connection, and h2 has no timeout for it;
//! - how large the connection's buffers have become (`account`): they never shrink;
//! - whether the caller reads its answers: as long as it does not, its requests are not read either.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use mend_authority::Mended;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::idle_timeout::IdleTimer;
use crate::serve::{
    Error,
    calls::delivery::DeliveryTracker,
    isolation::account::{Account, Pending},
    limits,
};

/// Bytes of buffers that the fixed cost of a connection covers.
const SMALL: usize = 4 << 10;
/// The most bytes of unread data that h2 keeps, beside the windows of sessions.
const MOST_UNREAD: usize = limits::CONNECTION_WINDOW as usize / 2;
/// The most bytes that are read before a request is passed on: h2 refuses a head of four times the
/// limit.
const MOST_READ: usize = 4 * limits::MAX_HEAD as usize;

pub(super) struct TrackedIo<T> {
    stream: Mended<T>,
    delivery: Arc<DeliveryTracker>,
    idle_timer: Arc<IdleTimer>,
    /// The frame whose rest is missing.
    unfinished: Option<u64>,
    account: Arc<Account>,
    buffers: Pending,
    /// Bytes read of a request that is not complete yet.
    reading: usize,
    most_read: usize,
    most_written: usize,
    /// Bytes read while a session reads nothing, and the memory that h2 may use for them.
    unread: usize,
    kept: Option<Pending>,
    /// A write is pending until the caller reads.
    blocked: bool,
    /// Woken when writes go on.
    reader: Option<Waker>,
}

impl<T> TrackedIo<T> {
    pub(super) fn new(
        stream: Mended<T>,
        delivery: Arc<DeliveryTracker>,
        idle_timer: Arc<IdleTimer>,
        account: Arc<Account>,
    ) -> Self {
        Self {
            stream,
            delivery,
            idle_timer,
            unfinished: None,
            buffers: account.pending(),
            account,
            reading: 0,
            most_read: 0,
            most_written: 0,
            unread: 0,
            kept: None,
            blocked: false,
            reader: None,
        }
    }

    /// Notes a failure, such as a reset: the caller had not read everything.
    fn note_broken<R>(&self, done: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if matches!(done, Poll::Ready(Err(_))) {
            self.delivery.connection_broken();
        }
        done
    }

    fn note_unfinished(&mut self, unfinished: Option<u64>) {
        if unfinished != self.unfinished {
            self.unfinished = unfinished;
            self.idle_timer.await_frame(unfinished.is_some());
        }
    }

    /// Counts bytes that were read. `all`: no more can be read for now.
    fn was_read(&mut self, bytes: usize, all: bool) -> io::Result<()> {
        if bytes > 0 && self.idle_timer.take_received() {
            // Earlier bytes belong to a request that was passed on.
            self.reading = 0;
        }
        if self.account.waits_to_send() {
            self.unread += bytes;
            if all && self.unread > 0 {
                let kept = (self.unread * limits::UNREAD_FACTOR).min(MOST_UNREAD);
                let held = self.kept.get_or_insert_with(|| self.account.pending()).hold(kept);
                held.map_err(|error| self.hang_up(&error))?;
            }
        } else if self.unread > 0 {
            self.unread = 0;
            self.kept = None;
        }
        self.reading += bytes;
        let now = (self.reading + self.stream.held()).min(MOST_READ);
        if all && !self.idle_timer.is_waiting() {
            self.reading = 0;
        }
        if now > self.most_read {
            self.most_read = now;
            return self.charge();
        }
        Ok(())
    }

    fn was_written(&mut self, bytes: usize, blocked: bool) -> io::Result<()> {
        self.blocked = blocked;
        if !blocked && let Some(reader) = self.reader.take() {
            reader.wake();
        }
        if bytes > self.most_written {
            self.most_written = bytes;
            return self.charge();
        }
        Ok(())
    }

    fn charge(&mut self) -> io::Result<()> {
        let bytes = (self.most_read + self.most_written).saturating_sub(SMALL);
        self.buffers.hold(bytes).map_err(|error| self.hang_up(&error))
    }

    fn hang_up(&self, error: &Error) -> io::Error {
        self.account.refuse(error);
        io::Error::other("there is no more memory for this caller")
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.blocked {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // While more can be read, an incomplete frame is not a wait.
        if read.is_pending() || self.unfinished.is_some() {
            let unfinished = self.stream.unfinished();
            self.note_unfinished(unfinished);
        }
        self.was_read(buffer.filled().len() - before, read.is_pending())?;
        self.note_broken(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.was_written(bytes.len(), written.is_pending())?;
        self.note_broken(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        // Only the first slice is a buffer. The others are answers, which `response_body` charges.
        let buffered = slices.first().map_or(0, |slice| slice.len());
        self.was_written(buffered, written.is_pending())?;
        self.note_broken(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.account.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{sleep, timeout},
    };

    use super::*;
    use crate::{
        identity::Identity,
        quota::Quota,
        serve::{
            connection::idle_timeout::IdleTimeouts, isolation::tarpit::Tarpit, limits::WAIT_TIME,
        },
    };

    const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// A head without END_HEADERS.
    const HEAD: &[u8] = b"\0\0\x05\x01\0\0\0\0\x01\x41\x03a-b";
    const HEADS_END: &[u8] = b"\0\0\0\x09\x04\0\0\0\x01";
    const DATA: &[u8] = b"\0\0\x05\0\0\0\0\0\x0112345";

    /// Sends these parts with a pause after each. Returns whether the connection expires within `after`
    /// of the last.
    async fn expires(parts: &[&[u8]], rest: Duration, after: Duration) -> bool {
        let timeouts = Arc::new(IdleTimeouts::new());
        let checks = timeouts.clone();
        let looking = tokio::spawn(async move { checks.run().await });
        let timer = timeouts.add();
        let (mut near, far) = duplex(1 << 20);
        let account = Account::new(Quota::new("bytes", 1 << 20), Tarpit::new(0), Identity::Uid(1));
        let mut stream = TrackedIo::new(Mended::new(far), Arc::default(), timer.clone(), account);
        let reading = tokio::spawn(async move {
            let mut room = [0; 4096];
            while stream.read(&mut room).await.is_ok_and(|read| read > 0) {}
        });
        near.write_all(OPENING).await.unwrap();
        // Its first request has arrived.
        timer.request_received();
        for part in parts {
            near.write_all(part).await.unwrap();
            sleep(rest).await;
        }
        let expired = timeout(after, timer.expired()).await.is_ok();
        looking.abort();
        reading.abort();
        expired
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_or_a_head_that_is_begun_and_not_finished_is_told_after_its_time() {
        for half in [HEAD, &HEAD[..12], &HEAD[..3], &DATA[..12], &DATA[..3]] {
            assert!(!expires(&[half], Duration::ZERO, WAIT_TIME).await, "{half:?}");
            assert!(expires(&[half], Duration::ZERO, 2 * WAIT_TIME).await, "{half:?}");
        }
        // A byte now and then is not enough.
        let slowly: Vec<_> = DATA[..13].chunks(1).collect();
        assert!(expires(&slowly, WAIT_TIME / 10, Duration::ZERO).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finishes_what_is_begun_may_rest_for_as_long_as_it_likes() {
        for whole in [&[HEAD, HEADS_END].concat()[..], DATA, &[HEAD, HEADS_END, DATA].concat()] {
            assert!(!expires(&[whole], Duration::ZERO, 10 * WAIT_TIME).await, "{whole:?}");
            let halves = [&whole[..11], &whole[11..]];
            assert!(!expires(&halves, WAIT_TIME / 2, 10 * WAIT_TIME).await, "{whole:?}");
        }
        // It is always within a request, but never for long within the same one.
        let shifted = [&DATA[7..], &DATA[..7]].concat();
        let always: Vec<&[u8]> = [&DATA[..7]].into_iter().chain([&shifted[..]; 5]).collect();
        assert!(!expires(&always, WAIT_TIME / 2, Duration::ZERO).await);
    }

    #[tokio::test]
    async fn half_a_head_counts_and_requests_that_came_whole_do_not() {
        let budget = Quota::new("bytes", 64 << 10);
        let account = Account::new(budget.clone(), Tarpit::new(0), Identity::Uid(1));
        let timer = IdleTimeouts::new().add();
        let (mut near, far) = duplex(1 << 20);
        let mut stream =
            TrackedIo::new(Mended::new(far), Arc::default(), timer.clone(), account.clone());
        let mut room = [0; 8192];
        for _ in 0..100 {
            near.write_all(&[b'x'; 200]).await.unwrap();
            assert_eq!(stream.read(&mut room).await.unwrap(), 200);
            timer.request_received();
            timer.await_request();
        }
        assert_eq!(budget.in_use(), 0, "a request after the other");
        near.write_all(&[b'x'; 8000]).await.unwrap();
        assert_eq!(stream.read(&mut room).await.unwrap(), 8000);
        assert!(budget.in_use() >= 8000 - SMALL, "{}", budget.in_use());
        // Beyond its share of memory the connection is closed.
        let rest =
            Account::new(budget.clone(), Tarpit::new(0), Identity::Uid(1)).hold(40 << 10).unwrap();
        near.write_all(&[b'x'; 8000]).await.unwrap();
        assert!(stream.read(&mut room).await.is_err());
        assert!(account.refusal().is_some());
        drop((stream, rest));
        assert_eq!(budget.in_use(), 0);
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_read_from() {
        let account = Account::new(Quota::new("bytes", 1 << 20), Tarpit::new(0), Identity::Uid(1));
        let (mut near, far) = duplex(100);
        let timer = IdleTimeouts::new().add();
        let stream = TrackedIo::new(Mended::new(far), Arc::default(), timer, account);
        let (mut reads, mut writes) = tokio::io::split(stream);
        near.write_all(b"request").await.unwrap();
        let writing = tokio::spawn(async move { writes.write_all(&[1; 250]).await });
        let mut room = [0; 100];
        assert_eq!(reads.read(&mut room).await.unwrap(), 7);
        near.write_all(b"more").await.unwrap();
        let reading = tokio::spawn(async move { reads.read(&mut [0; 100]).await });
        sleep(Duration::from_millis(20)).await;
        assert!(!reading.is_finished(), "nobody reads the answer");
        near.read_exact(&mut [0; 250]).await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), 4);
        writing.await.unwrap().unwrap();
    }
}
