//! The open streams, for the metrics and the page of clients.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use xds::server::SubscriptionStatus;

use super::{listen::Peer, machine::Subscriptions};

/// What a stream's first request and its connection say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamFacts {
    pub(super) peer: Peer,
    /// The client's text, within a bound.
    pub(super) node: String,
    /// Its kind.
    pub(super) client: &'static str,
    pub(super) variant: &'static str,
    /// When it began, by [`crate::clock::now`].
    pub(super) since: Duration,
}

/// A stream at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamStatus {
    /// Grows with every stream.
    pub(super) id: u64,
    pub(super) facts: Arc<StreamFacts>,
    /// By type URL.
    pub(super) types: Vec<(String, SubscriptionStatus)>,
}

#[derive(Default)]
pub(super) struct Streams {
    last: AtomicU64,
    open: Mutex<BTreeMap<u64, Entry>>,
}

#[derive(Clone)]
struct Entry {
    facts: Arc<StreamFacts>,
    machine: Arc<Mutex<dyn Subscriptions>>,
}

/// A stream is open until this is dropped.
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    id: u64,
    facts: Arc<StreamFacts>,
}

impl Streams {
    pub(super) fn open(
        self: &Arc<Self>,
        facts: StreamFacts,
        machine: Arc<Mutex<dyn Subscriptions>>,
    ) -> OpenStream {
        let id = self.last.fetch_add(1, Relaxed) + 1;
        let facts = Arc::new(facts);
        self.entries().insert(id, Entry { facts: facts.clone(), machine });
        OpenStream { streams: self.clone(), id, facts }
    }

    /// All of them, the oldest first. A stream waits for this only while its own status is read.
    pub(super) fn all(&self) -> Vec<StreamStatus> {
        let entries = self.entries().clone();
        let status = |(id, Entry { facts, machine }): (u64, Entry)| {
            let types = machine.lock().unwrap_or_else(PoisonError::into_inner).status();
            StreamStatus { id, facts, types }
        };
        entries.into_iter().map(status).collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenStream {
    pub(super) fn node(&self) -> &str {
        &self.facts.node
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.entries().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use xds::{
        Resource, Resources,
        proto::envoy::service::discovery::v3::DeltaDiscoveryRequest,
        resource_type::{ASSIGNMENT, CLUSTER},
        server::DeltaStream,
    };

    use super::*;

    #[test]
    fn a_stream_is_listed_with_what_it_holds_until_it_ends() {
        let streams = Arc::<Streams>::default();
        let machine = Arc::<Mutex<DeltaStream>>::default();
        let facts = StreamFacts {
            peer: Peer::Uid(0),
            node: "node-1".to_owned(),
            client: "agent",
            variant: "delta",
            since: Duration::from_secs(5),
        };
        let open = streams.open(facts.clone(), machine.clone());
        let second = streams.open(facts.clone(), Arc::<Mutex<DeltaStream>>::default());
        assert_eq!(open.node(), "node-1");
        let mut published = Resources::default();
        published.set(CLUSTER, Resource::new("a", "1"));
        for type_url in [CLUSTER, ASSIGNMENT] {
            let request = DeltaDiscoveryRequest {
                type_url: type_url.to_owned(),
                resource_names_subscribe: vec!["a".to_owned(), "b".to_owned()],
                ..Default::default()
            };
            machine.lock().unwrap().request(request).unwrap();
        }
        machine.lock().unwrap().next(&published, Duration::from_secs(6)).unwrap();
        let all = streams.all();
        assert_eq!(all.iter().map(|each| each.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((&*all[0].facts, all[1].types.len()), (&facts, 0));
        let told: Vec<_> = all[0]
            .types
            .iter()
            .map(|(url, it)| (&**url, it.named, it.held, it.unanswered_since))
            .collect();
        let at = Some(Duration::from_secs(6));
        assert_eq!(told, [(CLUSTER, 2, 1, at), (ASSIGNMENT, 2, 0, None)]);
        drop(open);
        assert_eq!(streams.all().len(), 1);
        drop(second);
        assert!(streams.all().is_empty());
    }
}
