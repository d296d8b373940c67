//! HTTP/2 connections to back-ends. All arms use them, so that they differ only in the choice.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::Mutex, time::timeout};

use crate::demo::{back_end::WORK, message::End};

/// An open connection. Clones share it.
type Connection = SendRequest<Empty<Bytes>>;

/// One connection to each back-end that a request was ever sent to.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<SocketAddr, Connection>>,
}

impl Connections {
    async fn to(&self, address: SocketAddr) -> Option<Connection> {
        let mut open = self.open.lock().await;
        if let Some(connection) = open.get(&address).filter(|connection| !connection.is_closed()) {
            return Some(connection.clone());
        }
        let connection = connect(address).await?;
        open.insert(address, connection.clone());
        Some(connection)
    }
}

/// The single connection of a caller that knows only a virtual IP. It stays at its back-end until that
/// back-end closes it.
#[derive(Default)]
pub(super) struct VirtualIp {
    current: Mutex<Option<(usize, Connection)>>,
}

/// Chooses a back-end.
type Choose<'a> = &'a (dyn Fn() -> Option<(usize, SocketAddr)> + Sync);

impl VirtualIp {
    /// The connection, and the number of its back-end. `choose` is called only for a new connection.
    async fn connection(&self, choose: Choose<'_>) -> Option<(usize, Connection)> {
        let mut current = self.current.lock().await;
        if current.as_ref().is_none_or(|(_, connection)| connection.is_closed()) {
            let (back_end, address) = choose()?;
            *current = Some((back_end, connect(address).await?));
        }
        current.clone()
    }
}

/// Where a request goes.
pub(super) enum Route<'a> {
    VirtualIp(&'a VirtualIp, Choose<'a>),
    To(&'a Connections, usize, SocketAddr),
}

impl Route<'_> {
    /// Sends one request of `work` microseconds. Returns the back-end that got it, and how it ended.
    pub(super) async fn send(&self, work: u64, left: Duration) -> (Option<usize>, End) {
        let mut sent_to = None;
        let sending = async {
            // A closing connection returns a request that it has not sent. A new connection then sends it.
            for _ in 0..2 {
                let Some((back_end, mut connection)) = self.open().await else { break };
                sent_to = Some(back_end);
                if let Some(end) = send_request_on(&mut connection, work).await {
                    return end;
                }
            }
            End::Cut
        };
        let end = timeout(left, sending).await.unwrap_or(End::Expired);
        (sent_to, end)
    }

    async fn open(&self) -> Option<(usize, Connection)> {
        match self {
            Self::VirtualIp(virtual_ip, choose) => virtual_ip.connection(*choose).await,
            Self::To(connections, back_end, address) => {
                Some((*back_end, connections.to(*address).await?))
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Option<Connection> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

/// Returns `None` if the connection was closing and sent nothing.
async fn send_request_on(connection: &mut Connection, work: u64) -> Option<End> {
    let request = Request::get("http://orders.demo/").header(WORK, work);
    let request = request.body(Empty::new()).ok()?;
    match connection.try_send_request(request).await {
        Ok(response) if response.status().is_success() => Some(End::Answered),
        Ok(_) => Some(End::Failed),
        Err(error) if error.message().is_some() => None,
        Err(_) => Some(End::Cut),
    }
}
