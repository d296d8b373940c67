//! Sends and receives messages with file descriptors over a Unix socket. A message is its length in four
//! bytes and then its bytes. The descriptors go with the length.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
};

/// The most descriptors of a message.
const MOST_DESCRIPTORS: usize = 3;

/// Sends a message with at most three descriptors.
///
/// # Errors
/// The system's.
pub async fn send(
    stream: &mut UnixStream,
    message: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?.to_le_bytes();
    let to = &*stream;
    let sent = to.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let parts = [IoSlice::new(&length)];
        Ok(sendmsg(to, &parts, &mut control, SendFlags::NOSIGNAL)?)
    });
    whole(sent.await?)?;
    stream.write_all(message).await
}

/// Receives a message of at most `most` bytes, with its descriptors.
///
/// # Errors
/// The system's; `UnexpectedEof` once the other end is gone; the message is longer.
pub async fn receive(stream: &mut UnixStream, most: u32) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let from = &*stream;
    let received = from.async_io(Interest::READABLE, || {
        let mut length = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut length)];
        let bytes = recvmsg(from, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
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
    if length > most {
        return Err(io::Error::other(format!("a message of {length} bytes is too long")));
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message).await?;
    Ok((message, descriptors))
}

/// The length always arrives in one piece over a Unix socket.
fn whole(bytes: usize) -> io::Result<()> {
    match bytes {
        4 => Ok(()),
        _ => Err(io::Error::other("the length of a message is incomplete")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use rustix::fs::fstat;

    use super::*;

    #[tokio::test]
    async fn a_message_arrives_with_the_same_open_file() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        send(&mut one, b"hello", &[file.as_fd()]).await.unwrap();
        let (message, descriptors) = receive(&mut other, 5).await.unwrap();
        assert_eq!(message, b"hello");
        let received: Vec<_> = descriptors.into_iter().map(File::from).collect();
        let inode = |file: &File| fstat(file).unwrap().st_ino;
        assert_eq!(received.iter().map(inode).collect::<Vec<_>>(), [inode(&file)]);
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_not_read() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        send(&mut one, b"hello", &[]).await.unwrap();
        let error = receive(&mut other, 4).await.unwrap_err();
        assert_eq!(error.to_string(), "a message of 5 bytes is too long");
    }
}
