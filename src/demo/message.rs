//! The messages between the demo and its child processes. Each is a line of JSON on the child's standard
//! input or output. A child ends when its input ends.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::{
    in_flight::InFlightStats,
    scenario::{Arm, Change, RunConfig},
};

/// The first line that a process with the back-ends of one arm reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BackEndSetup {
    pub(crate) run: RunConfig,
}

/// The first line that a caller reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CallerSetup {
    pub(crate) run: RunConfig,
    /// Its number among all callers.
    pub(crate) number: usize,
    /// Requests per second and arm.
    pub(crate) rate: f64,
    /// The agent of its node.
    pub(crate) agent: PathBuf,
    /// By arm, in the order of [`Arm::ALL`], and by number of the back-end.
    pub(crate) addresses: [Vec<SocketAddr>; Arm::ALL.len()],
}

/// Every later line to a child.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ParentMessage {
    /// The current members of the service. A caller knows them as a virtual IP does.
    Members(Vec<usize>),
    /// The load begins now.
    Begin,
    Change(Change),
    /// A removed back-end closes its connections.
    Close(usize),
    /// The last request has arrived. The child sends what it measured, and answers what is open.
    Finish,
}

/// The lines from a child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ChildMessage {
    /// The back-ends listen here, by number.
    Listening(Vec<SocketAddr>),
    /// What the back-ends have in flight now, with max/mean since the last such line.
    Gauge(InFlightStats),
    /// What the back-ends measured from the warm-up to the end.
    Measured(InFlightStats),
    /// Requests that ended, by arm, and by how much each arrival came too late, in microseconds.
    Requests { ended: [Vec<Request>; Arm::ALL.len()], late: Vec<u32> },
    /// The caller has no more requests.
    Over,
}

/// One request that ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// It arrived after the warm-up.
    #[serde(rename = "c")]
    pub(crate) counted: bool,
    /// From when it was due to arrive to its answer, in microseconds.
    #[serde(rename = "l")]
    pub(crate) latency: u32,
    /// The pick's part of that.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(crate) pick: Option<u32>,
    /// `None` if it was never sent.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub(crate) back_end: Option<usize>,
    #[serde(rename = "e")]
    pub(crate) end: End,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    #[serde(rename = "ok")]
    Answered,
    /// The answer was an error.
    #[serde(rename = "bad")]
    Failed,
    /// There was no connection, or it broke.
    #[serde(rename = "cut")]
    Cut,
    /// No answer before the deadline.
    #[serde(rename = "late")]
    Expired,
}

/// A duration in microseconds, as messages have it.
pub(crate) fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// In a child: reads its setup, then receives messages until the parent is gone.
pub(crate) fn receive_from_parent<T: DeserializeOwned>()
-> io::Result<(T, mpsc::UnboundedReceiver<ParentMessage>)> {
    let mut first = String::new();
    io::stdin().lock().read_line(&mut first)?;
    let setup = serde_json::from_str(&first)?;
    let (orders, receiver) = mpsc::unbounded_channel();
    thread::Builder::new().name("orders".into()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let order = line.and_then(|line| Ok(serde_json::from_str(&line)?));
            if order.is_err() || order.is_ok_and(|order| orders.send(order).is_err()) {
                break;
            }
        }
    })?;
    Ok((setup, receiver))
}

/// In a child: sends a message to the parent.
pub(crate) fn send_to_parent(message: &ChildMessage) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
