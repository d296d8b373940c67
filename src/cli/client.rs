//! Calls the agent over its socket with HTTP and JSON. Leases of HTTP picks outlive this process.

use std::{io::ErrorKind, time::Duration};

use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::exit::{Failure, Kind};
use crate::socket::address::{self, SocketAddress};

/// The most time for an answer. The agent waits for its sources for 5 s at most.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Names the socket if `--socket` does not.
pub const SOCKET_VARIABLE: &str = "POINTSMAN_SOCKET";

#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The agent's socket: a path or unix:///PATH.
    #[arg(long, env = SOCKET_VARIABLE, default_value = address::DEFAULT, value_name = "PATH|URI")]
    pub socket: SocketAddress,
}

/// # Errors
/// The agent can't be reached, or returns an error.
pub fn get<T: DeserializeOwned>(options: &Options, path: &str) -> Result<T, Failure> {
    call(options, Method::GET, path, Vec::new())
}

/// # Errors
/// The agent can't be reached, or returns an error.
pub fn post<T: DeserializeOwned>(
    options: &Options,
    path: &str,
    message: &impl Serialize,
) -> Result<T, Failure> {
    let body = serde_json::to_vec(message).map_err(Failure::other)?;
    call(options, Method::POST, path, body)
}

/// Escapes a part of a path or query.
#[must_use]
pub fn escape(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte);
    let escaped = part.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    escaped.collect()
}

#[derive(Debug)]
pub struct Answer {
    /// The status and the headers.
    pub head: http::response::Parts,
    /// The body: a message or an error.
    pub body: Bytes,
}

/// Returns any response, also an error.
///
/// # Errors
/// The agent can't be reached.
pub fn fetch(options: &Options, path: &str) -> Result<Answer, Failure> {
    exchange_with_timeout(options, Method::GET, path, Vec::new())
}

fn call<T: DeserializeOwned>(
    options: &Options,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T, Failure> {
    let Answer { head, body } = exchange_with_timeout(options, method, path, body)?;
    let unreadable = |error| {
        let socket = &options.socket;
        Failure::other(format!("{socket} answers, but not as an agent does: {error}"))
    };
    match head.status.is_success() {
        true => serde_json::from_slice(&body).map_err(unreadable),
        false => Err(Failure::from_response(&serde_json::from_slice(&body).map_err(unreadable)?)),
    }
}

fn exchange_with_timeout(
    options: &Options,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("starting: {error}")))?;
    let exchange = runtime.block_on(async {
        let exchange = exchange(&options.socket, method, path, body);
        tokio::time::timeout(TIMEOUT, exchange).await
    });
    exchange.unwrap_or_else(|_| {
        let waited = humantime::format_duration(TIMEOUT);
        let message = format!("the agent at {} has not answered for {waited}", options.socket);
        Err(Failure::new(Kind::NoAgent, message))
    })
}

async fn exchange(
    socket: &SocketAddress,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Answer, Failure> {
    let stream = UnixStream::connect(socket.path()).await.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such socket: is the agent running here?".to_owned(),
            ErrorKind::ConnectionRefused => "nobody listens on it: the agent has ended".to_owned(),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(Kind::NoAgent, format!("no agent at {socket}: {why}"))
    })?;
    let broken = |error: hyper::Error| {
        Failure::new(Kind::NoAgent, format!("the agent at {socket} closed the connection: {error}"))
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // The task ends with the sender. A failure shows in the response.
    tokio::spawn(async move { connection.await.ok() });
    let uri: Uri = path.parse().map_err(|error| Failure::other(format!("{path}: {error}")))?;
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(Failure::other)?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(broken)?.to_bytes();
    Ok(Answer { head, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_service_is_called_it_stays_one_part_of_the_path() {
        assert_eq!(escape("cart.shop@east:8080"), "cart.shop@east:8080");
        assert_eq!(escape("a/b?c=d&e#f g%"), "a%2Fb%3Fc%3Dd%26e%23f%20g%25");
        assert_eq!(escape("ä"), "%C3%A4");
    }
}
