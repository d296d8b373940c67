//! Counters of calls and connections.
//!
//! A call adds one to one counter. `metrics` makes names, labels and sums at a scrape.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tonic::Code;

use crate::{clock, log_limit::LogLimit};

/// The calls of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Pick,
    Report,
    Session,
    ListServices,
    GetService,
    WatchService,
    Explain,
    ListCallers,
}

impl Call {
    /// All of them, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::Pick,
        Self::Report,
        Self::Session,
        Self::ListServices,
        Self::GetService,
        Self::WatchService,
        Self::Explain,
        Self::ListCallers,
    ];

    /// The name in the proto.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pick => "Pick",
            Self::Report => "Report",
            Self::Session => "Session",
            Self::ListServices => "ListServices",
            Self::GetService => "GetService",
            Self::WatchService => "WatchService",
            Self::Explain => "Explain",
            Self::ListCallers => "ListCallers",
        }
    }

    /// The call of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.name() == name)
    }
}

/// The protocol of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Http,
    /// A gRPC session, itself counted as a call when it ends.
    Session,
}

/// The labels of the protocols, in the order of the counters.
pub(super) const PROTOCOLS: [(Protocol, &str); 3] =
    [(Protocol::Grpc, "grpc"), (Protocol::Http, "http"), (Protocol::Session, "session")];

/// gRPC counts its codes from 0 to 16.
const CODES: usize = 17;

#[derive(Debug, Default)]
pub struct Metrics {
    pub(super) calls: [[[AtomicU64; CODES]; PROTOCOLS.len()]; Call::ALL.len()],
    pub(super) misdirected: AtomicU64,
    pub(super) reports_accepted: AtomicU64,
    pub(super) reports_unknown: AtomicU64,
    pub(super) leases_lost: AtomicU64,
    pub(super) connections_accepted: AtomicU64,
    pub(super) connections_ended: AtomicU64,
    pub(super) connections_refused: AtomicU64,
    pub(super) pods_listening: AtomicU64,
    pub(super) pod_folders_refused: AtomicU64,
    /// Limits the log lines about refused connections.
    refusals: LogLimit,
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<Metrics>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections_ended.fetch_add(1, Relaxed);
    }
}

impl Metrics {
    /// A call was answered with this code.
    pub fn answered(&self, call: Call, protocol: Protocol, code: Code) {
        let code = usize::try_from(i32::from(code)).unwrap_or(CODES);
        if let Some(count) = self.calls[call as usize][protocol as usize].get(code) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A request asked for an unknown path or method.
    pub fn misdirected(&self) {
        self.misdirected.fetch_add(1, Relaxed);
    }

    /// A batch of reports was taken.
    pub fn reported(&self, accepted: u32, unknown: usize) {
        self.reports_accepted.fetch_add(accepted.into(), Relaxed);
        self.reports_unknown.fetch_add(unknown as u64, Relaxed);
    }

    /// A lease of the agent before this one could not be taken over.
    pub fn lease_lost(&self) {
        self.leases_lost.fetch_add(1, Relaxed);
    }

    /// A connection was refused. Returns whether a log line about it is due.
    pub fn connection_refused(&self) -> bool {
        self.connections_refused.fetch_add(1, Relaxed);
        self.refusals.due(clock::now())
    }

    /// Sets how many pods have a listener, and how many folders were refused.
    pub fn pods(&self, listening: usize, refused: usize) {
        self.pods_listening.store(listening as u64, Relaxed);
        self.pod_folders_refused.store(refused as u64, Relaxed);
    }

    pub fn connected(self: &Arc<Self>) -> ConnectionGuard {
        self.connections_accepted.fetch_add(1, Relaxed);
        ConnectionGuard(Arc::clone(self))
    }
}
