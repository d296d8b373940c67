//! Where a control plane listens: a Unix socket or a TCP address.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

use crate::socket::{
    address::SocketAddress,
    listener,
    lock::{SocketError, SocketLock},
};

/// `unix:///run/pointsman/xds.sock` or `127.0.0.1:18000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Unix(SocketAddress),
    Tcp(SocketAddr),
}

/// Why a control plane can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("address {address}: {reason}; choose another with --listen")]
    Tcp { address: SocketAddr, reason: io::Error },
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let looks_like_a_socket = text.starts_with("unix:") || text.contains('/');
        match text.parse() {
            Ok(address) if looks_like_a_socket => Ok(Self::Unix(address)),
            Err(error) if looks_like_a_socket => Err(error.to_string()),
            _ => Err(format!(
                "{text:?} is not an address: write unix:///run/pointsman/xds.sock, or an IP address with a \
                 port, such as 127.0.0.1:18000"
            )),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Bound {
    Unix { listener: std::os::unix::net::UnixListener, lock: SocketLock },
    Tcp(std::net::TcpListener),
}

/// Who has a connection, for quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Uid(u32),
    Address(IpAddr),
}

impl Peer {
    /// A host of IPv6 has a network of addresses to choose from, so that its network counts.
    fn of(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Both kinds of connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A listening socket that accepts.
pub enum Acceptor {
    /// The lock lives as long as the listener.
    Unix(UnixListener, SocketLock),
    Tcp(TcpListener),
}

impl Listen {
    /// # Errors
    /// The address is in use, or can't be used.
    pub fn bind(&self) -> Result<Bound, ListenError> {
        match self {
            Self::Unix(address) => {
                let lock = SocketLock::acquire(address)?;
                let listener = listener::bind(&lock, listener::DEFAULT_MODE, None)?;
                lock.write_pid()?;
                Ok(Bound::Unix { listener, lock })
            }
            Self::Tcp(address) => std::net::TcpListener::bind(address)
                .map(Bound::Tcp)
                .map_err(|reason| ListenError::Tcp { address: *address, reason }),
        }
    }
}

impl Bound {
    /// As a client dials it.
    pub fn address(&self) -> String {
        match self {
            Self::Unix { lock, .. } => format!("unix://{}", lock.address()),
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|error| error.to_string(), |it| it.to_string())
            }
        }
    }

    /// # Errors
    /// The system's.
    pub fn acceptor(self) -> io::Result<Acceptor> {
        match self {
            Self::Unix { listener, lock } => {
                listener.set_nonblocking(true)?;
                Ok(Acceptor::Unix(UnixListener::from_std(listener)?, lock))
            }
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Acceptor::Tcp(TcpListener::from_std(listener)?))
            }
        }
    }
}

impl Acceptor {
    /// The next connection, and whose it is.
    ///
    /// # Errors
    /// The system's.
    pub async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let uid = sockopt::socket_peercred(&stream)?.uid.as_raw();
                Ok((Box::new(stream), Peer::Uid(uid)))
            }
            Self::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // A response is one write, and a client waits for it.
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Peer::of(from.ip())))
            }
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unix(..) => "Unix",
            Self::Tcp(_) => "Tcp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_are_one_peer() {
        let peer = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(peer("fd00:1:2:3::1"), peer("fd00:1:2:3:ffff::2"));
        assert_ne!(peer("fd00:1:2:3::1"), peer("fd00:1:2:4::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }

    #[test]
    fn an_address_is_a_socket_or_an_ip_address_with_a_port() {
        assert!(matches!("127.0.0.1:0".parse(), Ok(Listen::Tcp(_))));
        assert!(matches!("[::]:18000".parse(), Ok(Listen::Tcp(_))));
        for text in ["unix:///run/xds.sock", "/run/xds.sock", "./xds.sock"] {
            assert!(matches!(text.parse(), Ok(Listen::Unix(_))), "{text}");
        }
        for text in ["", "18000", "localhost:18000", "xds.sock"] {
            let error = text.parse::<Listen>().unwrap_err();
            assert!(error.contains("127.0.0.1:18000"), "{error}");
        }
        assert!("unix://run/xds.sock".parse::<Listen>().unwrap_err().contains("names a host"));
    }
}
