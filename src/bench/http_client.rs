//! A minimal HTTP/1.1 client, so that a caller costs very little compared with the agent.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

/// Sends a request and returns the whole answer. Expected answers are short and arrive in one read.
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

/// Like [`post`], but any other status than this one is an error.
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
