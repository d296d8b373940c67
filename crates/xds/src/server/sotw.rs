//! One state-of-the-world stream of a server, as stock gRPC speaks it.
//!
//! A client restates all names of a type in each request. A response of clusters or listeners lists all
//! of them; one of assignments or routes may list a part.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    time::Duration,
};

use xxhash_rust::xxh3::Xxh3;

use super::{
    due::Due,
    interest::Interest,
    limits::{MOST_LISTED, MOST_NAMES, RESPONSE_BYTES, RequestError, check_names, of_type},
    rejection::{Rejection, first},
    status::{Answer, SubscriptionStatus},
};
use crate::{
    proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    published::Published,
    resource::{Name, Resource, Version},
    resource_type::{in_order, lists_all, needed_by},
};

/// What a stream subscribes to, and what its client has. Requests go in by [`Self::request`];
/// responses come out by [`Self::next`] when the connection has room. Times are since any moment, by a clock that
/// does not jump.
#[derive(Debug, Default)]
pub struct SotwStream {
    types: BTreeMap<String, Subscription>,
    nonces: u64,
}

/// The subscription to one type.
#[derive(Debug, Default)]
struct Subscription {
    /// The client named a resource once. From then on an empty list means none.
    named_once: bool,
    interest: Interest,
    /// What the client has, or will have once it read what is on its way.
    sent: HashMap<Name, Version>,
    due: Due,
    /// A response is due even if nothing is in it.
    owed: bool,
    /// The nonce of the last response. A request with another one was sent before the client read it.
    nonce: Option<String>,
    /// The first names of the last response.
    last: Vec<Name>,
    /// The version of the last response.
    version: Option<Version>,
    /// When the last response was sent.
    sent_at: Duration,
    /// The client has not answered it.
    unanswered: bool,
    rejected: Option<Rejection>,
}

impl SotwStream {
    /// A stream without a subscription.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a request: the subscription, and an answer to the last response. Returns that answer the first
    /// time. A request that answers an earlier response is ignored, since the client restates all of it in the
    /// answer to the last one.
    ///
    /// # Errors
    /// The client asks for more than a stream may. The stream has to end.
    pub fn request(&mut self, request: DiscoveryRequest) -> Result<Option<Answer>, RequestError> {
        let most = if lists_all(&request.type_url) { MOST_LISTED } else { MOST_NAMES };
        check_names(&request.resource_names, most)?;
        let subscription = of_type(&mut self.types, &request.type_url)?;
        if subscription.nonce.as_ref().is_some_and(|nonce| *nonce != request.response_nonce) {
            return Ok(None);
        }
        let answer = subscription.answered(&request);
        subscription.subscribe(request.resource_names);
        Ok(answer)
    }

    /// The next response, which is sent at `now`; None: the client has, or will have, all that it subscribed to.
    /// Updates come first, in the order in which one resource needs another; then what has only removals.
    pub fn next(&mut self, published: &impl Published, now: Duration) -> Option<DiscoveryResponse> {
        let order = in_order(&self.types);
        for type_url in &order {
            let subscription = self.types.get_mut(type_url).expect("a key of the map");
            subscription.collect(published, type_url);
        }
        let updated = |type_url: &&String| self.types[*type_url].has_updates(published, type_url);
        let (first, later): (Vec<_>, Vec<_>) = order.iter().partition(updated);
        let mut all = first.into_iter().chain(later.into_iter().rev());
        all.find_map(|type_url| self.respond(published, type_url, now))
    }

    fn respond(
        &mut self,
        published: &impl Published,
        type_url: &str,
        now: Duration,
    ) -> Option<DiscoveryResponse> {
        let subscription = self.types.get_mut(type_url)?;
        let before =
            if needed_by(type_url).is_some() { subscription.sent.clone() } else { HashMap::new() };
        let resources = if lists_all(type_url) {
            subscription.take_all(published, type_url)
        } else {
            subscription.take_some(published, type_url)
        }?;
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        subscription.nonce = Some(nonce.clone());
        subscription.last = first(resources.iter().map(|resource| &resource.name));
        (subscription.unanswered, subscription.sent_at) = (true, now);
        let version = subscription.version_of_all();
        subscription.version = Some(version);
        if let Some(needed) = needed_by(type_url).and_then(|needed| self.types.get_mut(needed)) {
            let changed = |sent: &&Resource| before.get(&sent.name) != Some(&sent.version);
            let changed = resources.iter().filter(changed).filter_map(|sent| sent.needs.clone());
            changed.for_each(|name| needed.resend(name));
        }
        Some(DiscoveryResponse {
            version_info: version.to_string(),
            resources: resources.iter().map(|resource| resource.any(type_url)).collect(),
            type_url: type_url.to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        })
    }

    /// The names that the stream holds for its client, for whoever limits them over all streams.
    #[must_use]
    pub fn names(&self) -> usize {
        self.types.values().map(|each| each.interest.named.len().max(each.sent.len())).sum()
    }

    /// The number of types whose last response has no answer of the client.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.types.values().filter(|each| each.unanswered).count()
    }

    /// How the subscriptions are doing, by type URL.
    pub fn status(&self) -> impl Iterator<Item = (&str, SubscriptionStatus)> {
        self.types.iter().map(|(type_url, subscription)| (type_url.as_str(), subscription.status()))
    }
}

impl Subscription {
    /// Reads the answer to the last response. Only `error_detail` tells a rejection: versions may be
    /// equal.
    fn answered(&mut self, request: &DiscoveryRequest) -> Option<Answer> {
        let nonce = self.nonce.as_ref()?;
        if self.rejected.as_ref().is_some_and(|before| before.nonce == *nonce) {
            // The client repeats its answer, perhaps with other names.
            return None;
        }
        let first = mem::replace(&mut self.unanswered, false);
        self.rejected = request
            .error_detail
            .as_ref()
            .map(|status| Rejection::new(nonce, self.last.clone(), status));
        let answer = Answer { sent: self.sent_at, rejection: self.rejected.clone() };
        (first || answer.rejection.is_some()).then_some(answer)
    }

    fn subscribe(&mut self, names: Vec<String>) {
        let first = self.nonce.is_none() && !self.named_once && !self.interest.wildcard;
        self.named_once |= !names.is_empty();
        let wildcard = names.iter().any(|name| name == "*") || !self.named_once;
        if wildcard && !self.interest.wildcard {
            self.owed = true;
            self.due.begin_anew();
        }
        let wildcard_before = mem::replace(&mut self.interest.wildcard, wildcard);
        let named = names.into_iter().filter(|name| name != "*").map(Name::from).collect();
        let before = mem::replace(&mut self.interest.named, named);
        // A client that asks for a name wants it sent, even if it had it before.
        for name in self.interest.named.difference(&before) {
            self.due.answer(name.clone());
        }
        let gone: Vec<Name> = if wildcard_before && !wildcard {
            self.sent.keys().filter(|name| !self.interest.named.contains(*name)).cloned().collect()
        } else {
            before.difference(&self.interest.named).cloned().collect()
        };
        if !self.interest.wildcard {
            for name in &gone {
                self.sent.remove(name);
            }
            let interest = &self.interest;
            self.due.retain(|name| interest.covers(name));
        }
        self.owed |= first;
    }

    /// Sends a resource again once, if the client subscribed to it.
    fn resend(&mut self, name: Name) {
        if self.interest.covers(&name) {
            self.due.answer(name);
        }
    }

    fn collect(&mut self, published: &impl Published, type_url: &str) {
        self.due.collect(published, type_url, &self.interest, self.sent.keys());
    }

    /// Whether something that is published now differs from what the client has.
    fn has_updates(&self, published: &impl Published, type_url: &str) -> bool {
        self.due.iter().any(|(name, answer)| {
            published
                .get(type_url, name)
                .is_some_and(|now| answer || self.sent.get(name) != Some(&now.version))
        })
    }

    /// All resources of the client, if one of them is due. A resource that is not among them does not
    /// exist.
    fn take_all(&mut self, published: &impl Published, type_url: &str) -> Option<Vec<Resource>> {
        let now = |name: &str| published.get(type_url, name).map(|now| now.version);
        let due = self
            .due
            .iter()
            .any(|(name, answer)| answer || now(name) != self.sent.get(name).copied());
        self.due.clear();
        if !mem::take(&mut self.owed) && !due {
            return None;
        }
        let mut names = self.interest.named.clone();
        if self.interest.wildcard {
            names.extend(published.names(type_url));
        }
        let resources: Vec<_> =
            names.iter().filter_map(|name| published.get(type_url, name)).collect();
        let sent = resources.iter().map(|resource| (resource.name.clone(), resource.version));
        self.sent = sent.collect();
        Some(resources)
    }

    /// Those of the due resources that have room in a response. Nothing is said of those that do not
    /// exist: the client learns it from what refers to them, or waits.
    fn take_some(&mut self, published: &impl Published, type_url: &str) -> Option<Vec<Resource>> {
        let (mut resources, mut bytes, mut done) = (Vec::new(), 0, Vec::new());
        for (name, answer) in self.due.iter() {
            let now = published.get(type_url, name);
            let known = now.as_ref().map(|now| now.version) == self.sent.get(name).copied();
            if let Some(resource) = now.filter(|_| answer || !known) {
                let size = name.len() + resource.body.len();
                if bytes > 0 && bytes + size > RESPONSE_BYTES {
                    break;
                }
                bytes += size;
                resources.push(resource);
            } else if !known {
                self.sent.remove(name);
            }
            done.push(name.clone());
        }
        done.iter().for_each(|name| self.due.forget(name));
        for resource in &resources {
            self.sent.insert(resource.name.clone(), resource.version);
        }
        let owed = mem::take(&mut self.owed) && self.interest.wildcard;
        (!resources.is_empty() || owed).then_some(resources)
    }

    /// A hash of all that the client has. Equal states have equal versions, whichever server sent them.
    fn version_of_all(&self) -> Version {
        let mut sent: Vec<_> = self.sent.iter().collect();
        sent.sort();
        let mut hash = Xxh3::new();
        for (name, version) in sent {
            hash.update(name.as_bytes());
            hash.update(version.to_string().as_bytes());
        }
        Version::of_hash(hash.digest())
    }

    fn status(&self) -> SubscriptionStatus {
        SubscriptionStatus {
            wildcard: self.interest.wildcard,
            named: self.interest.named.len(),
            held: self.sent.len(),
            version: self.version,
            unanswered: usize::from(self.unanswered),
            unanswered_since: self.unanswered.then_some(self.sent_at),
            rejected: self.rejected.clone(),
        }
    }
}
