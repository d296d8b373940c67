//! Leases that go to a successor.
//!
//! An agent that hands over tells its successor of every open lease, and from then on of all that
//! becomes of leases here: what it still gives, and what is still reported to it. So a caller may
//! report to either of the two, and the successor's counts in flight are true from its first pick.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use tokio::sync::mpsc;

use super::{Event, Identity, LeaseId, Report};
use crate::publish::Target;

/// What a successor may be behind. A second of 20,000 requests, picked and reported; what does not
/// fit is lost: those leases end by their time.
const BEHIND: usize = 40_000;

/// An open lease, as another agent can take it over.
#[derive(Clone, Debug, PartialEq)]
pub struct Handed {
    /// Its name.
    pub id: LeaseId,
    /// Whose it is.
    pub identity: Identity,
    /// Where it was picked.
    pub target: Target,
    /// What was picked.
    pub address: SocketAddr,
    /// What it counts.
    pub cost: u32,
    /// It counts already.
    pub in_flight: bool,
    /// What is left of its life.
    pub ttl: Duration,
}

/// What becomes of leases.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// One more.
    Given(Handed),
    /// A report of it.
    Reported {
        /// Which.
        id: LeaseId,
        /// By whom.
        identity: Identity,
        /// What happened.
        event: Event,
        /// The request was a retry.
        retry: bool,
    },
}

/// What a successor reads.
pub type Incoming = mpsc::Receiver<News>;

/// The way to a successor.
#[derive(Clone, Debug)]
pub(super) struct Successor(mpsc::Sender<News>);

impl Successor {
    pub(super) fn new() -> (Self, Incoming) {
        let (news, incoming) = mpsc::channel(BEHIND);
        (Self(news), incoming)
    }

    /// Whether it is told.
    pub(super) fn tell(&self, news: News) -> bool {
        self.0.try_send(news).is_ok()
    }
}

/// Reports that overtook the news of their lease. A caller may pick at one agent and report to the
/// other, while the one tells the other of the pick.
#[derive(Debug, Default)]
pub(super) struct Early {
    reports: HashMap<LeaseId, (Identity, Report)>,
}

impl Early {
    /// Whether it is kept: a report of an end, and not more than can be meant.
    pub(super) fn keep(&mut self, id: LeaseId, identity: Identity, report: &Report) -> bool {
        let ended = matches!(report.event, Event::Ended(..));
        let keeps = ended && self.reports.len() < BEHIND;
        if keeps {
            self.reports.insert(id, (identity, report.clone()));
        }
        keeps
    }

    pub(super) fn take(&mut self, id: LeaseId, identity: Identity) -> Option<Report> {
        let (by, report) = self.reports.remove(&id)?;
        (by == identity).then_some(report)
    }
}
