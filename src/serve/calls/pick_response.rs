//! The answer to a pick, which is encoded without building the API's `PickResponse`.
//!
//! That message would own a copy of every text, to be encoded once and dropped: making it took longer
//! than the pick. A test compares the two in both encodings.

use std::{cell::OnceCell, fmt::Write, net::IpAddr};

use arrayvec::ArrayString;
use smallvec::SmallVec;

use crate::{catalog::EndpointRef, leases::LeaseId};

/// The answer to a pick.
#[derive(Debug)]
pub struct PickResponse {
    /// Distinct endpoints, each with a lease unless the caller will not report.
    pub picks: SmallVec<[Pick; 1]>,
    /// The version of the plan that they were picked by.
    pub plan: u64,
    /// The source has not confirmed them for over ten minutes.
    pub stale: bool,
}

#[derive(Debug)]
pub struct Pick {
    /// As the source knows it.
    pub endpoint: EndpointRef,
    /// The index of its group in the plan.
    pub priority: u32,
    /// The lease to report; empty with `no_report`.
    pub lease: ArrayString<{ LeaseId::TEXT }>,
    pub(in crate::serve) ip: ArrayString<MOST_IP_TEXT>,
    /// The encoded length of its fields: protobuf needs it first, and again at each level.
    pub(in crate::serve) length: OnceCell<usize>,
}

impl Pick {
    pub fn new(endpoint: EndpointRef, priority: u32, lease: Option<LeaseId>) -> Self {
        let ip = ip_text(endpoint.address.ip());
        let lease = lease.map(LeaseId::text).unwrap_or_default();
        Self { endpoint, priority, lease, ip, length: OnceCell::new() }
    }
}

/// The text; empty if it is not known.
pub(in crate::serve) fn text(text: &Option<std::sync::Arc<str>>) -> &str {
    text.as_deref().unwrap_or_default()
}

/// Bytes of the longest address as text: IPv6 of eight groups.
const MOST_IP_TEXT: usize = 39;

/// The same text as `Display`, which takes several times as long for IPv4. Every answer has one.
fn ip_text(ip: IpAddr) -> ArrayString<MOST_IP_TEXT> {
    let mut text = ArrayString::new();
    match ip {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push('.');
                }
                for unit in [100, 10, 1] {
                    if octet >= unit || unit == 1 {
                        text.push(char::from(b'0' + octet / unit % 10));
                    }
                }
            }
        }
        IpAddr::V6(ip) => write!(text, "{ip}").expect("there is room"),
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::{
        api::v1,
        catalog::Endpoint,
        serve::{grpc::protobuf_encode, http::pick_response::line},
    };

    fn endpoint() -> impl Strategy<Value = Endpoint> {
        let text = || proptest::option::of("[a-z\"\\\\é\n]{0,200}".prop_map(Arc::from));
        let labels = proptest::collection::btree_map(
            "[a-z]{0,9}".prop_map(Arc::from),
            "[a-z]{0,200}".prop_map(Arc::from),
            0..3,
        );
        let places = (text(), text(), text(), text());
        (any::<SocketAddr>(), places, labels).prop_map(
            |(address, (region, zone, node, server_name), labels)| Endpoint {
                region,
                zone,
                node,
                server_name,
                labels: Arc::new(labels),
                ..Endpoint::at(address)
            },
        )
    }

    fn picked() -> impl Strategy<Value = PickResponse> {
        let picks = proptest::collection::vec((endpoint(), any::<u32>(), any::<bool>()), 0..4);
        (picks, any::<u64>(), any::<bool>()).prop_map(|(picks, plan, stale)| {
            let pick = |(endpoint, priority, reports): (_, _, bool)| {
                let endpoint = EndpointRef::all(&Arc::from([endpoint])).next();
                let lease = reports.then(LeaseId::random);
                Pick::new(endpoint.expect("there is one"), priority, lease)
            };
            PickResponse { picks: picks.into_iter().map(pick).collect(), plan, stale }
        })
    }

    fn message(picked: &PickResponse) -> v1::PickResponse {
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let pick = |pick: &Pick| v1::Pick {
            address: pick.endpoint.address.ip().to_string(),
            port: pick.endpoint.address.port().into(),
            server_name: text(&pick.endpoint.server_name),
            region: text(&pick.endpoint.region),
            zone: text(&pick.endpoint.zone),
            node: text(&pick.endpoint.node),
            priority: pick.priority,
            labels: (pick.endpoint.labels.iter())
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            lease: pick.lease.to_string(),
        };
        let (plan, stale) = (picked.plan, picked.stale);
        v1::PickResponse { picks: picked.picks.iter().map(pick).collect(), plan, stale }
    }

    proptest! {
        #[test]
        fn it_reads_back_as_the_message_of_the_api(picked in picked()) {
            let message = message(&picked);
            let mut written = Vec::new();
            protobuf_encode::write(&picked, &mut written);
            prop_assert_eq!(v1::PickResponse::decode(&*written).unwrap(), message.clone());
            prop_assert_eq!(written.len(), message.encoded_len());

            let json: serde_json::Value = serde_json::from_slice(&line(&picked)).unwrap();
            prop_assert_eq!(json, serde_json::to_value(&message).unwrap());
        }

        #[test]
        fn an_address_is_written_as_it_displays(ip: IpAddr) {
            let text = ip_text(ip);
            prop_assert_eq!(text.as_str(), ip.to_string());
        }
    }
}
