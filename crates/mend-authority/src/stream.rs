//! The adapter: a stream that mends what is read from it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frames::Frames;

/// How much memory is allocated at a time for octets that a peer has announced but not sent yet.
const STEP: usize = 4096;

/// An accepted stream. What is read from it has authorities that `http` accepts. What is written to it
/// passes unchanged.
#[derive(Debug)]
pub struct Mended<T> {
    stream: T,
    frames: Frames,
    /// The beginning of a header block, or of a frame's head, whose rest has not arrived yet. The server
    /// cannot use a part of one, so holding it delays nothing.
    held: Vec<u8>,
    /// How many octets `held` still needs at least.
    lacks: usize,
    /// How much of `held` was passed on, once it is complete.
    passed: usize,
}

impl<T> Mended<T> {
    /// Adapts a stream from which nothing has been read yet.
    pub fn new(stream: T) -> Self {
        Mended { stream, frames: Frames::new(), held: Vec::new(), lacks: 0, passed: 0 }
    }

    /// The inner stream, for example to ask for the peer.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }

    /// The number of the frame or header block that has begun and not ended, while a read waits for its
    /// rest. The whole connection waits with it, and h2 has no limit for this wait. `None` between two
    /// frames, and if the connection is not HTTP/2.
    pub fn unfinished(&self) -> Option<u64> {
        self.frames.unfinished(!self.held.is_empty())
    }

    /// How many bytes are held back until the rest of their frame or header block has arrived.
    pub fn held(&self) -> usize {
        self.held.len() - self.passed
    }
}

impl<T: AsyncRead + Unpin> Mended<T> {
    /// Reads, passes on what can be passed on at once, and holds the rest.
    fn poll_fresh(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let fresh = &mut buf.filled_mut()[before..];
        let walk = self.frames.walk(fresh);
        self.held.extend_from_slice(&fresh[walk.done..]);
        self.lacks = walk.lacks;
        buf.set_filled(before + walk.done);
        Poll::Ready(Ok(()))
    }

    /// Reads at most the missing octets, so that everything that is held can be passed on together.
    fn poll_lacking(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.held.len();
        self.held.resize(before + self.lacks.min(STEP), 0);
        let mut more = ReadBuf::new(&mut self.held[before..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut more);
        let count = more.filled().len();
        self.held.truncate(before + count);
        ready!(polled)?;
        if count == 0 {
            // The end of the stream: what is held will never be complete.
            self.frames = Frames::Other;
        }
        self.lacks = self.frames.walk(&mut self.held).lacks;
        Poll::Ready(Ok(()))
    }

    fn pass(&mut self, buf: &mut ReadBuf<'_>) {
        let rest = &self.held[self.passed..];
        let count = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..count]);
        self.passed += count;
        if self.passed == self.held.len() {
            // Cut reads are rare, so a connection should not keep the memory.
            self.held = Vec::new();
            self.passed = 0;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Mended<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            let before = buf.filled().len();
            ready!(self.poll_fresh(cx, buf))?;
            if self.held.is_empty() || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        while self.lacks > 0 {
            ready!(self.poll_lacking(cx))?;
        }
        self.pass(buf);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Mended<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const WAS: &[u8] = b"\0\0\x05\x01\x04\0\0\0\x01\x41\x03a/b";
    const IS: &[u8] = b"\0\0\x05\x01\x04\0\0\0\x01\x41\x03a-b";

    fn pair() -> (DuplexStream, Mended<DuplexStream>) {
        let (near, far) = duplex(1 << 20);
        (near, Mended::new(far))
    }

    async fn read(stream: &mut Mended<DuplexStream>) -> Vec<u8> {
        let mut room = vec![0; 4096];
        let count = stream.read(&mut room).await.unwrap();
        room[..count].to_vec()
    }

    #[tokio::test]
    async fn what_is_whole_does_not_wait_for_what_is_not() {
        let (mut near, mut stream) = pair();
        near.write_all(&[OPENING, &WAS[..4]].concat()).await.unwrap();
        assert_eq!(read(&mut stream).await, OPENING);
        near.write_all(&[&WAS[4..], WAS].concat()).await.unwrap();
        assert_eq!(read(&mut stream).await, IS);
        assert_eq!(read(&mut stream).await, IS);
        assert_eq!(stream.held.capacity(), 0);
    }

    #[tokio::test]
    async fn what_will_never_be_whole_comes_out_at_the_end() {
        let (mut near, mut stream) = pair();
        near.write_all(&[OPENING, &WAS[..12]].concat()).await.unwrap();
        drop(near);
        assert_eq!(read(&mut stream).await, OPENING);
        assert_eq!(read(&mut stream).await, &WAS[..12]);
        assert_eq!(read(&mut stream).await, b"");
        assert_eq!(read(&mut stream).await, b"");
    }

    #[tokio::test]
    async fn what_is_announced_takes_no_room_until_it_comes() {
        let (mut near, mut stream) = pair();
        let announced = b"\0\xff\0\x01\x04\0\0\0\x01";
        near.write_all(&[OPENING, announced].concat()).await.unwrap();
        assert_eq!(read(&mut stream).await, OPENING);
        let waits = tokio::time::timeout(std::time::Duration::ZERO, read(&mut stream)).await;
        assert!(waits.is_err());
        assert!(stream.held.capacity() <= 2 * STEP);
    }

    #[tokio::test]
    async fn what_is_written_passes_as_it_is() {
        let (mut near, mut stream) = pair();
        assert!(stream.is_write_vectored());
        let parts = [IoSlice::new(OPENING), IoSlice::new(WAS)];
        assert_eq!(stream.write_vectored(&parts).await.unwrap(), OPENING.len() + WAS.len());
        stream.write_all(WAS).await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        let mut out = Vec::new();
        near.read_to_end(&mut out).await.unwrap();
        assert_eq!(out, [OPENING, WAS, WAS].concat());
    }
}
