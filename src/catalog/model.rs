//! A service and its endpoints, as the sources say they are.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU64, sync::Arc, time::SystemTime};

use super::name::ServiceName;

/// Labels of an endpoint, by which a request may select.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// One service as one source knows it. A source replaces it whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// What it is called.
    pub name: ServiceName,
    /// Its ports; one without a name where the source has just one.
    pub ports: Vec<Port>,
    /// On which terms its endpoints are listed; of a service that was looked up they are met.
    pub eligibility: Eligibility,
    /// Settings of its policy as the source carries them, not yet validated.
    pub settings: Vec<Setting>,
    /// Which source it comes from, for a person: `file services.yaml`.
    pub source: Arc<str>,
    /// What its cluster calls it, whatever its name: a Service that is deleted and made anew has another.
    pub uid: Option<Arc<str>>,
    /// Grows with every change of this service within one run of the agent.
    pub version: u64,
    /// The source has not confirmed this for over ten minutes.
    pub stale: bool,
    /// What holds for the service as a whole and a person should know, such as the brake.
    pub notes: Vec<String>,
}

impl Service {
    /// A service of which a source says no more than this.
    pub fn new(name: ServiceName, source: impl Into<Arc<str>>, ports: Vec<Port>) -> Self {
        Self {
            name,
            ports,
            eligibility: Eligibility::default(),
            settings: Vec::new(),
            source: source.into(),
            uid: None,
            version: 0,
            stale: false,
            notes: Vec::new(),
        }
    }
}

/// A port of a service with the endpoints that serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name, where it has one.
    pub name: Option<Arc<str>>,
    /// The service's own number (not the endpoints', which each carry theirs).
    pub number: Option<u16>,
    /// In the order of the source; addresses are distinct.
    pub endpoints: Arc<[Endpoint]>,
}

/// Somewhere to send a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Address and port; identifies the endpoint within its port.
    pub address: SocketAddr,
    /// Where it runs, as far as the source knows.
    pub region: Option<Arc<str>>,
    /// Where it runs, as far as the source knows.
    pub zone: Option<Arc<str>>,
    /// Where it runs, as far as the source knows.
    pub node: Option<Arc<str>>,
    /// Relative capacity; only ratios within a service count. 0 takes no traffic.
    pub weight: u32,
    /// What the source says of it.
    pub health: Health,
    /// What requests may select by.
    pub labels: Arc<Labels>,
    /// When it became ready, by the source's clock.
    pub ready_since: Option<SystemTime>,
    /// The name to verify a certificate against.
    pub server_name: Option<Arc<str>>,
    /// Kept by the brake after its source dropped it: the last priority.
    pub braked: bool,
    /// From where the source would like it to be used; see [`super::hints`].
    pub hints: Option<Arc<Hints>>,
    /// Which pod it is, where the source knows: a hash of its uid. Addresses of pods are reused.
    pub pod: Option<NonZeroU64>,
}

impl Endpoint {
    /// A ready endpoint of which nothing else is known.
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
            braked: false,
            hints: None,
            pod: None,
        }
    }

    /// Whether that is the same endpoint at another time: the same address, and no other pod.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let other_pod = self.pod.zip(other.pod).is_some_and(|(one, other)| one != other);
        self.address == other.address && !other_pod
    }
}

/// What a source says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Health {
    /// Takes requests.
    Ready,
    /// Still serves, but is about to go: only when nothing is ready.
    Draining,
    /// Never picked.
    Unready,
}

/// From where an endpoint should be used; empty lists say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hints {
    /// Callers in these zones.
    pub zones: Vec<Arc<str>>,
    /// Callers on these nodes.
    pub nodes: Vec<Arc<str>>,
}

/// On which terms endpoints are listed; by default they all serve as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Eligibility {
    /// Which of them serve here, by where they are.
    pub nodes: NodeScope,
    /// Only those of this family serve.
    pub family: Option<Family>,
    /// All count as ready, whatever is said of their health.
    pub all_ready: bool,
    /// The source says which ports there are, apart from endpoints: one that it does not say is
    /// none.
    pub ports_said: bool,
}

/// Which endpoints serve here, by where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeScope {
    /// All.
    #[default]
    Everywhere,
    /// Those on this node.
    Node(Arc<str>),
    /// None.
    Nowhere,
}

/// Of which kind an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 10.1.2.3
    Ipv4,
    /// fd00::1
    Ipv6,
}

/// One setting of a service's policy, as its source carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As in `pointsman.dev/KEY` or under `policy:` in a file.
    pub key: String,
    /// As it was written.
    pub value: String,
    /// Where it stands, for a person: `services.yaml:12`, `annotation pointsman.dev/zone`.
    pub origin: String,
    /// Nobody wrote it as a setting: it follows from what the service is, such as its address. So
    /// the agent's configuration wins over it.
    pub implied: bool,
    /// Why its value can't hold; none where it does.
    pub wrong: Option<Box<SettingError>>,
}

/// Why a setting's value can't hold, and what does in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// What is wrong and what would be right.
    pub why: String,
    /// What its source said before.
    pub before: PreviousValue,
}

/// What a source said before it said something wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PreviousValue {
    /// The service was not known.
    #[default]
    Unknown,
    /// The service was known, without this setting.
    Unset,
    /// This value, the last that was right.
    Value(String),
}

impl Setting {
    /// One that was written on purpose, and is right as far as it is known here.
    pub fn new(
        key: impl Into<String>,
        value: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        let (key, value, origin) = (key.into(), value.into(), origin.into());
        Self { key, value, origin, implied: false, wrong: None }
    }
}
