//! Hands leases over to a successor.
//!
//! An agent that hands over sends its successor every open lease. From then on it sends every lease
//! it still grants and every report it still receives. So a caller may report to either of the two,
//! and the successor's counts in flight are right from its first pick.

use std::sync::{Arc, atomic::Ordering};

use super::{
    lease_event::{HandedLease, LeaseEvent},
    lock::lock,
    pending_changes::{Change, PendingChanges},
    registry::Leases,
    shard::SHARDS,
};

/// The handoff to a successor. When it is dropped, changes are no longer kept.
#[derive(Debug)]
pub struct Handoff {
    leases: Arc<Leases>,
    /// The number of shards whose open leases have been sent.
    shards_sent: usize,
}

impl Handoff {
    /// Up to `most` of the open leases; an empty list after the last one.
    pub fn open(&mut self, most: usize) -> Vec<HandedLease> {
        let mut open = Vec::new();
        while self.shards_sent < SHARDS && open.len() < most {
            let mut events = Vec::new();
            let room = most - open.len();
            let given = |change: &Change| matches!(change, Change::Given(_));
            lock(&self.leases.shards[self.shards_sent]).take_pending(room, given, &mut events);
            if events.len() < room {
                self.shards_sent += 1;
            }
            open.extend(events.into_iter().filter_map(|event| match event {
                LeaseEvent::Given(lease) => Some(lease),
                LeaseEvent::Reported { .. } => None,
            }));
        }
        open
    }

    /// Up to about `most` changes since the last call; None once there are no more and
    /// [`Leases::end_events`] was called.
    pub async fn events(&mut self, most: usize) -> Option<Vec<LeaseEvent>> {
        loop {
            // Read before the shards: a change that comes after the read is not missed.
            let ending = self.leases.no_more_events.load(Ordering::SeqCst);
            let mut events = Vec::new();
            for shard in &self.leases.shards {
                if events.len() < most {
                    lock(shard).take_pending(most - events.len(), |_| true, &mut events);
                }
            }
            if !events.is_empty() {
                return Some(events);
            }
            if ending {
                return None;
            }
            self.leases.has_events.notified().await;
        }
    }
}

impl Drop for Handoff {
    fn drop(&mut self) {
        for shard in &self.leases.shards {
            lock(shard).pending = None;
        }
    }
}

impl Leases {
    /// Keeps all changes of leases for a successor from now on, beginning with the open leases.
    pub fn hand_over(self: &Arc<Self>) -> Handoff {
        self.no_more_events.store(false, Ordering::SeqCst);
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.pending = Some(PendingChanges::of(shard.open.keys().copied()));
        }
        Handoff { leases: Arc::clone(self), shards_sent: 0 }
    }

    /// Ends the events: [`Handoff::events`] returns what is pending now, and then None.
    pub fn end_events(&self) {
        self.no_more_events.store(true, Ordering::SeqCst);
        self.has_events.notify_one();
    }

    /// The number of leases with changes that the successor has not been sent.
    pub fn pending_changes(&self) -> usize {
        let shards = self.shards.iter();
        shards.filter_map(|shard| Some(lock(shard).pending.as_ref()?.len())).sum()
    }
}
