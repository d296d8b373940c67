//! The adapter: a stream whose read side is mended.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frames::Frames;

/// How much room is made at a time for what a peer has announced, but not sent yet.
const STEP: usize = 4096;

/// An accepted stream. What is read from it has authorities that `http` accepts; what is written to
/// it passes as it is.
#[derive(Debug)]
pub struct Mended<T> {
    stream: T,
    frames: Frames,
    /// A header block, or a frame's head, that a read cut off: what came of it, until the rest has.
    /// Nobody can make use of half a one, so nobody waits for this.
    held: Vec<u8>,
    /// How many octets `held` still lacks, at least.
    lacks: usize,
    /// How much of `held` was passed on, once it lacks nothing.
    passed: usize,
}

impl<T> Mended<T> {
    /// Adapts a stream of which nothing has been read.
    pub fn new(stream: T) -> Self {
        Mended { stream, frames: Frames::new(), held: Vec::new(), lacks: 0, passed: 0 }
    }

    /// The stream itself: who the peer is, say.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }

    /// The number of the frame that has begun and is not finished, or of the header block, when a
    /// read has to wait for the rest of it: nothing of the whole connection goes on until then. h2
    /// waits for that for ever. `None` between two, and where this is not HTTP/2.
    pub fn unfinished(&self) -> Option<u64> {
        self.frames.unfinished(!self.held.is_empty())
    }

    /// Bytes that are kept back until the rest of what they belong to has come.
    pub fn held(&self) -> usize {
        self.held.len() - self.passed
    }
}

impl<T: AsyncRead + Unpin> Mended<T> {
    /// Reads what can be passed on as it comes, and holds the rest.
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

    /// Reads no more than what is lacking, so that all that is held is passed on together.
    fn poll_lacking(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.held.len();
        self.held.resize(before + self.lacks.min(STEP), 0);
        let mut more = ReadBuf::new(&mut self.held[before..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut more);
        let count = more.filled().len();
        self.held.truncate(before + count);
        ready!(polled)?;
        if count == 0 {
            // The end: what is held will never be whole.
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
            // Cuts are rare: a connection that had one should not keep the memory.
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
