//! What is noted of a caller's stream as it is read and written:
//!
//! - that it broke, on its line (`delivery`): the last answer on it may not have arrived;
//! - since when the rest of an HTTP/2 frame is waited for (`patience`): until that is there, nothing
//!   else comes in on its connection, and h2 waits for ever.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use mend_authority::Mended;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{delivery::Line, patience::Waiting};

/// A caller's stream of which this is noted.
pub(super) struct Noted<T> {
    stream: Mended<T>,
    line: Arc<Line>,
    waiting: Arc<Waiting>,
    /// The frame that is waited for.
    unfinished: Option<u64>,
}

impl<T> Noted<T> {
    pub(super) fn new(stream: Mended<T>, line: Arc<Line>, waiting: Arc<Waiting>) -> Self {
        Self { stream, line, waiting, unfinished: None }
    }

    /// Reset, say, not closed: there was something that the caller had not read.
    fn whether_broken<R>(&self, done: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if matches!(done, Poll::Ready(Err(_))) {
            self.line.broke();
        }
        done
    }

    fn whether_unfinished(&mut self, unfinished: Option<u64>) {
        if unfinished != self.unfinished {
            self.unfinished = unfinished;
            self.waiting.rest(unfinished.is_some());
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // Where there is more to read, what it cuts off is not waited for.
        if read.is_pending() || self.unfinished.is_some() {
            let unfinished = self.stream.unfinished();
            self.whether_unfinished(unfinished);
        }
        self.whether_broken(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.whether_broken(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.whether_broken(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
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
    use crate::serve::{limits::WAIT_TIME, patience::Patience};

    const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// Its end is awaited.
    const HEAD: &[u8] = b"\0\0\x05\x01\0\0\0\0\x01\x41\x03a-b";
    const HEADS_END: &[u8] = b"\0\0\0\x09\x04\0\0\0\x01";
    const DATA: &[u8] = b"\0\0\x05\0\0\0\0\0\x0112345";

    /// Whether a connection that was sent this, each part after a rest, is told that it took too
    /// long, in so much time after the last.
    async fn told(parts: &[&[u8]], rest: Duration, after: Duration) -> bool {
        let patience = Arc::new(Patience::new());
        let looks = patience.clone();
        let looking = tokio::spawn(async move { looks.look().await });
        let waiting = patience.wait();
        let (mut near, far) = duplex(1 << 20);
        let mut stream = Noted::new(Mended::new(far), Arc::default(), waiting.clone());
        let reading = tokio::spawn(async move {
            let mut room = [0; 4096];
            while stream.read(&mut room).await.is_ok_and(|read| read > 0) {}
        });
        near.write_all(OPENING).await.unwrap();
        // Its first request is there.
        waiting.end();
        for part in parts {
            near.write_all(part).await.unwrap();
            sleep(rest).await;
        }
        let told = timeout(after, waiting.over()).await.is_ok();
        looking.abort();
        reading.abort();
        told
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_or_a_head_that_is_begun_and_not_finished_is_told_after_its_time() {
        for half in [HEAD, &HEAD[..12], &HEAD[..3], &DATA[..12], &DATA[..3]] {
            assert!(!told(&[half], Duration::ZERO, WAIT_TIME).await, "{half:?}");
            assert!(told(&[half], Duration::ZERO, 2 * WAIT_TIME).await, "{half:?}");
        }
        // Bytes now and then are not enough.
        let slowly: Vec<_> = DATA[..13].chunks(1).collect();
        assert!(told(&slowly, WAIT_TIME / 10, Duration::ZERO).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finishes_what_is_begun_may_rest_for_as_long_as_it_likes() {
        for whole in [&[HEAD, HEADS_END].concat()[..], DATA, &[HEAD, HEADS_END, DATA].concat()] {
            assert!(!told(&[whole], Duration::ZERO, 10 * WAIT_TIME).await, "{whole:?}");
            let halves = [&whole[..11], &whole[11..]];
            assert!(!told(&halves, WAIT_TIME / 2, 10 * WAIT_TIME).await, "{whole:?}");
        }
        // Always in the middle of one, but never for long in the same.
        let shifted = [&DATA[7..], &DATA[..7]].concat();
        let always: Vec<&[u8]> = [&DATA[..7]].into_iter().chain([&shifted[..]; 5]).collect();
        assert!(!told(&always, WAIT_TIME / 2, Duration::ZERO).await);
    }
}
