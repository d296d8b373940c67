//! One incremental stream of a server.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    time::Duration,
};

use super::{
    due::Due,
    interest::Interest,
    limits::{LONGEST_NAME, MOST_NAMES, MOST_UNANSWERED, RequestError, check_names, of_type},
    rejection::{Rejection, first},
    status::{Answer, SubscriptionStatus},
};
use crate::{
    proto::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as SentResource,
    },
    published::Published,
    resource::{Name, Resource, Version},
    resource_type::{in_order, needed_by},
};

/// What a stream subscribes to, and what its client has. Requests go in by
/// [`Self::request`]; responses come out by [`Self::next`] when the connection has room. Times are since any
/// moment, by a clock that does not jump.
#[derive(Debug, Default)]
pub struct DeltaStream {
    types: BTreeMap<String, Subscription>,
    nonces: u64,
}

/// The subscription to one type.
#[derive(Debug, Default)]
struct Subscription {
    /// The first request of the type was read.
    begun: bool,
    interest: Interest,
    /// The client waits for a first response, even if it is empty: an Envoy starts only then.
    owes_first: bool,
    /// What the client has, or will have once it read what is on its way.
    held: HashMap<Name, Held>,
    due: Due,
    unanswered: VecDeque<Unanswered>,
    rejected: Option<Rejection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// This version; None: a version of another kind of server.
    Version(Option<Version>),
    /// The client knows that the resource does not exist.
    Missing,
}

/// A response that the client has neither accepted nor rejected.
#[derive(Debug)]
struct Unanswered {
    nonce: String,
    names: Vec<Name>,
    sent: Duration,
}

/// Which resources a response is for. Updates of all types come before removals.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Updates,
    Removals,
}

impl DeltaStream {
    /// A stream without a subscription.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a request: a subscription, and an answer to a response. Returns that answer, if there is one.
    ///
    /// # Errors
    /// The client asks for more than a stream may. The stream has to end.
    pub fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
    ) -> Result<Option<Answer>, RequestError> {
        check_names(&request.resource_names_subscribe, MOST_NAMES)?;
        let subscription = of_type(&mut self.types, &request.type_url)?;
        let answer = subscription.answered(&request);
        subscription.subscribe(request)?;
        Ok(answer)
    }

    /// The next response, which is sent at `now`; None: the client has, or will have, all that it subscribed to.
    /// Updates come first, in the order in which one resource needs another; then removals, in the other order.
    pub fn next(
        &mut self,
        published: &impl Published,
        now: Duration,
    ) -> Option<DeltaDiscoveryResponse> {
        let order = in_order(&self.types);
        for type_url in &order {
            let subscription = self.types.get_mut(type_url).expect("a key of the map");
            subscription.collect(published, type_url);
        }
        let updates = order.iter().map(|type_url| (type_url, Part::Updates));
        let removals = order.iter().rev().map(|type_url| (type_url, Part::Removals));
        updates
            .chain(removals)
            .find_map(|(type_url, part)| self.respond(published, type_url, part, now))
    }

    fn respond(
        &mut self,
        published: &impl Published,
        type_url: &str,
        part: Part,
        now: Duration,
    ) -> Option<DeltaDiscoveryResponse> {
        let nonce = (self.nonces + 1).to_string();
        let subscription = self.types.get_mut(type_url)?;
        let (resources, removed) = subscription.take(published, type_url, part);
        let room = subscription.unanswered.len() < MOST_UNANSWERED;
        let owed = part == Part::Removals && subscription.owes_first && room;
        if resources.is_empty() && removed.is_empty() && !owed {
            return None;
        }
        subscription.owes_first = false;
        self.nonces += 1;
        let names = resources.iter().map(|resource| &resource.name);
        let names = first(names.chain(&removed));
        let unanswered = Unanswered { nonce: nonce.clone(), names, sent: now };
        subscription.unanswered.push_back(unanswered);
        if let Some(needed) = needed_by(type_url).and_then(|needed| self.types.get_mut(needed)) {
            resources
                .iter()
                .filter_map(|sent| sent.needs.clone())
                .for_each(|name| needed.resend(name));
        }
        let send = |resource: &Resource| SentResource {
            name: resource.name.to_string(),
            version: resource.version.to_string(),
            resource: Some(resource.any(type_url)),
            ..SentResource::default()
        };
        Some(DeltaDiscoveryResponse {
            system_version_info: published.system_version(type_url),
            resources: resources.iter().map(send).collect(),
            type_url: type_url.to_owned(),
            nonce,
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryResponse::default()
        })
    }

    /// The names that the stream holds for its client, for whoever limits them over all streams.
    #[must_use]
    pub fn names(&self) -> usize {
        self.types.values().map(|each| each.interest.named.len().max(each.held.len())).sum()
    }

    /// The number of responses without an answer of the client.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.types.values().map(|each| each.unanswered.len()).sum()
    }

    /// How the subscriptions are doing, by type URL.
    pub fn status(&self) -> impl Iterator<Item = (&str, SubscriptionStatus)> {
        self.types.iter().map(|(type_url, subscription)| (type_url.as_str(), subscription.status()))
    }
}

impl Subscription {
    /// Reads the answer to a response. An answer to a response that is not known is stale, which is no
    /// fault: its subscriptions count.
    fn answered(&mut self, request: &DeltaDiscoveryRequest) -> Option<Answer> {
        let is_it = |each: &Unanswered| each.nonce == request.response_nonce;
        let answered = self.unanswered.remove(self.unanswered.iter().position(is_it)?)?;
        self.rejected = request
            .error_detail
            .as_ref()
            .map(|status| Rejection::new(&answered.nonce, answered.names, status));
        Some(Answer { sent: answered.sent, rejection: self.rejected.clone() })
    }

    fn subscribe(&mut self, request: DeltaDiscoveryRequest) -> Result<(), RequestError> {
        let is_wildcard = |name: &String| name == "*";
        let first = !mem::replace(&mut self.begun, true);
        let initial = if first { request.initial_resource_versions } else { BTreeMap::new() };
        let names = request.resource_names_subscribe;
        let wildcard = names.iter().any(is_wildcard) || first && names.is_empty();
        if wildcard && !self.interest.wildcard {
            self.interest.wildcard = true;
            self.owes_first = true;
            self.due.begin_anew();
        }
        // After the wildcard, which may cover them, and before the names, which may be the same.
        for name in &request.resource_names_unsubscribe {
            self.unsubscribe(name);
        }
        for name in names.iter().filter(|name| !is_wildcard(name)) {
            let name: Name = name.as_str().into();
            if self.interest.named.len() >= MOST_NAMES && !self.interest.named.contains(&name) {
                return Err(RequestError::TooManyNames(MOST_NAMES));
            }
            // A client that has a resource of an earlier stream is sent what differs from it only.
            if initial.contains_key(&*name) {
                self.due.compare(name.clone());
            } else {
                self.due.answer(name.clone());
            }
            self.interest.named.insert(name);
        }
        // Whatever the client claims to have, it is remembered within its subscription only.
        for (name, version) in initial.into_iter().take(MOST_NAMES) {
            if self.interest.covers(&name) && name.len() <= LONGEST_NAME {
                let name: Name = name.into();
                self.due.compare(name.clone());
                self.held.insert(name, Held::Version(Version::parse(&version)));
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, name: &str) {
        if name == "*" {
            self.interest.wildcard = false;
            let Self { interest, held, due, .. } = self;
            held.retain(|name, _| interest.covers(name));
            due.retain(|name| interest.covers(name));
        } else if self.interest.wildcard && self.held.contains_key(name) {
            // The client forgets the resource, and the wildcard wants it still.
            self.interest.named.remove(name);
            self.due.answer(name.into());
        } else if self.interest.wildcard && self.interest.named.remove(name) {
            // It was never sent. If it exists, the wildcard finds it.
            self.due.forget(name);
            self.due.begin_anew();
        } else if self.interest.named.remove(name) {
            self.held.remove(name);
            self.due.forget(name);
        }
    }

    /// Sends a resource again once, if the client subscribed to it.
    fn resend(&mut self, name: Name) {
        if self.interest.covers(&name) {
            self.due.answer(name);
        }
    }

    fn collect(&mut self, published: &impl Published, type_url: &str) {
        self.due.collect(published, type_url, &self.interest, self.held.keys());
    }

    /// Takes what a response of this part has room for. The client counts as having it from now on.
    fn take(
        &mut self,
        published: &impl Published,
        type_url: &str,
        part: Part,
    ) -> (Vec<Resource>, Vec<Name>) {
        let (mut resources, mut removed, mut bytes) = (Vec::new(), Vec::new(), 0);
        let most = published.response_bytes(type_url);
        if self.due.is_empty() || self.unanswered.len() >= MOST_UNANSWERED {
            return (resources, removed);
        }
        let mut done = Vec::new();
        for (name, answer) in self.due.iter() {
            let held = self.held.get(name);
            match published.get(type_url, name) {
                Some(resource) => {
                    let known = held == Some(&Held::Version(Some(resource.version)));
                    if known && !answer {
                        done.push((name.clone(), None));
                    } else if part == Part::Updates {
                        let size = name.len() + resource.body.len();
                        if bytes > 0 && bytes + size > most {
                            break;
                        }
                        bytes += size;
                        done.push((name.clone(), Some(Held::Version(Some(resource.version)))));
                        resources.push(resource);
                    }
                }
                None => {
                    // A client that never heard of a resource of the wildcard has nothing to remove.
                    let untold = match held {
                        Some(Held::Missing) => false,
                        Some(Held::Version(_)) => true,
                        None => self.interest.named.contains(name),
                    };
                    if !untold && !answer {
                        done.push((name.clone(), None));
                    } else if part == Part::Removals {
                        if bytes > 0 && bytes + name.len() > most {
                            break;
                        }
                        bytes += name.len();
                        done.push((name.clone(), Some(Held::Missing)));
                        removed.push(name.clone());
                    }
                }
            }
        }
        for (name, held) in done {
            self.due.forget(&name);
            match held {
                // Nobody asks for it by name, so nothing has to be remembered.
                Some(Held::Missing) if !self.interest.named.contains(&name) => {
                    self.held.remove(&name);
                }
                Some(held) => {
                    self.held.insert(name, held);
                }
                None => {}
            }
        }
        (resources, removed)
    }

    fn status(&self) -> SubscriptionStatus {
        SubscriptionStatus {
            wildcard: self.interest.wildcard,
            named: self.interest.named.len(),
            held: self.held.values().filter(|held| **held != Held::Missing).count(),
            version: None,
            unanswered: self.unanswered.len(),
            unanswered_since: self.unanswered.front().map(|oldest| oldest.sent),
            rejected: self.rejected.clone(),
        }
    }
}
