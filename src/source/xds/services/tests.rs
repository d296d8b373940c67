use std::sync::Mutex;

use ::xds::{
    Resource as Sent,
    proto::{
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
                },
                endpoint::v3::ClusterLoadAssignment,
            },
            service::discovery::v3::Resource as SentResource,
        },
        pack,
    },
    server::DeltaStream,
};
use proptest::{collection::vec, prelude::*};

use super::{
    faults::{MOST_PROBLEMS, MOST_REFUSED},
    names::MOST_NAMES,
    *,
};
use crate::{
    catalog::{
        Catalog, NodeScope, SourceId,
        progress::Versions,
        sample::{endpoint, service},
    },
    discovery::{Client, ClientKind, Snapshot, View},
};

const SOURCE: SourceId = SourceId(0);

/// A control plane with its catalog, and an agent's source with its catalog.
struct Pair {
    plane: Arc<Catalog>,
    snapshot: Arc<Snapshot>,
    stream: DeltaStream,
    services: Services,
    agent: Catalog,
    log: Mutex<Vec<String>>,
    now: Duration,
}

impl Pair {
    fn new() -> Self {
        let plane = Arc::new(Catalog::new(["test"]));
        plane.apply(SOURCE, Change::Synced, Duration::ZERO);
        let snapshot = Snapshot::follow(&plane);
        let mut services = Services::new("xds:test".into(), Node::default(), false, Vec::new());
        services.connected();
        Self {
            plane,
            snapshot,
            stream: DeltaStream::new(),
            services,
            agent: Catalog::new(["xds:test"]),
            log: Mutex::default(),
            now: Duration::ZERO,
        }
    }

    /// The control plane has cart.shop with one endpoint, and the agent follows it.
    fn following_cart() -> Self {
        let mut pair = Self::new();
        pair.publish(Change::Upsert(service("cart.shop", [endpoint(1)])));
        pair.talk();
        pair.follow("cart.shop");
        pair.talk();
        pair
    }

    fn publish(&mut self, change: Change) {
        self.now += Duration::from_secs(100);
        self.plane.tick(self.now);
        self.plane.apply(SOURCE, change, self.now);
    }

    /// All that both have to say to each other. Returns the responses.
    fn talk(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let mut responses = Vec::new();
        for _ in 0..1000 {
            let requested = self.request();
            let response = self.respond();
            if !requested && response.is_none() {
                return responses;
            }
            responses.extend(response);
        }
        panic!("they talk for ever");
    }

    /// Sends what the agent has to say. Returns false if that is nothing.
    fn request(&mut self) -> bool {
        let mut requested = false;
        while let Some(request) = self.services.next_request(self.now) {
            self.stream.request(request).unwrap();
            requested = true;
        }
        requested
    }

    /// The agent reads the control plane's next response.
    fn respond(&mut self) -> Option<DeltaDiscoveryResponse> {
        let client = Client { kind: ClientKind::Agent, ..Client::default() };
        let resources = self.snapshot.resources(ClientKind::Agent);
        let progress = self.snapshot.progress().unwrap();
        let view = View { resources: &resources, client: &client, progress };
        let response = self.stream.next(&view, self.now);
        drop(resources);
        let response = response?;
        let news = self.services.response(response.clone(), self.now);
        self.tell(news);
        Some(response)
    }

    fn reconnect(&mut self) {
        self.services.disconnected();
        self.services.connected();
        self.stream = DeltaStream::new();
    }

    /// The control plane has read up to this version.
    fn has_read(&self, version: u64) {
        let versions = Versions { read: version, changed: version };
        self.plane.progress().report(SOURCE, &"cluster".into(), "services", versions);
    }

    /// The agent moves to another control plane, which has these services and has read up to this version.
    fn move_to(&mut self, services: Vec<Service>, version: u64) {
        self.plane = Arc::new(Catalog::new(["test"]));
        self.plane.apply(SOURCE, Change::Replace(services), self.now);
        self.plane.apply(SOURCE, Change::Synced, self.now);
        self.snapshot = Snapshot::follow(&self.plane);
        self.has_read(version);
        self.reconnect();
    }

    fn follow(&mut self, name: &str) {
        let name = name.parse().unwrap();
        if self.services.has(&name) && !self.services.follows(&name) {
            let news = self.services.follow(&name);
            self.tell(news);
        }
    }

    fn let_go(&mut self, name: &str) {
        let name: ServiceName = name.parse().unwrap();
        let news = self.services.let_go(&name);
        self.tell(news);
        self.agent.apply(SOURCE, Change::Withdraw(name), self.now);
    }

    fn tell(&self, news: Vec<News>) {
        for news in news {
            match news {
                News::Names(change) | News::Service(_, change) => {
                    self.agent.apply(SOURCE, change, self.now);
                }
                News::FallsBehind | News::CaughtUp | News::NotCaughtUp => {
                    self.log.lock().unwrap().push(format!("{news:?}"));
                }
                News::Synced => self.agent.apply(SOURCE, Change::Synced, self.now),
                News::Wrong { why, .. } => self.log.lock().unwrap().push(why),
                News::Mended { finder } => {
                    self.log.lock().unwrap().push(format!("{finder} is right again"));
                }
            }
        }
    }

    fn got(&self, name: &str) -> Option<Arc<Service>> {
        self.agent.get(&name.parse().unwrap())
    }
}

/// A service as both ends should agree on it.
fn essence(service: &Service) -> Service {
    let mut service = service.with_eligible_endpoints();
    service.version = 0;
    service.source = "".into();
    service.source_brakes = true;
    service.eligibility.family = None;
    service.eligibility.ports_said = true;
    service.eligibility.all_ready = false;
    for port in &mut service.ports {
        let mut endpoints = port.endpoints.to_vec();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        port.endpoints = endpoints.into();
    }
    service
}

fn assert_agree(pair: &Pair, name: &str) {
    let plane = pair.plane.get(&name.parse().unwrap());
    let agent = pair.got(name);
    assert_eq!(agent.as_deref().map(essence), plane.as_deref().map(essence), "{name}");
}

#[test]
fn names_are_known_at_once_and_endpoints_of_what_is_followed() {
    let mut pair = Pair::new();
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(1), endpoint(2)])));
    pair.publish(Change::Upsert(service("users.shop", [endpoint(3)])));
    pair.talk();
    assert!(pair.agent.synced());
    for name in ["cart.shop", "users.shop"] {
        assert!(pair.agent.has(SOURCE, &name.parse().unwrap()), "{name}");
        assert!(pair.got(name).is_none(), "{name}");
    }
    pair.follow("cart.shop");
    pair.talk();
    assert_agree(&pair, "cart.shop");
    assert!(pair.got("users.shop").is_none(), "nobody asked for it");
    assert_eq!(*pair.got("cart.shop").unwrap().source, *"xds:test, which has it from test");

    pair.publish(Change::Upsert(service("cart.shop", [endpoint(1), endpoint(4)])));
    pair.talk();
    assert_agree(&pair, "cart.shop");
    pair.let_go("cart.shop");
    pair.talk();
    assert!(pair.got("cart.shop").is_none());
    assert!(pair.agent.has(SOURCE, &"cart.shop".parse().unwrap()));
    assert_eq!(pair.stream.names(), 1, "the namespace");
}

#[test]
fn a_service_that_goes_and_one_that_comes() {
    let mut pair = Pair::new();
    pair.talk();
    assert!(pair.agent.synced(), "there is nothing, and that is known");
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(1)])));
    pair.talk();
    pair.follow("cart.shop");
    pair.talk();
    assert_agree(&pair, "cart.shop");
    pair.publish(Change::Remove("cart.shop".parse().unwrap()));
    pair.talk();
    assert!(pair.got("cart.shop").is_none());
    assert!(!pair.agent.has(SOURCE, &"cart.shop".parse().unwrap()));
    assert!(!pair.services.follows(&"cart.shop".parse().unwrap()));
}

#[test]
fn ports_come_and_go_with_their_clusters() {
    let mut pair = Pair::new();
    let with = |numbers: &[u16]| {
        let port = |number: &u16| Port {
            name: Some(format!("p{number}").into()),
            number: Some(*number),
            endpoints: [endpoint(1)].into(),
        };
        let ports = numbers.iter().map(port).collect();
        Change::Upsert(Service::new("cart.shop".parse().unwrap(), "test", ports))
    };
    pair.publish(with(&[80, 81]));
    pair.talk();
    pair.follow("cart.shop");
    pair.talk();
    assert_agree(&pair, "cart.shop");
    pair.publish(with(&[81, 82]));
    pair.talk();
    assert_agree(&pair, "cart.shop");
    assert_eq!(pair.stream.names(), 5, "a namespace, two clusters, two assignments");
}

#[test]
fn what_the_control_plane_brakes_is_not_braked_again() {
    let mut pair = Pair::new();
    let all = [1, 2, 3, 4].map(endpoint);
    pair.publish(Change::Upsert(service("cart.shop", all)));
    pair.talk();
    pair.follow("cart.shop");
    pair.talk();
    pair.publish(Change::Upsert(service("cart.shop", [])));
    pair.talk();
    assert_agree(&pair, "cart.shop");
    let held = pair.got("cart.shop").unwrap();
    assert!(held.ports[0].endpoints.iter().all(|endpoint| endpoint.braked));
    assert!(held.notes[0].starts_with("brake: 4 of 4"), "{:?}", held.notes);
    assert_eq!(pair.agent.brake_counts(), Default::default());
    pair.plane.tick(pair.now + crate::catalog::brake::HOLD);
    pair.talk();
    assert!(pair.got("cart.shop").unwrap().ports[0].endpoints.is_empty(), "after one minute");
    assert_eq!(pair.agent.brake_counts(), Default::default());
}

#[test]
fn the_last_state_stays_without_a_control_plane_and_is_stale_after_a_while() {
    let mut pair = Pair::following_cart();
    pair.services.disconnected();
    assert_agree(&pair, "cart.shop");
    let news = pair.services.set_stale(true);
    pair.tell(news);
    let stale = pair.got("cart.shop").unwrap();
    assert!(stale.stale);
    assert_eq!(stale.ports[0].endpoints.len(), 1);
    pair.reconnect();
    let news = pair.services.set_stale(false);
    pair.tell(news);
    pair.talk();
    assert_agree(&pair, "cart.shop");
}

fn wrong(type_url: &str, name: &str) -> DeltaDiscoveryResponse {
    let body = Any { type_url: type_url.into(), value: vec![0xff].into() };
    let resource = SentResource {
        name: name.into(),
        version: "1".into(),
        resource: Some(body),
        ..SentResource::default()
    };
    DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: "wrong".into(),
        resources: vec![resource],
        ..DeltaDiscoveryResponse::default()
    }
}

#[test]
fn a_wrong_resource_is_refused_by_itself_and_a_note_says_so() {
    let mut pair = Pair::following_cart();
    let cluster = names_of(&pair, "cart.shop");
    let before = pair.got("cart.shop").unwrap();
    let news = pair.services.response(wrong(ASSIGNMENT, &cluster), pair.now);
    pair.tell(news);
    let after = pair.got("cart.shop").unwrap();
    assert_eq!(after.ports, before.ports);
    let note =
        format!("the control plane's assignment \"{cluster}\" is refused, and its last good");
    assert!(after.notes[0].starts_with(&note), "{:?}", after.notes);
    assert!(pair.log.lock().unwrap()[0].starts_with(&note));
    let request = pair.services.next_request(pair.now).unwrap();
    assert!(request.error_detail.unwrap().message.contains(&cluster));

    pair.publish(Change::Upsert(service("cart.shop", [endpoint(2)])));
    pair.talk();
    assert_agree(&pair, "cart.shop");
    let mended = format!("assignment \"{cluster}\" is right again");
    assert_eq!(pair.log.lock().unwrap().last(), Some(&mended));
}

fn names_of(pair: &Pair, name: &str) -> String {
    let ports = pair.services.names.ports(&name.parse().unwrap()).unwrap();
    ports[0].cluster.to_string()
}

#[test]
fn a_wrong_namespace_leaves_the_names_as_they_were() {
    let mut pair = Pair::new();
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(1)])));
    pair.talk();
    let news = pair.services.response(wrong(NAMESPACE, "shop"), pair.now);
    pair.tell(news);
    assert!(pair.agent.has(SOURCE, &"cart.shop".parse().unwrap()));
    assert_eq!(pair.log.lock().unwrap().len(), 1);
}

#[test]
fn a_server_that_is_silent_takes_nothing_away() {
    let mut services = Services::new("xds:test".into(), Node::default(), false, Vec::new());
    services.connected();
    services.next_request(Duration::ZERO).unwrap();
    let named = ::xds::Resource::new(
        "shop",
        crate::discovery::agent::write::namespace(
            "shop",
            [crate::discovery::agent::write::named(
                &service("cart.shop", []),
                &["cart.shop:80".to_owned()],
            )]
            .into_iter(),
        )
        .body,
    );
    services.response(sent(NAMESPACE, &[named]), Duration::ZERO);
    let cart: ServiceName = "cart.shop".parse().unwrap();
    services.follow(&cart);
    while services.next_request(Duration::from_secs(1)).is_some() {}
    let due = services.next_silence().unwrap();
    assert_eq!(due, Duration::from_secs(16));
    let news = services.silent(due);
    let problems: Vec<&str> = news
        .iter()
        .map(|news| match news {
            News::Wrong { why, .. } => why.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let nothing = "the control plane says nothing of cluster \"cart.shop:80\", for 15 s or more";
    assert_eq!(problems, [nothing]);
    let (name, why) = services.incomplete().next().unwrap();
    assert_eq!((name, why.as_deref()), (&cart, Some(problems[0])));
}

/// A response of a standard server.
fn sent(type_url: &str, resources: &[Sent]) -> DeltaDiscoveryResponse {
    let resource = |resource: &Sent| SentResource {
        name: resource.name.to_string(),
        version: resource.version.to_string(),
        resource: Some(Any { type_url: type_url.into(), value: resource.body.clone() }),
        ..SentResource::default()
    };
    DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: "1".into(),
        resources: resources.iter().map(resource).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn standard_cluster(name: &str, service_name: &str) -> Sent {
    let cluster = Cluster {
        name: name.into(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            service_name: service_name.into(),
            ..EdsClusterConfig::default()
        }),
        ..Cluster::default()
    };
    Sent::new(name, pack(&cluster).value)
}

#[test]
fn the_clusters_of_a_standard_server_are_services() {
    let mut pair = Pair::new();
    pair.services = Services::new("xds:test".into(), Node::default(), true, Vec::new());
    pair.services.connected();
    let request = pair.services.next_request(pair.now).unwrap();
    assert_eq!((&*request.type_url, request.resource_names_subscribe.len()), (CLUSTER, 0));
    let clusters = [
        standard_cluster("cart.shop:80", ""),
        standard_cluster("cart.shop:grpc", "cart-endpoints"),
        standard_cluster("outbound|80||cart", ""),
    ];
    let news = pair.services.response(sent(CLUSTER, &clusters), pair.now);
    pair.tell(news);
    assert!(pair.agent.synced());
    let refused = pair.log.lock().unwrap().pop().unwrap();
    assert!(refused.contains("\"outbound|80||cart\"") && refused.contains("cart.shop:8080"));
    let rejection = pair.services.next_request(pair.now).unwrap();
    assert!(rejection.error_detail.unwrap().message.contains("outbound"));

    pair.follow("cart.shop");
    let request = pair.services.next_request(pair.now).unwrap();
    assert_eq!(request.type_url, ASSIGNMENT);
    assert_eq!(request.resource_names_subscribe, ["cart-endpoints", "cart.shop:80"]);
    let assignment = |name: &str| {
        let empty = ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() };
        Sent::new(name, pack(&empty).value)
    };
    let news = pair.services.response(sent(ASSIGNMENT, &[assignment("cart.shop:80")]), pair.now);
    pair.tell(news);
    assert!(pair.got("cart.shop").is_none(), "one port is not known yet");
    let news = pair.services.response(sent(ASSIGNMENT, &[assignment("cart-endpoints")]), pair.now);
    pair.tell(news);
    let cart = pair.got("cart.shop").unwrap();
    let ports: Vec<_> = cart.ports.iter().map(|port| (port.number, port.name.as_deref())).collect();
    assert_eq!(ports, [(Some(80), None), (None, Some("grpc"))]);
    assert!(!cart.source_brakes, "a standard server has no brake");

    let gone = DeltaDiscoveryResponse {
        type_url: CLUSTER.into(),
        nonce: "2".into(),
        removed_resources: vec!["cart.shop:80".into(), "cart.shop:grpc".into()],
        ..DeltaDiscoveryResponse::default()
    };
    let news = pair.services.response(gone, pair.now);
    pair.tell(news);
    assert!(pair.got("cart.shop").is_none());
    assert!(!pair.agent.has(SOURCE, &"cart.shop".parse().unwrap()));
}

#[test]
fn more_services_than_fit_are_refused() {
    let mut services = Services::new("xds:test".into(), Node::default(), false, Vec::new());
    services.connected();
    services.next_request(Duration::ZERO).unwrap();
    let many = |count: usize| {
        let cluster = ["c".to_owned()];
        let named = (0..count).map(move |n| {
            let mut named = crate::discovery::agent::write::named(&service("a.b", []), &cluster);
            named.name = format!("s{n}");
            named
        });
        sent(NAMESPACE, &[crate::discovery::agent::write::namespace("shop", named)])
    };
    let news = services.response(many(MOST_NAMES / 2 + 1), Duration::ZERO);
    assert!(
        news.iter().any(|news| matches!(news, News::Wrong { why, .. } if why.contains("200000"))),
        "{} pieces of news",
        news.len()
    );
    assert!(!services.names.know("shop"));
    services.response(many(MOST_NAMES / 2), Duration::ZERO);
    assert!(services.has(&"s0.shop".parse().unwrap()));
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Put(usize, Vec<u8>, Vec<u16>, bool),
    Remove(usize),
    Follow(usize),
    LetGo(usize),
    Talk,
    Reconnect,
}

const NAMES: [&str; 3] = ["cart.shop", "users.shop", "pay.bank@east"];

fn some_step() -> impl Strategy<Value = Step> {
    // The second has up to eight parts.
    let endpoints = prop_oneof![
        3 => vec(1..6u8, 0..4),
        1 => (30..=255u8).prop_map(|last| (1..=last).collect()),
    ];
    let put = (0..3usize, endpoints, vec(80..83u16, 1..3), any::<bool>());
    prop_oneof![
        4 => put.prop_map(|(of, endpoints, ports, local)| Step::Put(of, endpoints, ports, local)),
        1 => (0..3usize).prop_map(Step::Remove),
        3 => (0..3usize).prop_map(Step::Follow),
        1 => (0..3usize).prop_map(Step::LetGo),
        4 => Just(Step::Talk),
        1 => Just(Step::Reconnect),
    ]
}

proptest! {
    #[test]
    fn both_ends_agree_after_any_history(steps in vec(some_step(), 0..40)) {
        let mut pair = Pair::new();
        for step in steps {
            match step {
                Step::Put(of, mut endpoints, mut ports, local) => {
                    endpoints.sort_unstable();
                    endpoints.dedup();
                    ports.sort_unstable();
                    ports.dedup();
                    let port = |number| Port {
                        name: None,
                        number: Some(number),
                        endpoints: endpoints.iter().map(|last| endpoint(*last)).collect(),
                    };
                    let ports = ports.into_iter().map(port).collect();
                    let mut service = Service::new(NAMES[of].parse().unwrap(), "test", ports);
                    if local {
                        service.eligibility.nodes = NodeScope::OwnNode;
                    }
                    pair.publish(Change::Upsert(service));
                }
                Step::Remove(of) => pair.publish(Change::Remove(NAMES[of].parse().unwrap())),
                Step::Follow(of) => pair.follow(NAMES[of]),
                Step::LetGo(of) => pair.let_go(NAMES[of]),
                Step::Talk => drop(pair.talk()),
                Step::Reconnect => pair.reconnect(),
            }
        }
        pair.talk();
        for name in NAMES {
            pair.follow(name);
        }
        pair.talk();
        for name in NAMES {
            assert_agree(&pair, name);
            let parsed = name.parse().unwrap();
            prop_assert_eq!(pair.agent.has(SOURCE, &parsed), pair.plane.get(&parsed).is_some());
            pair.let_go(name);
        }
        pair.talk();
        prop_assert!(pair.services.needed_by.is_empty() && pair.services.followed.is_empty());
        prop_assert!(pair.services.clusters.is_empty() && pair.services.assignments.is_empty());
        prop_assert!(pair.services.last.is_empty() && pair.services.parts == 0);
        let namespaces: BTreeSet<String> =
            pair.plane.list(None).iter().map(|service| namespace_of(&service.name)).collect();
        prop_assert_eq!(pair.stream.names(), namespaces.len(), "no subscription is left");
        prop_assert!(pair.log.lock().unwrap().is_empty());
    }
}

#[test]
fn a_namespace_that_is_refused_at_first_keeps_the_services_of_the_earlier_run() {
    let mut pair = Pair::new();
    let [cart, users]: [ServiceName; 2] = ["cart.shop", "users.shop"].map(|it| it.parse().unwrap());
    let earlier = vec![cart.clone(), users.clone()];
    pair.services = Services::new("xds:test".into(), Node::default(), false, earlier);
    pair.services.connected();
    pair.services.next_request(pair.now).unwrap();
    let news = pair.services.response(wrong(NAMESPACE, "shop"), pair.now);
    pair.tell(news);
    assert!(pair.agent.synced());
    assert!(pair.agent.has(SOURCE, &cart) && pair.agent.has(SOURCE, &users));
    assert!(!pair.services.has(&cart), "there is nothing to subscribe to");

    pair.reconnect();
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(1)])));
    pair.talk();
    assert!(pair.agent.has(SOURCE, &cart));
    assert!(!pair.agent.has(SOURCE, &users), "it went meanwhile");
    assert_eq!(pair.log.lock().unwrap().last().unwrap(), "namespace \"shop\" is right again");
}

fn two_ports(pair: &mut Pair) -> [String; 2] {
    let port = |number| Port { name: None, number: Some(number), endpoints: [endpoint(1)].into() };
    let cart = Service::new("cart.shop".parse().unwrap(), "test", vec![port(80), port(81)]);
    pair.publish(Change::Upsert(cart));
    ["cart.shop:80", "cart.shop:81"].map(String::from)
}

#[test]
fn a_port_of_which_nothing_is_known_holds_up_no_other() {
    let mut pair = Pair::new();
    let [_, bad] = two_ports(&mut pair);
    pair.talk();
    pair.services.follow(&"cart.shop".parse().unwrap());
    // Before the control plane's own answer.
    let clusters = [agent_cluster("cart.shop:80"), agent_cluster("cart.shop:81")];
    let good = agent_assignment("cart.shop:80");
    let responses = [sent(CLUSTER, &clusters), wrong(ASSIGNMENT, &bad), sent(ASSIGNMENT, &[good])];
    for response in responses {
        while pair.services.next_request(pair.now).is_some() {}
        assert!(pair.got("cart.shop").is_none(), "the other port may come yet");
        let news = pair.services.response(response, pair.now);
        pair.tell(news);
    }
    let cart = pair.got("cart.shop").expect("with one port");
    let counts: Vec<usize> = cart.ports.iter().map(|port| port.endpoints.len()).collect();
    assert_eq!(counts, [1, 0]);
    let note = "assignment \"cart.shop:81\" is refused, and nothing is known of it";
    assert!(cart.notes[0].contains(note), "{:?}", cart.notes);
    pair.reconnect();
    pair.talk();
    assert_agree(&pair, "cart.shop");
}

#[test]
fn a_port_that_the_control_plane_is_silent_of_holds_up_no_other() {
    let mut pair = Pair::new();
    two_ports(&mut pair);
    pair.talk();
    pair.services.follow(&"cart.shop".parse().unwrap());
    let clusters = [agent_cluster("cart.shop:80"), agent_cluster("cart.shop:81")];
    for news in [sent(CLUSTER, &clusters), sent(ASSIGNMENT, &[agent_assignment("cart.shop:80")])] {
        while pair.services.next_request(pair.now).is_some() {}
        let news = pair.services.response(news, pair.now);
        pair.tell(news);
    }
    assert!(pair.got("cart.shop").is_none(), "it may come yet");
    let due = pair.services.next_silence().unwrap();
    let news = pair.services.silent(due);
    pair.tell(news);
    let cart = pair.got("cart.shop").expect("with one port");
    assert!(
        cart.notes[0].contains("says nothing of assignment \"cart.shop:81\""),
        "{:?}",
        cart.notes
    );
    pair.reconnect();
    pair.talk();
    assert_agree(&pair, "cart.shop");
    assert_eq!(
        pair.log.lock().unwrap().last().unwrap(),
        "silence of assignment \"cart.shop:81\" is right again"
    );
}

fn agent_cluster(name: &str) -> Sent {
    crate::discovery::agent::write::cluster(name, &service("cart.shop", []), 1)
}

fn agent_assignment(name: &str) -> Sent {
    crate::discovery::agent::write::assignment(name, &[endpoint(1)])
}

#[test]
fn a_refused_resource_that_goes_back_while_nobody_listens_is_right_again() {
    let mut pair = Pair::following_cart();
    let cluster = names_of(&pair, "cart.shop");
    let news = pair.services.response(wrong(ASSIGNMENT, &cluster), pair.now);
    pair.tell(news);
    pair.reconnect();
    pair.talk();
    assert_agree(&pair, "cart.shop");
    assert!(pair.services.faults.refused() == 0);
}

#[test]
fn a_thousand_wrong_clusters_are_some_problems_and_one_more() {
    let mut services = Services::new("xds:test".into(), Node::default(), true, Vec::new());
    services.connected();
    services.next_request(Duration::ZERO).unwrap();
    let clusters: Vec<Sent> =
        (0..2000).map(|n| standard_cluster(&format!("outbound|{n}"), "")).collect();
    let mut finders = BTreeSet::new();
    let news = services.response(sent(CLUSTER, &clusters), Duration::ZERO);
    finders.extend(news.iter().filter_map(|news| match news {
        News::Wrong { finder, .. } => Some(finder.clone()),
        _ => None,
    }));
    assert_eq!(finders.len(), MOST_PROBLEMS + 1);
    assert_eq!(services.faults.refused(), MOST_REFUSED);
    let gone = DeltaDiscoveryResponse {
        type_url: CLUSTER.into(),
        removed_resources: clusters.iter().map(|cluster| cluster.name.to_string()).collect(),
        ..DeltaDiscoveryResponse::default()
    };
    for news in services.response(gone, Duration::ZERO) {
        if let News::Mended { finder } = news {
            finders.remove(&finder);
        }
    }
    assert!(finders.is_empty() && services.faults.refused() == 0, "{finders:?}");
}

/// cart.shop with endpoints 1 to `last`.
fn large(last: u8) -> Change {
    Change::Upsert(service("cart.shop", (1..=last).map(endpoint)))
}

#[test]
fn of_many_endpoints_a_change_costs_one_part() {
    let mut pair = Pair::new();
    pair.publish(large(200));
    pair.talk();
    pair.follow("cart.shop");
    let first = pair.talk();
    assert_agree(&pair, "cart.shop");
    let sent = |responses: &[DeltaDiscoveryResponse]| {
        let of_type = responses.iter().filter(|it| it.type_url == ASSIGNMENT);
        let resources = of_type.flat_map(|it| &it.resources);
        let bytes = resources.clone().map(|it| it.resource.as_ref().unwrap().value.len()).sum();
        (resources.count(), bytes)
    };
    let (parts, all): (usize, usize) = sent(&first);
    assert_eq!(parts, 8);
    pair.publish(large(201));
    let (parts, bytes): (usize, usize) = sent(&pair.talk());
    assert_eq!(parts, 1);
    assert!(bytes < all / 4, "{bytes} of {all} bytes");
    assert_agree(&pair, "cart.shop");
    pair.reconnect();
    assert_eq!(sent(&pair.talk()).0, 0, "it has them all");
}

#[test]
fn another_number_of_parts_loses_no_endpoint() {
    let mut pair = following(64);
    for last in [65, 250, 255, 120, 60, 30, 64, 65] {
        let before = pair.got("cart.shop").unwrap().ports[0].endpoints.len();
        pair.publish(large(last));
        let kept = before.min(last.into());
        // The control plane says all it can before it hears the agent, or one response at a time.
        for all_at_once in [true, false] {
            loop {
                let response = pair.respond();
                let now = pair.got("cart.shop").unwrap().ports[0].endpoints.len();
                assert!(now >= kept, "{now} of {kept} endpoints on the way to {last}");
                let more = all_at_once && response.is_some();
                if !more && !pair.request() && response.is_none() {
                    break;
                }
            }
        }
        assert_agree(&pair, "cart.shop");
    }
}

#[test]
fn beyond_what_a_server_gives_an_assignment_is_asked_for_as_a_whole() {
    let mut pair = Pair::new();
    pair.publish(large(250));
    pair.services.parts = MOST_PARTS - 7;
    pair.talk();
    pair.follow("cart.shop");
    pair.talk();
    assert_agree(&pair, "cart.shop");
    assert_eq!(pair.stream.names(), 3, "a namespace, a cluster and an assignment");
    pair.services.parts = MOST_PARTS - 8;
    pair.let_go("cart.shop");
    pair.talk();
    pair.follow("cart.shop");
    pair.talk();
    assert_agree(&pair, "cart.shop");
    assert_eq!(pair.stream.names(), 2 + 8);
    pair.let_go("cart.shop");
    assert_eq!(pair.services.parts, MOST_PARTS - 8, "their room is free again");
}

fn count(pair: &Pair) -> usize {
    pair.got("cart.shop").map_or(0, |cart| cart.ports[0].endpoints.len())
}

/// The agent follows cart.shop, of so many endpoints.
fn following(last: u8) -> Pair {
    let mut pair = Pair::new();
    pair.publish(large(last));
    pair.talk();
    pair.follow("cart.shop");
    pair.talk();
    pair
}

#[test]
fn a_part_that_is_refused_or_missing_is_asked_for_with_the_whole() {
    let part = |pair: &Pair| format!("{}#3/8", names_of(pair, "cart.shop"));
    let missing = |part: String| DeltaDiscoveryResponse {
        type_url: ASSIGNMENT.into(),
        removed_resources: vec![part],
        ..DeltaDiscoveryResponse::default()
    };
    for refused in [true, false] {
        let mut pair = following(250);
        let part = part(&pair);
        let response = if refused { wrong(ASSIGNMENT, &part) } else { missing(part) };
        let news = pair.services.response(response, pair.now);
        pair.tell(news);
        assert_eq!(count(&pair), 250);
        assert_eq!(pair.services.parts, 0);
        pair.talk();
        assert_agree(&pair, "cart.shop");
        assert_eq!(pair.stream.names(), 3, "a namespace, a cluster and an assignment");
        pair.publish(large(240));
        pair.talk();
        assert_agree(&pair, "cart.shop");
    }
}

#[test]
fn parts_that_take_long_take_no_endpoint_away() {
    let mut pair = following(64);
    pair.publish(large(250));
    pair.respond().expect("the cluster");
    while pair.services.next_request(pair.now).is_some() {}
    for n in 0..8u8 {
        let part = format!("{}#{n}/8", names_of(&pair, "cart.shop"));
        let few = crate::discovery::agent::write::assignment(&part, &[endpoint(n + 1)]);
        let news = pair.services.response(sent(ASSIGNMENT, &[few]), pair.now);
        pair.tell(news);
        assert_eq!(count(&pair), if n < 7 { 64 } else { 8 }, "after part {n}");
        while pair.services.next_request(pair.now).is_some() {}
        if n == 3 {
            let due = pair.services.next_silence().expect("four are silent");
            let news = pair.services.silent(due);
            pair.tell(news);
            assert_eq!(count(&pair), 64, "after a silence");
            let notes = &pair.got("cart.shop").unwrap().notes;
            assert!(notes[0].contains("says nothing of assignment"), "{notes:?}");
        }
    }
    assert!(pair.got("cart.shop").unwrap().notes.is_empty());
}

#[test]
fn one_part_of_several_replaces_nothing_of_an_earlier_run() {
    let mut pair = Pair::new();
    let name: ServiceName = "cart.shop".parse().unwrap();
    pair.services = Services::new("xds:test".into(), Node::default(), false, vec![name.clone()]);
    pair.services.connected();
    pair.publish(large(250));
    pair.request();
    pair.respond().expect("the names");
    let news = pair.services.follow(&name);
    pair.tell(news);
    pair.request();
    pair.respond().expect("the cluster");
    while pair.services.next_request(pair.now).is_some() {}
    let part = format!("{}#0/8", names_of(&pair, "cart.shop"));
    let few = crate::discovery::agent::write::assignment(&part, &[endpoint(1)]);
    let mut news = pair.services.response(sent(ASSIGNMENT, &[few]), pair.now);
    let due = pair.services.next_silence().expect("seven are silent");
    news.extend(pair.services.silent(due));
    assert!(!news.iter().any(|news| matches!(news, News::Service(..))), "{news:?}");
}

#[test]
fn a_server_that_gives_no_more_names_is_asked_for_wholes() {
    let mut pair = following(250);
    pair.services.disconnected();
    let news = pair.services.ask_for_wholes();
    pair.tell(news);
    assert_eq!(count(&pair), 250);
    pair.reconnect();
    pair.talk();
    assert_agree(&pair, "cart.shop");
    assert_eq!(pair.stream.names(), 3, "a namespace, a cluster and an assignment");
    pair.publish(large(140));
    pair.talk();
    assert_agree(&pair, "cart.shop");
}

/// An agent that has learnt by version 20 that endpoint 1 of cart.shop is gone and that there is a pay.shop. Then it
/// moves to a control plane that has read up to version 10.
fn moved_back() -> Pair {
    let mut pair = Pair::new();
    pair.has_read(10);
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(1), endpoint(2), endpoint(3)])));
    pair.talk();
    pair.follow("cart.shop");
    pair.talk();
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(2), endpoint(3)])));
    pair.publish(Change::Upsert(service("pay.shop", [endpoint(9)])));
    pair.has_read(20);
    pair.talk();
    pair.move_to(vec![service("cart.shop", [endpoint(1), endpoint(2), endpoint(3)])], 10);
    pair.talk();
    pair
}

/// The last parts of the addresses of cart.shop's endpoints.
fn of_cart(pair: &Pair) -> Vec<u8> {
    let cart = pair.got("cart.shop").expect("a service");
    let last = |endpoint: &Endpoint| match endpoint.address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    };
    let mut all: Vec<u8> = cart.ports[0].endpoints.iter().map(last).collect();
    all.sort_unstable();
    all
}

fn has_pay(pair: &Pair) -> bool {
    pair.agent.has(SOURCE, &"pay.shop".parse().unwrap())
}

#[test]
fn what_an_older_state_says_waits_until_the_control_plane_has_caught_up() {
    let mut pair = moved_back();
    assert_eq!(of_cart(&pair), [2, 3], "endpoint 1 does not come back");
    assert!(has_pay(&pair), "a service does not go");
    assert_eq!(*pair.log.lock().unwrap(), ["FallsBehind"]);
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(2), endpoint(3)])));
    pair.has_read(15);
    pair.talk();
    assert!(has_pay(&pair));
    pair.publish(Change::Upsert(service("pay.shop", [endpoint(9)])));
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(2), endpoint(4)])));
    pair.has_read(20);
    pair.talk();
    assert_eq!(of_cart(&pair), [2, 4]);
    assert!(has_pay(&pair));
    assert_eq!(*pair.log.lock().unwrap(), ["FallsBehind", "CaughtUp"]);
    assert_eq!(pair.services.next_end_of_hold(), None);
}

#[test]
fn what_was_held_back_counts_when_the_control_plane_has_caught_up_elsewhere() {
    let mut pair = moved_back();
    // The change that makes it catch up is of another service. What it said of pay.shop is true still.
    pair.publish(Change::Upsert(service("users.shop", [endpoint(7)])));
    pair.has_read(20);
    pair.talk();
    assert_eq!(of_cart(&pair), [1, 2, 3]);
    assert!(!has_pay(&pair));
}

#[test]
fn who_does_not_catch_up_counts_after_30_seconds() {
    let mut pair = moved_back();
    let end = pair.services.next_end_of_hold().unwrap();
    assert_eq!(end, pair.now + Duration::from_secs(30));
    assert!(pair.services.end_hold(end - Duration::from_millis(1)).is_empty());
    let news = pair.services.end_hold(end);
    pair.tell(news);
    assert_eq!(of_cart(&pair), [1, 2, 3]);
    assert!(!has_pay(&pair));
    assert_eq!(*pair.log.lock().unwrap(), ["FallsBehind", "NotCaughtUp"]);
    pair.publish(Change::Upsert(service("cart.shop", [endpoint(1), endpoint(2), endpoint(5)])));
    pair.has_read(11);
    pair.talk();
    assert_eq!(of_cart(&pair), [1, 2, 5], "it is the one to compare with now");
}

#[test]
fn what_one_told_that_was_behind_does_not_count_when_the_next_one_is_not() {
    let mut pair = moved_back();
    let now = || {
        vec![service("cart.shop", [endpoint(2), endpoint(3)]), service("pay.shop", [endpoint(9)])]
    };
    pair.move_to(now(), 20);
    // Step by step: what was held back comes at no moment.
    while pair.request() | pair.respond().is_some() {
        assert!(!of_cart(&pair).contains(&1), "{:?}", of_cart(&pair));
    }
    assert_eq!(of_cart(&pair), [2, 3]);
    assert!(has_pay(&pair));
    assert_eq!(*pair.log.lock().unwrap(), ["FallsBehind", "CaughtUp"]);
}

#[test]
fn a_service_that_is_not_known_yet_comes_from_any_control_plane() {
    let mut pair = moved_back();
    pair.publish(Change::Upsert(service("new.other", [endpoint(5)])));
    pair.has_read(11);
    pair.talk();
    pair.follow("new.other");
    pair.talk();
    assert_agree(&pair, "new.other");
    assert_eq!(of_cart(&pair), [2, 3]);
}

#[test]
fn a_control_plane_that_can_not_be_compared_counts_at_once() {
    let mut pair = moved_back();
    let mut other = moved_back();
    let services = || vec![service("cart.shop", [endpoint(1), endpoint(6)])];
    pair.move_to(services(), 5);
    other.plane = Arc::new(Catalog::new(["test"]));
    other.plane.apply(SOURCE, Change::Replace(services()), other.now);
    other.plane.apply(SOURCE, Change::Synced, other.now);
    other.snapshot = Snapshot::follow(&other.plane);
    let versions = Versions { read: 5, changed: 5 };
    other.plane.progress().report(SOURCE, &"another cluster".into(), "services", versions);
    other.reconnect();
    pair.talk();
    other.talk();
    assert_eq!(of_cart(&pair), [2, 3], "the same cluster");
    assert_eq!(of_cart(&other), [1, 6]);
}
