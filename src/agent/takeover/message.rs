//! The messages between two agents during a take-over.

use std::time::Duration;

use crate::{
    identity::{Identity, Pod, PodUid},
    leases::{Event, HandedLease, LeaseEvent, LeaseId, OUTCOMES},
    publish::ServerLoad,
    state::{
        judgements::{read_target, write_target},
        record::{Judgement, Target},
    },
};

/// Grows when an older agent could no longer understand the messages, not for a new field.
pub(super) const VERSION: u32 = 1;

/// No process has this uid: in the kernel's calls it means "unchanged".
const NOBODY: u32 = u32::MAX;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(oneof = "Payload", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Payload {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Refusal(Refusal),
    /// The old agent hands over, with descriptors: its lock, its admin listener, and its socket if that was
    /// passed to it. It serves on.
    #[prost(message, tag = "3")]
    Offer(Offer),
    /// Leases of the old agent.
    #[prost(message, tag = "4")]
    Leases(Leases),
    /// The new agent has the socket: the old one may end.
    #[prost(message, tag = "5")]
    Serving(Serving),
    /// Events of the old agent's leases since then.
    #[prost(message, tag = "6")]
    Updates(Updates),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Hello {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(uint32, tag = "2")]
    pub(super) pid: u32,
    /// The address of its admin pages.
    #[prost(string, tag = "3")]
    pub(super) admin: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Refusal {
    #[prost(string, tag = "1")]
    pub(super) why: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Offer {
    /// The message has the third descriptor.
    #[prost(bool, tag = "1")]
    pub(super) with_socket: bool,
    #[prost(message, repeated, tag = "2")]
    pub(super) judgements: Vec<Judgement>,
    /// The names of pods, including those that are gone but may still have leases.
    #[prost(message, repeated, tag = "3")]
    pub(super) pods: Vec<PodNames>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodNames {
    #[prost(bytes = "vec", tag = "1")]
    uid: Vec<u8>,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    service_account: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Leases {
    #[prost(message, repeated, tag = "1")]
    pub(super) leases: Vec<Lease>,
    /// There are no more.
    #[prost(bool, tag = "2")]
    pub(super) last: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Serving {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Updates {
    #[prost(message, repeated, tag = "1")]
    pub(super) events: Vec<Update>,
}

/// One of [`LeaseEvent`].
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Update {
    #[prost(message, optional, tag = "1")]
    given: Option<Lease>,
    #[prost(message, optional, tag = "2")]
    reported: Option<Reported>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Lease {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    uid: u32,
    #[prost(bytes = "vec", tag = "8")]
    pod: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    target: Option<Target>,
    #[prost(string, tag = "4")]
    address: String,
    #[prost(uint32, tag = "5")]
    cost: u32,
    #[prost(bool, tag = "6")]
    in_flight: bool,
    #[prost(uint64, tag = "7")]
    ttl_ns: u64,
    #[prost(bool, tag = "9")]
    no_report: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Reported {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    uid: u32,
    #[prost(bytes = "vec", tag = "9")]
    pod: Vec<u8>,
    /// The index in [`OUTCOMES`], if it ended.
    #[prost(uint32, optional, tag = "3")]
    outcome: Option<u32>,
    #[prost(uint64, optional, tag = "4")]
    latency_ns: Option<u64>,
    /// It started. Without this and `outcome` it was renewed.
    #[prost(bool, tag = "5")]
    started: bool,
    #[prost(uint64, tag = "6")]
    ttl_ns: u64,
    #[prost(bool, tag = "7")]
    retry: bool,
    #[prost(message, optional, tag = "8")]
    load: Option<Load>,
}

/// A [`ServerLoad`].
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Load {
    #[prost(float, tag = "1")]
    utilization: f32,
    #[prost(uint32, tag = "2")]
    in_flight: u32,
    #[prost(float, tag = "3")]
    qps: f32,
    #[prost(float, tag = "4")]
    eps: f32,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The uid and the pod of an identity. An older agent without pods reads the uid alone. It gets
/// [`NOBODY`], since 0 would make a pod's leases root's there.
fn write_identity(identity: Identity) -> (u32, Vec<u8>) {
    match identity {
        Identity::Uid(uid) => (uid, Vec::new()),
        Identity::Pod(pod) => (NOBODY, pod.to_bytes().to_vec()),
    }
}

/// `None` if it is invalid.
fn read_identity(uid: u32, pod: &[u8]) -> Option<Identity> {
    match pod.is_empty() {
        true => Some(Identity::Uid(uid)),
        false => Some(Identity::Pod(PodUid::from_bytes(pod.try_into().ok()?))),
    }
}

fn id(bytes: &[u8]) -> Option<LeaseId> {
    bytes.try_into().ok().map(LeaseId::from_bytes)
}

impl Load {
    fn write(load: ServerLoad) -> Self {
        let ServerLoad { utilization, in_flight, qps, eps } = load;
        Self { utilization, in_flight, qps, eps }
    }

    fn read(self) -> ServerLoad {
        let Self { utilization, in_flight, qps, eps } = self;
        ServerLoad { utilization, in_flight, qps, eps }
    }
}

impl PodNames {
    pub(super) fn write(uid: PodUid, pod: &Pod) -> Self {
        Self {
            uid: uid.to_bytes().to_vec(),
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            service_account: pod.service_account.to_string(),
        }
    }

    /// `None` if it is invalid.
    pub(super) fn read(&self) -> Option<(PodUid, Pod)> {
        let pod = Pod {
            namespace: self.namespace.as_str().into(),
            name: self.name.as_str().into(),
            service_account: self.service_account.as_str().into(),
        };
        Some((PodUid::from_bytes(self.uid.as_slice().try_into().ok()?), pod))
    }
}

impl Lease {
    pub(super) fn write(lease: &HandedLease) -> Self {
        let (uid, pod) = write_identity(lease.identity);
        Self {
            id: lease.id.to_bytes().to_vec(),
            uid,
            pod,
            target: Some(write_target(&lease.target)),
            address: lease.address.to_string(),
            cost: lease.cost,
            in_flight: lease.in_flight,
            no_report: lease.no_report,
            ttl_ns: nanoseconds(lease.ttl),
        }
    }

    /// `None` if it is invalid, which loses that lease alone.
    pub(super) fn read(&self) -> Option<HandedLease> {
        Some(HandedLease {
            id: id(&self.id)?,
            identity: read_identity(self.uid, &self.pod)?,
            target: read_target(self.target.as_ref()?).ok()?,
            address: self.address.parse().ok()?,
            cost: self.cost,
            in_flight: self.in_flight,
            no_report: self.no_report,
            ttl: Duration::from_nanos(self.ttl_ns),
        })
    }
}

impl Update {
    pub(super) fn write(event: &LeaseEvent) -> Self {
        match event {
            LeaseEvent::Given(lease) => Self { given: Some(Lease::write(lease)), reported: None },
            LeaseEvent::Reported { id, identity, event, load, retry } => {
                let (uid, pod) = write_identity(*identity);
                let mut reported = Reported {
                    id: id.to_bytes().to_vec(),
                    uid,
                    pod,
                    retry: *retry,
                    load: load.map(Load::write),
                    ..Reported::default()
                };
                match *event {
                    Event::Ended(outcome, latency) => {
                        let place = OUTCOMES.iter().position(|each| *each == outcome);
                        reported.outcome = place.map(|place| place as u32);
                        reported.latency_ns = latency.map(nanoseconds);
                    }
                    Event::Started(ttl) => {
                        (reported.started, reported.ttl_ns) = (true, nanoseconds(ttl));
                    }
                    Event::Renewed(ttl) => reported.ttl_ns = nanoseconds(ttl),
                }
                Self { given: None, reported: Some(reported) }
            }
        }
    }

    pub(super) fn read(&self) -> Option<LeaseEvent> {
        if let Some(lease) = &self.given {
            return lease.read().map(LeaseEvent::Given);
        }
        let reported = self.reported.as_ref()?;
        let ttl = Duration::from_nanos(reported.ttl_ns);
        Some(LeaseEvent::Reported {
            id: id(&reported.id)?,
            identity: read_identity(reported.uid, &reported.pod)?,
            event: match reported.outcome {
                Some(place) => Event::Ended(
                    *OUTCOMES.get(place as usize)?,
                    reported.latency_ns.map(Duration::from_nanos),
                ),
                None if reported.started => Event::Started(ttl),
                None => Event::Renewed(ttl),
            },
            load: reported.load.map(Load::read),
            retry: reported.retry,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Labels,
        publish::{Target, TargetKind},
    };

    #[test]
    fn news_of_leases_reads_back_as_it_was_written() {
        let second = Duration::from_secs(1);
        let pod = Identity::Pod(PodUid::from_bytes([7; 16]));
        let given = |identity| {
            LeaseEvent::Given(HandedLease {
                id: LeaseId::random(),
                identity,
                target: Target {
                    service: "cart.shop@west".parse().unwrap(),
                    port: (Some("grpc".into()), Some(9090)),
                    selector: Labels::from([("shard".into(), "1".into())]),
                    way: TargetKind::VirtualIp,
                },
                address: "[2001:db8::1]:443".parse().unwrap(),
                cost: 3,
                in_flight: true,
                no_report: true,
                ttl: 60 * second,
            })
        };
        let reported = |event| LeaseEvent::Reported {
            id: LeaseId::random(),
            identity: pod,
            event,
            load: Some(ServerLoad { utilization: 0.7, in_flight: 30, qps: 900.5, eps: 0.25 }),
            retry: true,
        };
        let ended = OUTCOMES.map(|outcome| reported(Event::Ended(outcome, Some(second))));
        let others = [
            given(pod),
            given(Identity::Uid(1000)),
            reported(Event::Ended(OUTCOMES[0], None)),
            reported(Event::Started(second)),
            reported(Event::Renewed(second)),
        ];
        for event in ended.into_iter().chain(others) {
            assert_eq!(Update::write(&event).read(), Some(event));
        }
    }

    #[test]
    fn an_agent_that_knows_no_pods_is_understood_and_takes_a_pod_for_nobody() {
        assert_eq!(read_identity(1000, &[]), Some(Identity::Uid(1000)));
        let (uid, pod) = write_identity(Identity::Pod(PodUid::from_bytes([7; 16])));
        assert_eq!((uid, pod.len()), (NOBODY, 16));
        assert_eq!(read_identity(0, &[7; 15]), None, "half of a pod's uid");
    }

    #[test]
    fn a_pods_names_read_back_as_they_were_written() {
        let uid = PodUid::from_bytes([7; 16]);
        let pod =
            Pod { namespace: "shop".into(), name: "cart-7f".into(), service_account: "x".into() };
        assert_eq!(PodNames::write(uid, &pod).read(), Some((uid, pod)));
        assert_eq!(PodNames::default().read(), None);
    }
}
