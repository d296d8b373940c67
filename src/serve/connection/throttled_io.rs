//! A connection that pauses while its caller is in the tarpit (`isolation::tarpit`). During the pause
//! it is neither read nor closed. Writes go out as usual.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use crate::serve::isolation::account::Account;

pub(super) struct Throttled<T> {
    stream: T,
    account: Arc<Account>,
    rest: Option<Pin<Box<Sleep>>>,
    /// The failure to return after the pause.
    failure: Option<io::Error>,
}

impl<T: Unpin> Throttled<T> {
    pub(super) fn new(stream: T, account: Arc<Account>) -> Self {
        Self { stream, account, rest: None, failure: None }
    }

    /// Ready when there is no pause to wait for. Returns the failure that was kept, if any.
    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(until) = self.account.take_rest() {
            self.rest = Some(Box::pin(sleep_until(until)));
        }
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        Poll::Ready(self.failure.take().map_or(Ok(()), Err))
    }

    /// Passes a result through. A failure is returned only after the pause, since it closes the stream.
    fn poll_over<R>(
        &mut self,
        done: Poll<io::Result<R>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        match done {
            Poll::Ready(Err(error)) => {
                self.failure = Some(error);
                self.poll_failure(context)
            }
            done => done,
        }
    }

    fn poll_failure<R>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<R>> {
        ready!(self.poll_rest(context))?;
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Throttled<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context))?;
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.poll_over(read, context)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Throttled<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.failure.is_some() {
            return self.poll_failure(context);
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.poll_over(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.failure.is_some() {
            return self.poll_failure(context);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.poll_over(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failure.is_some() {
            return self.poll_failure(context);
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.poll_over(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{Instant, timeout},
    };

    use super::*;
    use crate::{identity::Identity, quota::Quota, serve::isolation::tarpit::Tarpit};

    /// An account that was refused so often that it has to pause for a second or more.
    fn refused() -> Arc<Account> {
        let account = Account::new(Quota::new("bytes", 0), Tarpit::new(0), Identity::Uid(1));
        (0..400).for_each(|_| drop(account.hold(1 << 20).unwrap_err()));
        account
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_rests_is_not_read_but_its_answer_goes_out() {
        let (mut near, far) = duplex(100);
        let mut stream = Throttled::new(far, refused());
        near.write_all(b"more").await.unwrap();
        assert!(timeout(Duration::from_secs(1), stream.read(&mut [0; 9])).await.is_err());
        stream.write_all(b"no").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(near.read(&mut [0; 9]).await.unwrap(), 2);
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 4, "after its rest");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_closed_only_when_it_has_rested() {
        let (mut near, far) = duplex(100);
        let begin = Instant::now();
        let closing = tokio::spawn(async move {
            let mut stream = Throttled::new(far, refused());
            stream.shutdown().await.unwrap();
        });
        assert_eq!(near.read(&mut [0; 9]).await.unwrap(), 0);
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
        closing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn it_breaks_off_only_when_it_has_rested() {
        let (near, far) = duplex(100);
        drop(near);
        let mut stream = Throttled::new(far, refused());
        let begin = Instant::now();
        assert_eq!(stream.write_all(b"no").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(begin.elapsed() >= Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}
