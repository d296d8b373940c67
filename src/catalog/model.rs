//! A service and its endpoints, as its source tells them.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU64, sync::Arc, time::SystemTime};

use super::name::ServiceName;

/// Labels of an endpoint, by which a request may select.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// The most fallbacks of a service. Each has its endpoints in the service's table, too.
pub const MOST_FALLBACKS: usize = 4;

/// One service as one source tells it. A source always replaces the whole service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// What it is called.
    pub name: ServiceName,
    /// Its ports; an only port may have no name.
    pub ports: Vec<Port>,
    /// Which of the listed endpoints may serve. A service from a lookup has only these.
    pub eligibility: Eligibility,
    /// The settings of its policy, as the source tells them.
    pub settings: Vec<Setting>,
    /// The services that stand in where its own endpoints do not suffice, the first choice first: up to
    /// [`MOST_FALLBACKS`]. A service from a lookup has their endpoints, too.
    pub fallback: Vec<ServiceName>,
    /// Which source it comes from, for a person: `file services.yaml`.
    pub source: Arc<str>,
    /// The uid in its cluster. A Service that is deleted and made anew has another one.
    pub uid: Option<Arc<str>>,
    /// Grows with every change of this service within one run of the agent.
    pub version: u64,
    /// The source has not confirmed the service for over ten minutes.
    pub stale: bool,
    /// The source has a brake of its own: what it no longer tells is meant to be gone.
    pub source_brakes: bool,
    /// Notes for a person on the service as a whole, such as the brake's.
    pub notes: Vec<String>,
}

impl Service {
    /// A service with defaults for everything else.
    pub fn new(name: ServiceName, source: impl Into<Arc<str>>, ports: Vec<Port>) -> Self {
        Self {
            name,
            ports,
            eligibility: Eligibility::default(),
            settings: Vec::new(),
            fallback: Vec::new(),
            source: source.into(),
            uid: None,
            version: 0,
            stale: false,
            source_brakes: false,
            notes: Vec::new(),
        }
    }
}

/// A port of a service with the endpoints that serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// The service's own port number. Each endpoint has its own.
    pub number: Option<u16>,
    /// In the order of the source; addresses are distinct.
    pub endpoints: Arc<[Endpoint]>,
}

/// An address that serves requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Address and port; identifies the endpoint within its port.
    pub address: SocketAddr,
    /// Where it runs, if the source knows.
    pub region: Option<Arc<str>>,
    /// Where it runs, if the source knows.
    pub zone: Option<Arc<str>>,
    /// Where it runs, if the source knows.
    pub node: Option<Arc<str>>,
    /// Relative capacity; only ratios within a service count. 0 takes no traffic.
    pub weight: u32,
    /// Its health, as the source tells it.
    pub health: Health,
    /// Requests may select by these.
    pub labels: Arc<Labels>,
    /// When it became ready, by the source's clock.
    pub ready_since: Option<SystemTime>,
    /// The name to verify a certificate against.
    pub server_name: Option<Arc<str>>,
    /// It is wanted only where those with a lower number do not suffice: by its source, or because it is a
    /// fallback's.
    pub priority: u8,
    /// The brake keeps it after its source dropped it. It has the last priority.
    pub braked: bool,
    /// Where the source wants it to be used from; see [`super::hints`].
    pub hints: Option<Arc<Hints>>,
    /// A hash of the pod's uid, if the source knows it: pods' addresses are reused.
    pub pod: Option<NonZeroU64>,
}

impl Endpoint {
    /// A ready endpoint with defaults for everything else.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            region: None,
            zone: None,
            node: None,
            weight: 1,
            health: Health::Ready,
            labels: Arc::default(),
            ready_since: None,
            server_name: None,
            priority: 0,
            braked: false,
            hints: None,
            pod: None,
        }
    }

    /// Whether `other` is the same endpoint at another time: the same address, and no other pod.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let other_pod = self.pod.zip(other.pod).is_some_and(|(one, other)| one != other);
        self.address == other.address && !other_pod
    }
}

/// The health of an endpoint, as its source tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// Takes requests.
    Ready,
    /// Still serves, but is about to go. Picked only if no endpoint is ready.
    Draining,
    /// Never picked.
    Unready,
}

/// Where an endpoint should be used from. An empty list means no hint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hints {
    /// Callers in these zones.
    pub zones: Vec<Arc<str>>,
    /// Callers on these nodes.
    pub nodes: Vec<Arc<str>>,
}

/// Which of the listed endpoints may serve here, and as what. By default all serve as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligibility {
    /// The nodes whose endpoints may serve.
    pub nodes: NodeScope,
    /// Only endpoints of this family may serve.
    pub family: Option<Family>,
    /// All endpoints count as ready, whatever their health.
    pub all_ready: bool,
    /// The source tells the ports apart from the endpoints. So a port that it does not tell does not
    /// exist.
    pub ports_said: bool,
}

/// The nodes whose endpoints may serve here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeScope {
    /// All.
    #[default]
    Everywhere,
    /// Those on the caller's node. A source does not say which that is: a catalog
    /// [on a node](super::Catalog::on_node) knows.
    OwnNode,
    /// Those on this node.
    Node(Arc<str>),
    /// None.
    Nowhere,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 10.1.2.3
    Ipv4,
    /// fd00::1
    Ipv6,
}

/// One setting of a service's policy, as its source tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As in `pointsman.dev/KEY` or under `policy:` in a file.
    pub key: String,
    /// The text as written.
    pub value: String,
    /// Where it was written: `services.yaml:12`, `annotation pointsman.dev/zone`.
    pub origin: String,
    /// Nobody wrote it as a setting. It follows from other fields of the service, such as its
    /// address, so the agent's configuration wins over it.
    pub implied: bool,
    /// Why the value is invalid; None: it is valid.
    pub wrong: Option<Box<SettingError>>,
}

/// Why a setting is invalid, and the value before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// What is wrong, and what would be valid.
    pub why: String,
    /// The previous value.
    pub before: PreviousValue,
}

/// What a source told before it told an invalid value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PreviousValue {
    /// The service was not known.
    #[default]
    Unknown,
    /// The service was known, but had no such setting.
    Unset,
    /// The last valid value.
    Value(String),
}

impl Setting {
    /// A setting that a person wrote; not marked as invalid.
    pub fn new(
        key: impl Into<String>,
        value: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        let (key, value, origin) = (key.into(), value.into(), origin.into());
        Self { key, value, origin, implied: false, wrong: None }
    }
}
