//! A client of the agent: plain HTTP/1.1 and JSON over the Unix socket, as any program could use it.
//! It collects reports for a few milliseconds and sends them together.

use std::{io, net::SocketAddr, path::PathBuf, sync::Mutex, sync::PoisonError, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, sync::mpsc, time::sleep};

use crate::{
    api::v1::{Outcome, PickRequest, PickResponse, Report, ReportRequest, ReportResponse},
    demo::message::End,
};

/// How long a report waits for others. It is short compared with a request, because the lease still counts
/// as in flight meanwhile.
const BATCH_FOR: Duration = Duration::from_millis(5);

/// A client of the agent. It reuses connections.
pub(in crate::demo) struct AgentClient {
    socket: PathBuf,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// The endpoint of a pick, with its lease.
pub(in crate::demo) struct LeasedEndpoint {
    pub(in crate::demo) address: SocketAddr,
    pub(in crate::demo) lease: String,
}

impl AgentClient {
    pub(in crate::demo) fn at(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::default() }
    }

    pub(in crate::demo) async fn pick(&self, service: &str) -> io::Result<LeasedEndpoint> {
        let request = PickRequest { service: service.to_owned(), ..Default::default() };
        let response: PickResponse = self.post("/v1/pick", &request).await?;
        let pick = response.picks.into_iter().next().ok_or(io::ErrorKind::InvalidData)?;
        let ip = pick.address.parse().map_err(io::Error::other)?;
        let port = u16::try_from(pick.port).map_err(io::Error::other)?;
        Ok(LeasedEndpoint { address: SocketAddr::new(ip, port), lease: pick.lease })
    }

    /// Sends what arrives in `reports`, until its senders are gone.
    pub(super) async fn send_reports(&self, mut reports: mpsc::UnboundedReceiver<Report>) {
        let mut batch = Vec::new();
        while reports.recv_many(&mut batch, 1).await > 0 {
            sleep(BATCH_FOR).await;
            while let Ok(more) = reports.try_recv() {
                batch.push(more);
            }
            let request = ReportRequest { reports: std::mem::take(&mut batch) };
            // After a lost report the lease ends by its expiry. The next report may succeed.
            if let Err(error) = self.post::<_, ReportResponse>("/v1/report", &request).await {
                eprintln!("report: {error}");
            }
        }
    }

    async fn post<T: Serialize, R: DeserializeOwned>(&self, path: &str, body: &T) -> io::Result<R> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(idle) => idle,
            None => {
                let stream = UnixStream::connect(&self.socket).await?;
                let (sender, connection) =
                    handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                sender
            }
        };
        let response = connection.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        if !status.is_success() {
            return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned()));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// The report that ends a lease.
pub(super) fn report(lease: String, end: End, latency: Duration) -> Report {
    let outcome = match end {
        End::Answered => Outcome::Success,
        End::Failed => Outcome::Failure,
        End::Cut => Outcome::Unreachable,
        End::Expired => Outcome::Expired,
    };
    Report { lease, outcome: outcome.into(), latency: Some(latency.into()), ..Default::default() }
}
