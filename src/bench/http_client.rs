//! A call over HTTP/1.1 by the byte, so that the caller costs next to nothing beside the agent.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

/// Calls, and returns the whole answer: those that are expected are short and come with one read.
pub(super) fn post(stream: &mut UnixStream, path: &str, body: &str) -> io::Result<String> {
    let length = body.len();
    let request =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer)?;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

/// The same, where the answer has to have this status.
pub(super) fn post_expecting(
    stream: &mut UnixStream,
    path: &str,
    body: &str,
    status: u16,
) -> io::Result<String> {
    let answer = post(stream, path, body)?;
    match answer.starts_with(&format!("HTTP/1.1 {status} ")) {
        true => Ok(answer),
        false => Err(io::Error::other(format!("{path} {body}: {answer}"))),
    }
}
