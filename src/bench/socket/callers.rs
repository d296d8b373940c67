//! Callers that pick and report in turn, with a fixed number of calls in flight.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, runtime::Runtime, sync::mpsc, task::JoinSet};
use tonic::{
    codegen::tokio_stream::{self, StreamExt, wrappers::ReceiverStream},
    transport::{Channel, Endpoint},
};

use super::stats::{CallStats, Transport};
use crate::{
    api::v1::{
        Outcome, PickRequest, PickResponse, Report, ReportRequest, SessionAnswer, SessionCall,
        SessionRequest, agent_client::AgentClient, session_answer::Answer, session_call::Call,
    },
    bench::agent_process::service_name,
    clock,
};

/// The callers of one server.
pub(super) struct Callers {
    runtime: Runtime,
    grpc: PathBuf,
    http: PathBuf,
}

impl Callers {
    pub(super) fn new(grpc: PathBuf, http: PathBuf) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, grpc, http })
    }

    /// Calls for the length of a turn, with this many calls in flight.
    pub(super) fn run(
        &self,
        transport: Transport,
        in_flight: usize,
        turn: Duration,
    ) -> io::Result<CallStats> {
        self.runtime.block_on(async {
            match transport {
                Transport::Unary => self.unary(in_flight, turn).await,
                Transport::Session => session(self.client().await?, in_flight, 1, turn).await,
                Transport::Batches => {
                    session(self.client().await?, in_flight, in_flight, turn).await
                }
                Transport::Http => self.http(in_flight, turn).await,
            }
        })
    }

    async fn client(&self) -> io::Result<AgentClient<Channel>> {
        let socket = self.grpc.clone();
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let channel = endpoint.connect_with_connector(connect).await.map_err(io::Error::other)?;
        Ok(AgentClient::new(channel))
    }

    async fn unary(&self, in_flight: usize, turn: Duration) -> io::Result<CallStats> {
        let client = self.client().await?;
        let begin = clock::now();
        let mut callers = JoinSet::new();
        for _ in 0..in_flight {
            let mut client = client.clone();
            callers.spawn(async move {
                let mut stats = CallStats::empty();
                while clock::now() - begin < turn {
                    let call = clock::now();
                    let picked = client.pick(pick()).await.map_err(io::Error::other)?;
                    let report = report(&picked.into_inner())?;
                    let called = clock::now();
                    stats.add_call(called - call);
                    client.report(report).await.map_err(io::Error::other)?;
                    stats.add_call(clock::now() - called);
                }
                io::Result::Ok(stats)
            });
        }
        all(callers, begin).await
    }

    async fn http(&self, in_flight: usize, turn: Duration) -> io::Result<CallStats> {
        let begin = clock::now();
        let mut callers = JoinSet::new();
        for _ in 0..in_flight {
            let stream = UnixStream::connect(&self.http).await?;
            callers.spawn(async move {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream))
                        .await
                        .map_err(io::Error::other)?;
                tokio::spawn(connection);
                let pick = Bytes::from(serde_json::to_vec(&pick())?);
                let mut stats = CallStats::empty();
                while clock::now() - begin < turn {
                    let call = clock::now();
                    let picked = post(&mut sender, "/v1/pick", pick.clone()).await?;
                    let called = clock::now();
                    stats.add_call(called - call);
                    let report = serde_json::to_vec(&report(&serde_json::from_slice(&picked)?)?)?;
                    let call = clock::now();
                    post(&mut sender, "/v1/report", report.into()).await?;
                    stats.add_call(clock::now() - call);
                }
                io::Result::Ok(stats)
            });
        }
        all(callers, begin).await
    }
}

/// The sum of what all callers of one turn measured.
async fn all(callers: JoinSet<io::Result<CallStats>>, begin: Duration) -> io::Result<CallStats> {
    let mut sum = CallStats::empty();
    for stats in callers.join_all().await {
        sum.add(&stats?);
    }
    sum.elapsed = clock::now() - begin;
    Ok(sum)
}

fn pick() -> PickRequest {
    PickRequest { service: service_name(0), ..PickRequest::default() }
}

fn report(picked: &PickResponse) -> io::Result<ReportRequest> {
    let pick = picked.picks.first().ok_or_else(|| io::Error::other("nothing was picked"))?;
    let (lease, outcome) = (pick.lease.clone(), Outcome::Success.into());
    Ok(ReportRequest { reports: vec![Report { lease, outcome, ..Report::default() }] })
}

async fn post(sender: &mut SendRequest<Full<Bytes>>, path: &str, body: Bytes) -> io::Result<Bytes> {
    let request = Request::builder().method(Method::POST).uri(path).header("host", "localhost");
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    match status.is_success() {
        true => Ok(body),
        false => Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&body)))),
    }
}

/// Keeps `in_flight` calls on one stream, with `in_a_message` in each message. After an answer to a pick
/// it sends a report, and after an answer to a report a pick.
async fn session(
    mut client: AgentClient<Channel>,
    in_flight: usize,
    in_a_message: usize,
    turn: Duration,
) -> io::Result<CallStats> {
    let first = |id| SessionCall { id, call: Some(Call::Pick(pick())) };
    let calls: Vec<_> = (0..in_flight as u64).map(first).collect();
    let messages: Vec<_> = calls.chunks(in_a_message).map(message).collect();
    let (sender, more) = mpsc::channel(in_flight);
    let requests = tokio_stream::iter(messages).chain(ReceiverStream::new(more));
    let begin = clock::now();
    let mut sent_at = vec![begin; in_flight];
    let mut responses = client.session(requests).await.map_err(io::Error::other)?.into_inner();
    let mut stats = CallStats::empty();
    let mut next = Vec::with_capacity(in_a_message);
    while stats.elapsed < turn {
        let Some(response) = responses.message().await.map_err(io::Error::other)? else {
            return Err(io::Error::other("the session ended"));
        };
        let now = clock::now();
        for answer in response.answers {
            stats.add_call(now - sent_at[answer.id as usize]);
            next.push(call_after(answer)?);
            if next.len() == in_a_message {
                for call in &next {
                    sent_at[call.id as usize] = now;
                }
                let sent = sender.send(message(&next)).await;
                sent.map_err(io::Error::other)?;
                next.clear();
            }
        }
        stats.elapsed = now - begin;
    }
    Ok(stats)
}

fn message(calls: &[SessionCall]) -> SessionRequest {
    SessionRequest { calls: calls.to_vec() }
}

fn call_after(answer: SessionAnswer) -> io::Result<SessionCall> {
    let call = match answer.answer {
        Some(Answer::Pick(picked)) => Call::Report(report(&picked)?),
        Some(Answer::Report(_)) => Call::Pick(pick()),
        Some(Answer::Error(error)) => return Err(io::Error::other(error.message)),
        None => return Err(io::Error::other("an answer says nothing")),
    };
    Ok(SessionCall { id: answer.id, call: Some(call) })
}
