//! The publishing task, tables of live targets, leases.

use std::{net::SocketAddr, sync::Arc, time::{Duration, SystemTime}};

pub use pointsman_table_outcome::Outcome;

use crate::{
    catalog::{Endpoint, Labels, ServiceName},
    plan::{Plan, State},
    policy::Policy,
};

/// Stands in until the table crate is merged (then: `pub use pointsman_table::Outcome`).
mod pointsman_table_outcome {
    /// How a request went.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Outcome { Success, Failure, Unreachable, Expired, Cancelled, Rejected }
}

/// What a table is made for: one port of a service, narrowed by labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which service.
    pub service: ServiceName,
    /// Which of its ports (an index into `Service::ports` changes; the name and number don't).
    pub port: (Option<Arc<str>>, Option<u16>),
    /// Only endpoints with all of these labels.
    pub selector: Labels,
}

/// The live tables; cheap to clone.
#[derive(Clone)]
pub struct Tables {}

impl Tables {
    /// Starts the publishing thread over this catalog.
    pub fn start(_catalog: Arc<crate::catalog::Catalog>, _here: Here, _seed: u32) -> std::io::Result<Self> { unimplemented!() }
    /// The live table of a target, made at its first use. None: the catalog no longer has it.
    pub fn open(&self, _target: &Target) -> Option<Arc<Live>> { unimplemented!() }
    /// Stops the publishing thread and waits for it.
    pub fn stop(&self) { unimplemented!() }
}

/// Where this agent runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Here {
    pub zone: Option<Arc<str>>,
    pub region: Option<Arc<str>>,
    pub node: Option<Arc<str>>,
}

/// A target with a table.
pub struct Live {}

/// What one pick wants.
pub struct Want<'a> {
    pub exclude: &'a [SocketAddr],
    pub key: Option<&'a [u8]>,
    /// At least 1.
    pub count: u32,
    /// At least 1.
    pub cost: u32,
}

/// What one pick got: at least one.
pub struct Picked {
    pub picks: Vec<Held>,
    pub plan: u64,
    pub stale: bool,
}

/// Why there is none; the text says what was wrong ("3 endpoints, all unready").
#[derive(Debug, thiserror::Error)]
#[error("no endpoint of {target} can serve: {why}")]
pub struct NoEndpoint { pub target: String, pub why: String }

/// A picked endpoint, counted in flight (the first) or not yet; dropped unused it ends as cancelled.
pub struct Held {
    pub endpoint: Arc<Endpoint>,
    /// The group's index in the plan.
    pub priority: u32,
}

impl Held {
    /// Counts it in flight from now on, if it is not yet.
    pub fn start(&mut self) { unimplemented!() }
    /// The server's own load.
    pub fn report_load(&mut self, _load: ServerLoad) { unimplemented!() }
    /// This request was a retry.
    pub fn retried(&mut self) { unimplemented!() }
    /// The request is over.
    pub fn end(self, _outcome: Outcome, _latency: Option<Duration>) { unimplemented!() }
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerLoad { pub utilization: f32, pub in_flight: f32, pub qps: f32, pub eps: f32 }

/// One endpoint as this node sees it.
pub struct EndpointStatus {
    pub endpoint: Arc<Endpoint>,
    pub state: State,
    pub weight: f64,
    pub in_flight: u32,
    /// Over the last ten seconds.
    pub requests: u32,
    pub failures: u32,
    pub mean_latency: Option<Duration>,
}

/// All that explains a pick.
pub struct Explanation {
    pub target: Target,
    pub plan: Arc<Plan>,
    pub policy: Arc<Policy>,
    /// By the plan's endpoints: what is published now (None: not in the table).
    pub cells: Vec<Option<CellView>>,
    pub samples: Vec<Sample>,
    pub retry_left: f64,
    pub period: Duration,
}

pub struct CellView { pub base: f32, pub slope: f32, pub limit: i32 }

/// One sampled pick.
pub struct Sample {
    pub at: SystemTime,
    pub group: String,
    pub candidates: Vec<(SocketAddr, f32, bool)>,
    pub chosen: Option<SocketAddr>,
    pub overflowed: bool,
}

impl Live {
    pub fn target(&self) -> &Target { unimplemented!() }
    pub fn pick(&self, _want: &Want<'_>) -> Result<Picked, NoEndpoint> { unimplemented!() }
    pub fn endpoints(&self) -> Vec<EndpointStatus> { unimplemented!() }
    pub fn explain(&self) -> Explanation { unimplemented!() }
}
