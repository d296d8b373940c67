//! Reads that are cut anywhere.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use mend_authority::Mended;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose reads return at most these numbers of octets in turn, from the first number again
/// after the last. With 0 a read has to wait.
pub(crate) struct Choppy<T> {
    stream: T,
    sizes: Vec<usize>,
    next: usize,
}

impl<T> Choppy<T> {
    pub(crate) fn new(stream: T, sizes: &[usize]) -> Self {
        Choppy { stream, sizes: sizes.to_vec(), next: 0 }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Choppy<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.sizes[self.next % self.sizes.len()];
        self.next += 1;
        if size == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut part = vec![0; size.min(buf.remaining())];
        let mut part = ReadBuf::new(&mut part);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        buf.put_slice(part.filled());
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Choppy<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The output for these octets, which arrive in parts of these sizes and are read into buffers of these
/// sizes.
pub(crate) fn mended(octets: &[u8], sizes: &[usize], rooms: &[usize]) -> Vec<u8> {
    let mut stream = Mended::new(Choppy::new(octets, sizes));
    let mut out = Vec::new();
    for room in rooms.iter().cycle() {
        let mut room = vec![0; *room];
        let mut room = ReadBuf::new(&mut room);
        let cx = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) if room.filled().is_empty() => break,
            Poll::Ready(Ok(())) => out.extend_from_slice(room.filled()),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {}
        }
    }
    out
}

/// The same in one piece.
pub(crate) fn mended_whole(octets: &[u8]) -> Vec<u8> {
    mended(octets, &[usize::MAX], &[octets.len().max(1)])
}
