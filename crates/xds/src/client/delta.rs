//! The client of an incremental stream.
//!
//! It outlives its connections. What it knows stays while no server is there, and the next one is told
//! the versions, so that it sends only what differs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use super::event::Event;
use crate::{
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as SentResource,
            },
        },
        google::{protobuf::Any, rpc::Status},
    },
    resource::Name,
    resource_type::rank,
};

/// A resource of which the server says nothing for this long after it was asked does not exist. The
/// interface's own time.
pub const SILENCE: Duration = Duration::from_secs(15);

/// The most resources that a rejection names; a server prints it.
const MOST_NAMED: usize = 8;

/// The bytes of names and versions in one request, unless the versions of a wildcard's resources have more.
/// Servers refuse messages above 4 MiB by default.
const REQUEST_BYTES: usize = 1 << 20;

/// The longest nonce that is answered, in bytes.
const LONGEST_NONCE: usize = 4096;

/// The most types of a client, wrong ones that a server sent included.
const MOST_TYPES: usize = 32;

/// google.rpc.Code.INVALID_ARGUMENT, which all gRPC clients reject with.
const INVALID_ARGUMENT: i32 = 3;

/// What a client subscribes to and what it knows. Times are since any moment, by a clock that does not
/// jump.
#[derive(Debug)]
pub struct DeltaClient {
    node: Node,
    types: BTreeMap<String, Subscription>,
    /// What the server was asked for, and when, the oldest first. An entry that differs from the resource's
    /// own time is over.
    asked: VecDeque<(Duration, String, Name)>,
    connected: bool,
    /// The server knows the node.
    introduced: bool,
}

/// The subscription to one type.
#[derive(Debug, Default)]
struct Subscription {
    wildcard: bool,
    /// Those that are subscribed to by name, and those that the wildcard brought.
    resources: BTreeMap<Name, Known>,
    /// A request of the type was sent on this stream.
    begun: bool,
    /// The names that this stream's server takes for subscribed to.
    sent: BTreeSet<Name>,
    /// The names whose subscription changed since the last request.
    changed: BTreeSet<Name>,
    /// Answers to responses, the oldest first.
    answers: VecDeque<Answer>,
}

#[derive(Debug, Default)]
struct Known {
    named: bool,
    /// The version that was accepted last.
    version: Option<String>,
    /// The server was asked at this time and has said nothing.
    asked: Option<Duration>,
    /// The server said last that it does not exist.
    missing: bool,
    /// What the server said last was rejected, or does not count.
    rejected: bool,
}

#[derive(Debug)]
struct Answer {
    nonce: String,
    rejection: Option<Status>,
}

impl DeltaClient {
    /// A client that knows nothing and has no connection. It subscribes to all resources of these types,
    /// from its first request on: a server forgets what it sent to a client that unsubscribes, so it could
    /// not tell of its removal if the client subscribed to all later.
    #[must_use]
    pub fn new<'a>(node: Node, all_of: impl IntoIterator<Item = &'a str>) -> Self {
        let all_of = all_of.into_iter().map(|type_url| {
            (type_url.to_owned(), Subscription { wildcard: true, ..Subscription::default() })
        });
        Self {
            node,
            types: all_of.collect(),
            asked: VecDeque::new(),
            connected: false,
            introduced: false,
        }
    }

    /// Subscribes to one resource. Returns false if the client did so before.
    pub fn subscribe(&mut self, type_url: &str, name: impl Into<Name>) -> bool {
        let name = name.into();
        let subscription = self.of_type(type_url);
        let known = subscription.resources.entry(name.clone()).or_default();
        let new = !mem::replace(&mut known.named, true);
        if new {
            subscription.changed.insert(name);
        }
        new
    }

    /// Ends the subscription to one resource, and forgets the resource unless the wildcard covers it.
    /// Returns false if there was none.
    pub fn unsubscribe(&mut self, type_url: &str, name: &str) -> bool {
        let subscription = self.of_type(type_url);
        let Some((name, mut known)) = subscription.resources.remove_entry(name) else {
            return false;
        };
        let ended = mem::replace(&mut known.named, false);
        known.asked = None;
        if subscription.wildcard && known.version.is_some() {
            subscription.resources.insert(name.clone(), known);
        }
        if ended {
            subscription.changed.insert(name);
        }
        ended
    }

    /// What the server said last of a resource does not count. The next stream's server is told that the
    /// resource may be there, without a version, so that it has to say what it has.
    pub fn retract(&mut self, type_url: &str, name: &Name) {
        let subscription = self.of_type(type_url);
        if subscription.wants(name) {
            let known = subscription.resources.entry(name.clone()).or_default();
            known.version.get_or_insert_default();
            (known.missing, known.rejected) = (false, true);
        }
    }

    /// There is a new stream. The server knows nothing of this client.
    pub fn connected(&mut self) {
        self.disconnected();
        self.connected = true;
    }

    /// The stream is gone. What is known stays.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.introduced = false;
        self.asked.clear();
        for subscription in self.types.values_mut() {
            subscription.stream_ended();
        }
    }

    /// The next request to send at `now`; None: there is nothing to say.
    pub fn next_request(&mut self, now: Duration) -> Option<DeltaDiscoveryRequest> {
        if !self.connected {
            return None;
        }
        let mut types: Vec<_> = self.types.iter_mut().collect();
        types.sort_by_key(|(type_url, _)| rank(type_url));
        let mut request = types
            .into_iter()
            .find_map(|(type_url, subscription)| subscription.next_request(type_url, now))?;
        if let Some(subscription) = self.types.get(&request.type_url) {
            let names = request.resource_names_subscribe.iter();
            let asked =
                names.filter_map(|name| subscription.resources.get_key_value(name.as_str()));
            let asked = asked.filter(|(_, known)| known.asked == Some(now));
            let type_url = || request.type_url.clone();
            self.asked.extend(asked.map(|(name, _)| (now, type_url(), name.clone())));
        }
        if !mem::replace(&mut self.introduced, true) {
            request.node = Some(self.node.clone());
        }
        Some(request)
    }

    /// Reads a response. `decode` reads a resource, or says what is wrong with it. A wrong resource is
    /// rejected by itself: the good ones beside it count.
    pub fn response<T>(
        &mut self,
        response: DeltaDiscoveryResponse,
        mut decode: impl FnMut(&str, &str, &Any) -> Result<T, String>,
    ) -> Vec<Event<T>> {
        let type_url = response.type_url;
        if response.nonce.len() > LONGEST_NONCE {
            return Vec::new();
        }
        if !self.types.contains_key(&type_url) && self.types.len() >= MOST_TYPES {
            return Vec::new();
        }
        let subscription = self.types.entry(type_url.clone()).or_default();
        if !subscription.begun {
            let why = format!("nothing of the type {type_url:?} was asked for");
            subscription.answer(response.nonce, Some(why));
            return Vec::new();
        }
        let mut events = Vec::new();
        let mut wrong = Vec::new();
        let twice = repeated(&response.resources);
        for sent in response.resources {
            let name: Name = sent.name.as_str().into();
            if !subscription.wants(&name) || twice.contains(&name) {
                continue;
            }
            match read(&type_url, &sent, &mut decode) {
                Ok(resource) => {
                    let known = subscription.resources.entry(name.clone()).or_default();
                    known.version = Some(sent.version.clone());
                    (known.asked, known.missing, known.rejected) = (None, false, false);
                    let (type_url, version) = (type_url.clone(), sent.version);
                    events.push(Event::Updated { type_url, name, version, resource });
                }
                Err(why) => {
                    // Even if the wildcard brought it: its removal is news then.
                    let known = subscription.resources.entry(name.clone()).or_default();
                    (known.asked, known.missing, known.rejected) = (None, false, true);
                    wrong.push((name, why));
                }
            }
        }
        for name in twice {
            if !subscription.wants(&name) {
                continue;
            }
            let known = subscription.resources.entry(name.clone()).or_default();
            (known.asked, known.missing, known.rejected) = (None, false, true);
            wrong.push((name, "the response has it twice".to_owned()));
        }
        for name in response.removed_resources {
            let name: Name = name.into();
            if subscription.removed(&name) {
                events.push(Event::Missing { type_url: type_url.clone(), name });
            }
        }
        let why = (!wrong.is_empty()).then(|| rejection(&wrong));
        subscription.answer(response.nonce, why);
        events.extend(wrong.into_iter().map(|(name, why)| {
            let type_url = type_url.clone();
            Event::Rejected { type_url, name, why }
        }));
        events
    }

    /// When [`Self::silent`] has something to say, if the server goes on saying nothing.
    #[must_use]
    pub fn next_silence(&mut self) -> Option<Duration> {
        while let Some((at, type_url, name)) = self.asked.front() {
            if self.waits_for(*at, type_url, name) {
                return Some(*at + SILENCE);
            }
            self.asked.pop_front();
        }
        None
    }

    fn waits_for(&self, since: Duration, type_url: &str, name: &str) -> bool {
        let known = self.types.get(type_url).and_then(|it| it.resources.get(name));
        known.is_some_and(|known| known.asked == Some(since))
    }

    /// The responses that have not been answered yet. An owner that can't send requests reads no more of
    /// them.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.types.values().map(|subscription| subscription.answers.len()).sum()
    }

    /// The resources of which the server has said nothing for [`SILENCE`], each once.
    pub fn silent<T>(&mut self, now: Duration) -> Vec<Event<T>> {
        let mut events = Vec::new();
        while self.next_silence().is_some_and(|at| now >= at)
            && let Some((_, type_url, name)) = self.asked.pop_front()
        {
            let of_type = self.types.get_mut(&type_url);
            if let Some(known) = of_type.and_then(|it| it.resources.get_mut(&name)) {
                known.asked = None;
            }
            events.push(Event::Missing { type_url, name });
        }
        events
    }

    fn of_type(&mut self, type_url: &str) -> &mut Subscription {
        self.types.entry(type_url.to_owned()).or_default()
    }
}

/// The names that a response has more than once.
fn repeated(resources: &[SentResource]) -> BTreeSet<Name> {
    let mut seen = BTreeSet::new();
    let repeated = resources.iter().filter(|sent| !seen.insert(sent.name.as_str()));
    repeated.map(|sent| sent.name.as_str().into()).collect()
}

fn read<T>(
    type_url: &str,
    sent: &SentResource,
    decode: &mut impl FnMut(&str, &str, &Any) -> Result<T, String>,
) -> Result<T, String> {
    let body = sent.resource.as_ref().ok_or("it has no body")?;
    if body.type_url != type_url {
        return Err(format!("its body is a {:?}, not a {type_url:?}", body.type_url));
    }
    decode(type_url, &sent.name, body)
}

/// What the server is told about wrong resources.
fn rejection(wrong: &[(Name, String)]) -> String {
    let mut text = String::new();
    for (name, why) in wrong.iter().take(MOST_NAMED) {
        let separator = if text.is_empty() { "" } else { "; " };
        text += &format!("{separator}{name}: {why}");
    }
    match wrong.len().saturating_sub(MOST_NAMED) {
        0 => text,
        more => format!("{text}; and {more} more"),
    }
}

impl Subscription {
    fn wants(&self, name: &str) -> bool {
        self.wildcard || self.resources.get(name).is_some_and(|known| known.named)
    }

    /// Whether the removal tells something new.
    fn removed(&mut self, name: &Name) -> bool {
        let Some(known) = self.resources.get_mut(name) else { return false };
        let news = !mem::replace(&mut known.missing, true);
        (known.version, known.asked, known.rejected) = (None, None, false);
        if !known.named {
            self.resources.remove(name);
        }
        news
    }

    fn answer(&mut self, nonce: String, why: Option<String>) {
        let rejection =
            why.map(|message| Status { code: INVALID_ARGUMENT, message, ..Status::default() });
        self.answers.push_back(Answer { nonce, rejection });
    }

    fn stream_ended(&mut self) {
        self.begun = false;
        self.answers.clear();
        self.sent.clear();
        self.changed.clear();
        for known in self.resources.values_mut() {
            known.asked = None;
        }
    }

    fn next_request(&mut self, type_url: &str, now: Duration) -> Option<DeltaDiscoveryRequest> {
        let mut request =
            DeltaDiscoveryRequest { type_url: type_url.to_owned(), ..Default::default() };
        if !self.begun && (self.wildcard || self.resources.values().any(|known| known.named)) {
            self.restate(&mut request);
        } else if let Some(answer) = self.answers.pop_front() {
            request.response_nonce = answer.nonce;
            request.error_detail = answer.rejection;
        } else if !self.state_changes(&mut request) {
            return None;
        }
        for name in &request.resource_names_subscribe {
            if let Some(known) = self.resources.get_mut(name.as_str())
                && known.version.is_none()
            {
                known.asked = Some(now);
            }
        }
        Some(request)
    }

    /// The first request of the type on a stream: the whole subscription, and what is known of it.
    fn restate(&mut self, request: &mut DeltaDiscoveryRequest) {
        self.begun = true;
        self.changed.clear();
        let mut bytes = 0;
        for (name, known) in self.resources.iter().filter(|(_, known)| known.named) {
            bytes += 2 * name.len() + known.version.as_ref().map_or(0, String::len);
            // The rest follows in requests of its own.
            match bytes <= REQUEST_BYTES {
                true => self.sent.insert(name.clone()),
                false => self.changed.insert(name.clone()),
            };
        }
        request.resource_names_subscribe = self.sent.iter().map(ToString::to_string).collect();
        // All servers take an empty list for the wildcard; some know no "*".
        if self.wildcard && !self.sent.is_empty() {
            request.resource_names_subscribe.insert(0, "*".to_owned());
        }
        let told = |(name, known): &(&Name, &Known)| !known.named || self.sent.contains(*name);
        let versions = self.resources.iter().filter(told).filter_map(|(name, known)| {
            let version = known.version.clone()?;
            // A server that has the accepted version again has to say so.
            Some((name.to_string(), if known.rejected { String::new() } else { version }))
        });
        request.initial_resource_versions = versions.collect();
    }

    /// What changed in the subscription since the last request. Returns false if nothing did.
    fn state_changes(&mut self, request: &mut DeltaDiscoveryRequest) -> bool {
        if !self.begun {
            return false;
        }
        let mut bytes = 0;
        for name in mem::take(&mut self.changed) {
            bytes += name.len();
            if bytes > REQUEST_BYTES {
                self.changed.insert(name);
                continue;
            }
            let known = self.resources.get(&name).filter(|known| known.named);
            if known.is_some_and(|known| known.version.is_none()) && self.sent.remove(&name) {
                // It was forgotten meanwhile. Not every server sends it again to a client that it takes for
                // subscribed, or that unsubscribes in the same request.
                request.resource_names_unsubscribe.push(name.to_string());
                self.changed.insert(name);
            } else if known.is_some() {
                request.resource_names_subscribe.push(name.to_string());
                self.sent.insert(name);
            } else if self.sent.remove(&name) {
                request.resource_names_unsubscribe.push(name.to_string());
            }
        }
        !request.resource_names_subscribe.is_empty()
            || !request.resource_names_unsubscribe.is_empty()
    }
}
