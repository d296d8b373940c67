//! Sends and receives the messages of a take-over, with their descriptors.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use prost::Message;
use tokio::net::UnixStream;

use super::message::{Frame, Payload};
use crate::socket::descriptors;

/// The most bytes of a message: far more than a thousand leases, or all ejected endpoints of a node.
const MOST_BYTES: u32 = 64 << 20;

/// A connection between two agents.
#[derive(Debug)]
pub(super) struct Channel(pub(super) UnixStream);

impl Channel {
    pub(super) async fn send(&mut self, payload: Payload) -> io::Result<()> {
        self.send_with(payload, &[]).await
    }

    pub(super) async fn send_with(
        &mut self,
        payload: Payload,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let body = Frame { payload: Some(payload) }.encode_to_vec();
        descriptors::send(&mut self.0, &body, descriptors).await
    }

    /// The next message.
    ///
    /// # Errors
    /// The other agent is gone.
    pub(super) async fn receive(&mut self) -> io::Result<(Payload, Vec<OwnedFd>)> {
        let (body, descriptors) = descriptors::receive(&mut self.0, MOST_BYTES).await?;
        let payload = Frame::decode(&*body).map_err(io::Error::other)?.payload;
        let payload =
            payload.ok_or_else(|| io::Error::other("a message that this agent doesn't know"))?;
        Ok((payload, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Seek, Write},
        os::fd::AsFd,
    };

    use super::*;
    use crate::agent::takeover::message::{Hello, Refusal};

    #[tokio::test]
    async fn messages_arrive_with_their_descriptors() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Channel(one), Channel(other));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"locked").unwrap();
        let hello = Payload::Hello(Hello { version: 7, pid: 9, admin: String::new() });
        one.send_with(hello.clone(), &[file.as_fd()]).await.unwrap();
        let why = "x".repeat(100_000);
        let refusal = Payload::Refusal(Refusal { why });
        let sending = async { one.send(refusal.clone()).await.unwrap() };
        let receiving = async {
            let (what, mut descriptors) = other.receive().await.unwrap();
            assert_eq!((what, descriptors.len()), (hello, 1));
            let mut same = File::from(descriptors.remove(0));
            same.rewind().unwrap();
            let mut text = String::new();
            same.read_to_string(&mut text).unwrap();
            assert_eq!(text, "locked");
            let (what, descriptors) = other.receive().await.unwrap();
            assert_eq!((what, descriptors.len()), (refusal.clone(), 0));
        };
        tokio::join!(sending, receiving);
        drop(one);
        let end = other.receive().await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
