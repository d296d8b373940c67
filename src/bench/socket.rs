//! What the socket gives one caller with many requests under way: a stream for each pick, or all
//! on one.

use std::{io, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};
use tonic::{
    codegen::tokio_stream::{self, StreamExt, wrappers::ReceiverStream},
    transport::Channel,
};

use super::{
    agent_process::{AgentProcess, service_name},
    report::{Goal, Report, Row},
};
use crate::{
    api::v1::{PickRequest, SessionCall, SessionRequest, agent_client::AgentClient, session_call},
    clock,
};

/// Picks under way at a time.
const IN_FLIGHT: u64 = 64;
/// How long each way is measured, and how often in turn.
const TURN: Duration = Duration::from_secs(2);
const TURNS: u32 = 5;
/// Nobody reports: the leases must not pile up.
const LEASE_TTL: Duration = Duration::from_millis(100);
const GAIN: f64 = 3.0;

/// Picks by calls of their own, and over a session.
pub fn run(smoke: bool) -> io::Result<Report> {
    let (turn, turns) = if smoke { (TURN / 20, 1) } else { (TURN, TURNS) };
    let agent = AgentProcess::start(1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut unary, mut session) = (0.0, 0.0);
    for _ in 0..turns {
        unary += runtime.block_on(async { by_calls(agent.connect().await?, turn).await })?;
        session += runtime.block_on(async { by_session(agent.connect().await?, turn).await })?;
    }
    let mut report = Report::default();
    report
        .section(
            format!("Picks a second of one caller, {IN_FLIGHT} under way"),
            vec![
                Row::value("by a session, one pick a message", session / f64::from(turns), "/s")
                    .over(unary / f64::from(turns))
                    .goal(Goal::ratio_above(GAIN)),
            ],
        )
        .notes
        .push("The floor is a gRPC call for each pick, on one connection as well.".into());
    Ok(report)
}

fn request() -> PickRequest {
    let lease_ttl = Some(LEASE_TTL.into());
    PickRequest { service: service_name(0), lease_ttl, ..PickRequest::default() }
}

async fn by_calls(client: AgentClient<Channel>, turn: Duration) -> io::Result<f64> {
    let begin = clock::now();
    let mut callers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let mut client = client.clone();
        callers.spawn(async move {
            let mut picked = 0_u64;
            while clock::now() - begin < turn {
                client.pick(request()).await.map_err(io::Error::other)?;
                picked += 1;
            }
            io::Result::Ok(picked)
        });
    }
    let mut picked = 0;
    for caller in callers.join_all().await {
        picked += caller?;
    }
    Ok(picked as f64 / (clock::now() - begin).as_secs_f64())
}

async fn by_session(mut client: AgentClient<Channel>, turn: Duration) -> io::Result<f64> {
    let message = |id| {
        let call = SessionCall { id, call: Some(session_call::Call::Pick(request())) };
        SessionRequest { calls: vec![call] }
    };
    let (sender, more) = mpsc::channel(IN_FLIGHT as usize);
    let requests = tokio_stream::iter((0..IN_FLIGHT).map(message)).chain(ReceiverStream::new(more));
    let mut responses = client.session(requests).await.map_err(io::Error::other)?.into_inner();
    let begin = clock::now();
    let mut picked = 0_u64;
    while clock::now() - begin < turn {
        let Some(response) = responses.message().await.map_err(io::Error::other)? else { break };
        for answer in response.answers {
            picked += 1;
            sender.send(message(answer.id)).await.map_err(io::Error::other)?;
        }
    }
    Ok(picked as f64 / (clock::now() - begin).as_secs_f64())
}
