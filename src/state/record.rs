//! The record: protobuf, so that an agent of another version skips unknown fields and still reads
//! the rest. Texts and sets that repeat (zones, labels) stand once and are referred to by number, 0
//! for none: 100,000 endpoints load in a fraction of the time that as many strings would take.

#![allow(missing_docs, reason = "most fields are what their name says")]

use bytes::Bytes;

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
    #[prost(message, repeated, tag = "4")]
    pub services: Vec<Service>,
    /// Outlier states.
    #[prost(message, repeated, tag = "5")]
    pub judgements: Vec<Judgement>,
    /// The locality of the node, if it has a name.
    #[prost(message, optional, tag = "6")]
    pub place: Option<Locality>,
}

/// A node and its locality; empty: unknown.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Locality {
    #[prost(string, tag = "1")]
    pub node: String,
    #[prost(string, tag = "2")]
    pub zone: String,
    #[prost(string, tag = "3")]
    pub region: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Labels {
    /// Numbers of texts: name, value, name, value...
    #[prost(uint32, repeated, tag = "1")]
    pub pairs: Vec<u32>,
}

/// Where an endpoint should be used from.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hints {
    /// Numbers of texts.
    #[prost(uint32, repeated, tag = "1")]
    pub zones: Vec<u32>,
    /// Numbers of texts.
    #[prost(uint32, repeated, tag = "2")]
    pub nodes: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Service {
    /// `name.namespace[@cluster]`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Number of a text: the source as configured, `file:/etc/services.yaml`.
    #[prost(uint32, tag = "2")]
    pub source: u32,
    /// Number of a text: the source for a person.
    #[prost(uint32, tag = "3")]
    pub told_source: u32,
    /// Nanoseconds since 1970.
    #[prost(sint64, tag = "4")]
    pub confirmed: i64,
    #[prost(message, repeated, tag = "5")]
    pub ports: Vec<Port>,
    /// Its settings, as the source carries them.
    #[prost(message, repeated, tag = "6")]
    pub settings: Vec<Setting>,
    /// Notes for a person.
    #[prost(string, repeated, tag = "7")]
    pub notes: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Port {
    /// Number of a text.
    #[prost(uint32, tag = "1")]
    pub name: u32,
    #[prost(uint32, optional, tag = "2")]
    pub number: Option<u32>,
    #[prost(message, repeated, tag = "3")]
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Endpoint {
    /// 4 or 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub ip: Bytes,
    #[prost(uint32, tag = "2")]
    pub port: u32,
    /// Number of a text.
    #[prost(uint32, tag = "3")]
    pub region: u32,
    /// Number of a text.
    #[prost(uint32, tag = "4")]
    pub zone: u32,
    /// Number of a text.
    #[prost(uint32, tag = "5")]
    pub node: u32,
    #[prost(uint32, tag = "6")]
    pub weight: u32,
    /// 0 ready, 1 draining, 2 unready.
    #[prost(uint32, tag = "7")]
    pub health: u32,
    /// Number of a label set.
    #[prost(uint32, tag = "8")]
    pub labels: u32,
    /// Nanoseconds since 1970.
    #[prost(sint64, optional, tag = "9")]
    pub ready_since: Option<i64>,
    /// Number of a text.
    #[prost(uint32, tag = "10")]
    pub server_name: u32,
    /// Number of hints.
    #[prost(uint32, tag = "11")]
    pub hints: u32,
    /// A hash of the pod's uid, 0 for none. Fixed: a hash takes more bytes as a varint.
    #[prost(fixed64, tag = "12")]
    pub pod: u64,
    #[prost(uint32, tag = "13")]
    pub priority: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Setting {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(string, tag = "3")]
    pub origin: String,
    /// Nobody wrote it as a setting.
    #[prost(bool, tag = "4")]
    pub implied: bool,
    /// Why it is invalid; None: it is valid.
    #[prost(string, optional, tag = "5")]
    pub wrong: Option<String>,
    /// For an invalid one: whether its service was known before.
    #[prost(bool, tag = "6")]
    pub known: bool,
    /// For an invalid one: the last valid value.
    #[prost(string, optional, tag = "7")]
    pub before: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Target {
    /// `name.namespace[@cluster]`.
    #[prost(string, tag = "1")]
    pub service: String,
    #[prost(string, optional, tag = "2")]
    pub port_name: Option<String>,
    #[prost(uint32, optional, tag = "3")]
    pub port_number: Option<u32>,
    /// Labels selected by.
    #[prost(btree_map = "string, string", tag = "4")]
    pub selector: std::collections::BTreeMap<String, String>,
    /// Its only endpoint is the service's virtual IP.
    #[prost(bool, tag = "5")]
    pub by_virtual_ip: bool,
}

/// The outlier states of one target.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Judgement {
    #[prost(message, optional, tag = "1")]
    pub target: Option<Target>,
    /// States other than the default.
    #[prost(message, repeated, tag = "2")]
    pub outlier_states: Vec<OutlierState>,
}

/// The outlier state of an endpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutlierState {
    /// `10.1.2.3:8080`.
    #[prost(string, tag = "1")]
    pub address: String,
    /// Ejected until then: nanoseconds since 1970.
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

/// The record is invalid. The checksum was right, so the writer has a bug.
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

/// Nanoseconds since 1970, within 292 years of it.
pub(super) fn nanoseconds(time: std::time::SystemTime) -> i64 {
    match time.duration_since(std::time::SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, std::ops::Neg::neg)
        }
    }
}

/// The inverse of [`nanoseconds`].
pub(super) fn time(nanoseconds: i64) -> std::time::SystemTime {
    let distance = std::time::Duration::from_nanos(nanoseconds.unsigned_abs());
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    if nanoseconds < 0 { epoch - distance } else { epoch + distance }
}
