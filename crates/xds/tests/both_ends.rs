//! Whatever happens in between, both ends of a stream come to the same state, and then say nothing.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use support::*;
use xds::{
    Published, Resource, Resources,
    client::{DeltaClient, Event},
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            },
        },
        google::protobuf::Any,
    },
    server::{DeltaStream, SotwStream},
};

const TYPES: [&str; 2] = [CLUSTER, ASSIGNMENT];

/// One thing that happens. Numbers choose a type, a name and a body.
#[derive(Clone, Debug)]
enum Step {
    Publish(usize, u8, u8),
    Remove(usize, u8),
    Subscribe(usize, u8),
    Unsubscribe(usize, u8),
    ClientSends,
    ServerReads,
    ServerSends,
    ClientReads,
    /// The stream is lost with all that is on its way.
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (of, name, body) = (0..TYPES.len(), 0..5_u8, 0..4_u8);
    let step = prop_oneof![
        4 => (of.clone(), name.clone(), body).prop_map(|(of, name, body)| Step::Publish(of, name, body)),
        2 => (of.clone(), name.clone()).prop_map(|(of, name)| Step::Remove(of, name)),
        3 => (of.clone(), name.clone()).prop_map(|(of, name)| Step::Subscribe(of, name)),
        3 => (of, name).prop_map(|(of, name)| Step::Unsubscribe(of, name)),
        4 => Just(Step::ClientSends),
        4 => Just(Step::ServerReads),
        4 => Just(Step::ServerSends),
        4 => Just(Step::ClientReads),
        1 => Just(Step::Reconnect),
    ];
    vec(step, 0..120)
}

/// A body that the client rejects.
fn is_bad(body: &[u8]) -> bool {
    body == b"3"
}

fn body(n: u8) -> Resource {
    Resource::new("", n.to_string())
}

fn named(name: u8, n: u8, of: usize) -> Resource {
    let needs = (TYPES[of] == CLUSTER).then(|| name.to_string().into());
    Resource { name: name.to_string().into(), needs, ..body(n) }
}

/// By type and name, the body.
type State = BTreeMap<(usize, String), Vec<u8>>;

/// What is published and was not rejected by a client that has seen everything of `published`.
fn good(resources: &Resources, wanted: impl Fn(usize, &str) -> bool) -> State {
    let mut state = State::new();
    for (of, type_url) in TYPES.iter().enumerate() {
        for name in resources.names(type_url).filter(|name| wanted(of, name)) {
            let body = resources.get(type_url, &name).expect("a name of the list").body;
            if !is_bad(&body) {
                state.insert((of, name.to_string()), body.to_vec());
            }
        }
    }
    state
}

struct Incremental {
    resources: Resources,
    server: DeltaStream,
    client: DeltaClient,
    requests: VecDeque<DeltaDiscoveryRequest>,
    responses: VecDeque<DeltaDiscoveryResponse>,
    wanted: BTreeSet<(usize, String)>,
    wildcard: BTreeSet<usize>,
    has: State,
    sent: usize,
}

impl Incremental {
    fn new(wildcard: [bool; TYPES.len()]) -> Self {
        let wildcard: BTreeSet<usize> = (0..TYPES.len()).filter(|of| wildcard[*of]).collect();
        let mut client = DeltaClient::new(Node::default(), wildcard.iter().map(|of| TYPES[*of]));
        client.connected();
        Self {
            resources: Resources::default(),
            server: DeltaStream::new(),
            client,
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            wanted: BTreeSet::new(),
            wildcard,
            has: State::new(),
            sent: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish(of, name, n) => {
                self.resources.set(TYPES[of], named(name, n, of));
            }
            Step::Remove(of, name) => {
                self.resources.remove(TYPES[of], &name.to_string());
            }
            Step::Subscribe(of, name) => {
                self.client.subscribe(TYPES[of], name.to_string());
                self.wanted.insert((of, name.to_string()));
            }
            Step::Unsubscribe(of, name) => {
                self.client.unsubscribe(TYPES[of], &name.to_string());
                if self.wanted.remove(&(of, name.to_string())) && !self.wildcard.contains(&of) {
                    self.has.remove(&(of, name.to_string()));
                }
            }
            Step::ClientSends => self.requests.extend(self.client.next_request(Duration::ZERO)),
            Step::ServerReads => {
                if let Some(request) = self.requests.pop_front() {
                    self.server.request(request).unwrap();
                }
            }
            Step::ServerSends => {
                let response = self.server.next(&self.resources, NOW);
                self.sent += usize::from(response.is_some());
                self.responses.extend(response);
            }
            Step::ClientReads => {
                if let Some(response) = self.responses.pop_front() {
                    self.read(response);
                }
            }
            Step::Reconnect => {
                self.requests.clear();
                self.responses.clear();
                self.server = DeltaStream::new();
                self.client.connected();
            }
        }
    }

    fn read(&mut self, response: DeltaDiscoveryResponse) {
        let decode = |_: &str, _: &str, body: &Any| {
            if is_bad(&body.value) { Err("bad".to_owned()) } else { Ok(body.value.to_vec()) }
        };
        let of = |type_url: &str| TYPES.iter().position(|each| *each == type_url).unwrap();
        for event in self.client.response(response, decode) {
            match event {
                Event::Updated { type_url, name, resource, .. } => {
                    self.has.insert((of(&type_url), name.to_string()), resource);
                }
                Event::Missing { type_url, name } => {
                    self.has.remove(&(of(&type_url), name.to_string()));
                }
                Event::Rejected { .. } => {}
            }
        }
    }

    /// Both ends read and send until neither has something to say.
    fn settle(&mut self) {
        for _ in 0..200 {
            let before = (self.requests.len(), self.responses.len());
            self.step(&Step::ClientSends);
            let quiet = before == (0, 0) && self.requests.is_empty();
            self.step(&Step::ServerReads);
            self.step(&Step::ServerSends);
            let quiet = quiet && self.responses.is_empty();
            self.step(&Step::ClientReads);
            if quiet {
                return;
            }
        }
        panic!("they go on for ever");
    }

    /// What the client should have, where the server's latest is one that it accepts.
    fn check(&self) {
        let wanted = |of: usize, name: &str| {
            self.wildcard.contains(&of) || self.wanted.contains(&(of, name.to_owned()))
        };
        let good = good(&self.resources, wanted);
        for (key, body) in &good {
            assert_eq!(self.has.get(key), Some(body), "{key:?}");
        }
        // Whatever else the client has is the last good body of a resource whose latest is bad.
        for (of, name) in self.has.keys().filter(|key| !good.contains_key(*key)) {
            assert!(wanted(*of, name), "{name} of {of} is not wanted");
            let now = self.resources.get(TYPES[*of], name);
            assert!(now.is_some_and(|now| is_bad(&now.body)), "{name} of {of} was removed");
        }
    }
}

/// A client as stock gRPC is one: it restates its names, and answers each response at once.
#[derive(Default)]
struct Stock {
    types: [StockType; TYPES.len()],
}

#[derive(Default)]
struct StockType {
    wanted: BTreeSet<String>,
    nonce: String,
    version: String,
    changed: bool,
    rejected: bool,
}

struct WholeState {
    resources: Resources,
    server: SotwStream,
    client: Stock,
    requests: VecDeque<DiscoveryRequest>,
    responses: VecDeque<DiscoveryResponse>,
    has: State,
}

impl WholeState {
    fn new() -> Self {
        Self {
            resources: Resources::default(),
            server: SotwStream::new(),
            client: Stock::default(),
            requests: VecDeque::new(),
            responses: VecDeque::new(),
            has: State::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish(of, name, n) => {
                // The name is in the body, as it is in a real resource.
                let resource = named(name, n, of);
                let body = format!("{name}:{n}");
                self.resources.set(
                    TYPES[of],
                    Resource { needs: resource.needs, ..Resource::new(resource.name, body) },
                );
            }
            Step::Remove(of, name) => {
                self.resources.remove(TYPES[of], &name.to_string());
            }
            Step::Subscribe(of, name) => {
                // A client that ends a subscription and begins it again while a response is on its way
                // loses the resource: the server ignores both requests as stale.
                if self.requests.is_empty() && self.responses.is_empty() {
                    self.client.types[of].changed |=
                        self.client.types[of].wanted.insert(name.to_string());
                    self.send();
                }
            }
            Step::Unsubscribe(of, name) => {
                self.client.types[of].changed |=
                    self.client.types[of].wanted.remove(&name.to_string());
                self.has.remove(&(of, name.to_string()));
                self.send();
            }
            Step::ClientSends => {}
            Step::ServerReads => {
                if let Some(request) = self.requests.pop_front() {
                    self.server.request(request).unwrap();
                }
            }
            Step::ServerSends => self.responses.extend(self.server.next(&self.resources, NOW)),
            Step::ClientReads => {
                if let Some(response) = self.responses.pop_front() {
                    self.read(&response);
                    self.send();
                }
            }
            Step::Reconnect => {
                self.requests.clear();
                self.responses.clear();
                self.server = SotwStream::new();
                for each in &mut self.client.types {
                    each.nonce.clear();
                    each.changed = !each.wanted.is_empty();
                    each.rejected = false;
                }
                self.send();
            }
        }
    }

    fn send(&mut self) {
        for (of, each) in self.client.types.iter_mut().enumerate() {
            if std::mem::take(&mut each.changed) {
                let names: Vec<&str> = each.wanted.iter().map(String::as_str).collect();
                let mut request = ask(TYPES[of], &names);
                request.response_nonce.clone_from(&each.nonce);
                request.version_info.clone_from(&each.version);
                request.error_detail = std::mem::take(&mut each.rejected).then(|| status("bad"));
                self.requests.push_back(request);
            }
        }
    }

    fn read(&mut self, response: &DiscoveryResponse) {
        let of = TYPES.iter().position(|each| *each == response.type_url).unwrap();
        let each = &mut self.client.types[of];
        each.nonce.clone_from(&response.nonce);
        each.changed = true;
        each.rejected = false;
        let mut listed = BTreeSet::new();
        for body in &response.resources {
            let text = String::from_utf8(body.value.to_vec()).unwrap();
            let (name, n) = text.split_once(':').unwrap();
            if !each.wanted.contains(name) {
                continue;
            }
            listed.insert(name.to_owned());
            if is_bad(n.as_bytes()) {
                each.rejected = true;
            } else {
                self.has.insert((of, name.to_owned()), n.as_bytes().to_vec());
            }
        }
        if !each.rejected {
            each.version.clone_from(&response.version_info);
        }
        if TYPES[of] == CLUSTER {
            self.has.retain(|(its, name), _| *its != of || listed.contains(name));
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            while !self.requests.is_empty() {
                self.step(&Step::ServerReads);
            }
            self.step(&Step::ServerSends);
            if self.responses.is_empty() {
                return;
            }
            self.step(&Step::ClientReads);
        }
        panic!("they go on for ever");
    }

    fn check(&self) {
        for (of, type_url) in TYPES.iter().enumerate() {
            for name in &self.client.types[of].wanted {
                let now = self.resources.get(type_url, name);
                let has = self.has.get(&(of, name.clone()));
                match now.map(|now| String::from_utf8(now.body.to_vec()).unwrap()) {
                    Some(body) if !body.ends_with(":3") => {
                        let n = body.split_once(':').unwrap().1.as_bytes();
                        assert_eq!(has.map(Vec::as_slice), Some(n), "{name} of {type_url}");
                    }
                    Some(_) => {}
                    None if *type_url == CLUSTER => assert_eq!(has, None, "{name} was removed"),
                    // Nothing tells that an assignment is gone.
                    None => {}
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn incremental_streams_settle_in_the_published_state(
        wildcard: [bool; TYPES.len()],
        steps in steps(),
    ) {
        let mut both = Incremental::new(wildcard);
        for step in &steps {
            both.step(step);
        }
        both.settle();
        both.check();
        let sent = both.sent;
        both.settle();
        prop_assert_eq!(both.sent, sent, "nothing is said without a change");
    }

    #[test]
    fn state_of_the_world_streams_settle_in_the_published_state(steps in steps()) {
        let mut both = WholeState::new();
        for step in &steps {
            both.step(step);
        }
        both.settle();
        both.check();
    }

    /// A reconnection costs a change, not the whole state.
    #[test]
    fn a_resumed_stream_is_sent_what_differs_only(
        before in vec((0..20_u8, 0..3_u8), 0..20),
        after in vec((0..20_u8, 0..3_u8), 0..5),
    ) {
        let mut both = Incremental::new([true, false]);
        for (name, n) in &before {
            both.step(&Step::Publish(0, *name, *n));
        }
        both.settle();
        let known = both.has.clone();
        for (name, n) in &after {
            both.step(&Step::Publish(0, *name, *n));
        }
        both.step(&Step::Reconnect);
        both.requests.extend(both.client.next_request(Duration::ZERO));
        both.step(&Step::ServerReads);
        let sent = both.server.next(&both.resources, NOW).map_or(vec![], |response| response.resources);
        let changed = good(&both.resources, |_, _| true);
        let changed = changed.iter().filter(|(key, body)| known.get(*key) != Some(body));
        prop_assert_eq!(sent.len(), changed.count());
    }
}
