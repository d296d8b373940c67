//! Messages with descriptors over the take-over socket: a length in four bytes, then the message;
//! descriptors go with the length.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use prost::Message;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
};

use super::message::{Frame, What};

/// Descriptors in one message.
const MOST_DESCRIPTORS: usize = 3;
/// Bytes in one message: far above a thousand leases, or every endpoint of a node put aside.
const MOST_BYTES: u32 = 64 << 20;

/// A connection between two agents.
#[derive(Debug)]
pub(super) struct Wire(pub(super) UnixStream);

impl Wire {
    pub(super) async fn send(&mut self, what: What) -> io::Result<()> {
        self.send_with(what, &[]).await
    }

    pub(super) async fn send_with(
        &mut self,
        what: What,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let body = Frame { what: Some(what) }.encode_to_vec();
        let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes();
        let stream = &self.0;
        let sent = stream.async_io(Interest::WRITABLE, || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let parts = [IoSlice::new(&length)];
            Ok(sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL)?)
        });
        whole(sent.await?)?;
        self.0.write_all(&body).await
    }

    /// The next message; an error once the other end is gone.
    pub(super) async fn receive(&mut self) -> io::Result<(What, Vec<OwnedFd>)> {
        let stream = &self.0;
        let received = stream.async_io(Interest::READABLE, || {
            let mut length = [0; 4];
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut length)];
            let bytes = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
            let mut descriptors = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(more) = message {
                    descriptors.extend(more);
                }
            }
            Ok((bytes, length, descriptors))
        });
        let (bytes, length, descriptors) = received.await?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        whole(bytes)?;
        let length = u32::from_le_bytes(length);
        if length > MOST_BYTES {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let mut body = vec![0; length as usize];
        self.0.read_exact(&mut body).await?;
        let what = Frame::decode(&*body).map_err(io::Error::other)?.what;
        let what =
            what.ok_or_else(|| io::Error::other("a message that this agent doesn't know"))?;
        Ok((what, descriptors))
    }
}

/// Four bytes go in one piece over a Unix socket.
fn whole(bytes: usize) -> io::Result<()> {
    match bytes {
        4 => Ok(()),
        _ => Err(io::Error::other("half of a length")),
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
        let (mut one, mut other) = (Wire(one), Wire(other));
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"locked").unwrap();
        let hello = What::Hello(Hello { version: 7, pid: 9, admin: String::new() });
        one.send_with(hello.clone(), &[file.as_fd()]).await.unwrap();
        let why = "x".repeat(100_000);
        let refusal = What::Refusal(Refusal { why });
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
