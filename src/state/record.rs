//! How it is written down: protobuf, so that an agent of another version skips what it does not
//! know and misses nothing else. Texts and sets that repeat (zones, labels) stand once and are
//! named by their number, 0 for none: 100,000 endpoints read in a fraction of the time that as
//! many strings would take.

use bytes::Bytes;

/// All of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct State {
    /// Texts, named from 1 on.
    #[prost(string, repeated, tag = "1")]
    pub texts: Vec<String>,
    /// Label sets, named from 1 on.
    #[prost(message, repeated, tag = "2")]
    pub labels: Vec<Labels>,
    /// Hints, named from 1 on.
    #[prost(message, repeated, tag = "3")]
    pub hints: Vec<Hints>,
    /// The services.
    #[prost(message, repeated, tag = "4")]
    pub services: Vec<Service>,
    /// Who is put aside.
    #[prost(message, repeated, tag = "5")]
    pub judgements: Vec<Judgement>,
    /// Where it was written, if that has a name.
    #[prost(message, optional, tag = "6")]
    pub place: Option<Locality>,
}

/// A node, and where it is; empty is unknown.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Locality {
    /// Its name.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Its zone.
    #[prost(string, tag = "2")]
    pub zone: String,
    /// Its region.
    #[prost(string, tag = "3")]
    pub region: String,
}

/// Labels of an endpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Labels {
    /// Texts: name, value, name, value...
    #[prost(uint32, repeated, tag = "1")]
    pub pairs: Vec<u32>,
}

/// From where an endpoint should be used.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hints {
    /// Texts.
    #[prost(uint32, repeated, tag = "1")]
    pub zones: Vec<u32>,
    /// Texts.
    #[prost(uint32, repeated, tag = "2")]
    pub nodes: Vec<u32>,
}

/// A service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Service {
    /// `name.namespace[@cluster]`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Text: the source as it is configured, `file:/etc/services.yaml`.
    #[prost(uint32, tag = "2")]
    pub source: u32,
    /// Text: the source as a person is told of it.
    #[prost(uint32, tag = "3")]
    pub told_source: u32,
    /// Nanoseconds since 1970.
    #[prost(sint64, tag = "4")]
    pub confirmed: i64,
    /// Its ports.
    #[prost(message, repeated, tag = "5")]
    pub ports: Vec<Port>,
    /// Its settings, as the source carries them.
    #[prost(message, repeated, tag = "6")]
    pub settings: Vec<Setting>,
    /// What a person should know.
    #[prost(string, repeated, tag = "7")]
    pub notes: Vec<String>,
}

/// A port of a service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Port {
    /// Text.
    #[prost(uint32, tag = "1")]
    pub name: u32,
    /// The service's own.
    #[prost(uint32, optional, tag = "2")]
    pub number: Option<u32>,
    /// Where it is served.
    #[prost(message, repeated, tag = "3")]
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Endpoint {
    /// 4 or 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub ip: Bytes,
    /// Of the address.
    #[prost(uint32, tag = "2")]
    pub port: u32,
    /// Text.
    #[prost(uint32, tag = "3")]
    pub region: u32,
    /// Text.
    #[prost(uint32, tag = "4")]
    pub zone: u32,
    /// Text.
    #[prost(uint32, tag = "5")]
    pub node: u32,
    /// As the source has it.
    #[prost(uint32, tag = "6")]
    pub weight: u32,
    /// 0 ready, 1 draining, 2 unready.
    #[prost(uint32, tag = "7")]
    pub health: u32,
    /// Label set.
    #[prost(uint32, tag = "8")]
    pub labels: u32,
    /// Nanoseconds since 1970.
    #[prost(sint64, optional, tag = "9")]
    pub ready_since: Option<i64>,
    /// Text.
    #[prost(uint32, tag = "10")]
    pub server_name: u32,
    /// Hints.
    #[prost(uint32, tag = "11")]
    pub hints: u32,
}

/// One setting of a service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Setting {
    /// As its source has it.
    #[prost(string, tag = "1")]
    pub key: String,
    /// As its source has it.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Where it stands.
    #[prost(string, tag = "3")]
    pub origin: String,
    /// Nobody wrote it as a setting.
    #[prost(bool, tag = "4")]
    pub implied: bool,
    /// Why it can't hold; none where it does.
    #[prost(string, optional, tag = "5")]
    pub wrong: Option<String>,
    /// Of one that is wrong: whether its service was known before.
    #[prost(bool, tag = "6")]
    pub known: bool,
    /// Of one that is wrong: the last value that was right.
    #[prost(string, optional, tag = "7")]
    pub before: Option<String>,
}

/// What a table is made for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Target {
    /// `name.namespace[@cluster]`.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Of the port.
    #[prost(string, optional, tag = "2")]
    pub port_name: Option<String>,
    /// Of the port.
    #[prost(uint32, optional, tag = "3")]
    pub port_number: Option<u32>,
    /// Labels selected by.
    #[prost(btree_map = "string, string", tag = "4")]
    pub selector: std::collections::BTreeMap<String, String>,
    /// Its only endpoint is the service's virtual IP.
    #[prost(bool, tag = "5")]
    pub by_virtual_ip: bool,
}

/// Where the endpoints of one target stand with their errors.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Judgement {
    /// Whose endpoints.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Target>,
    /// Those that have something to remember.
    #[prost(message, repeated, tag = "2")]
    pub outlier_states: Vec<OutlierState>,
}

/// Where an endpoint stands with its errors.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutlierState {
    /// `10.1.2.3:8080`.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Put aside until then: nanoseconds since 1970.
    #[prost(sint64, optional, tag = "2")]
    pub ejected_until: Option<i64>,
    /// Back on probation.
    #[prost(bool, tag = "3")]
    pub probing: bool,
    /// How often in a row it was ejected.
    #[prost(uint32, tag = "4")]
    pub times: u32,
    /// How long the last ejection was, in nanoseconds.
    #[prost(uint64, tag = "5")]
    pub last: u64,
    /// When that ended or will: nanoseconds since 1970.
    #[prost(sint64, tag = "6")]
    pub since: i64,
}

/// A record that can't be meant so; a checksum makes this a bug of who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct InvalidRecord {
    what: String,
}

impl InvalidRecord {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// Nanoseconds since 1970, for 292 years to either side.
pub(super) fn nanoseconds(time: std::time::SystemTime) -> i64 {
    match time.duration_since(std::time::SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, std::ops::Neg::neg)
        }
    }
}

/// The other way.
pub(super) fn time(nanoseconds: i64) -> std::time::SystemTime {
    let distance = std::time::Duration::from_nanos(nanoseconds.unsigned_abs());
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    if nanoseconds < 0 { epoch - distance } else { epoch + distance }
}
