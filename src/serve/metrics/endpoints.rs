//! Metrics of single endpoints. They are optional: there are as many as pods, and every roll-out brings
//! new ones.

use std::{fmt, sync::Arc};

use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType};

use super::encode::{count_one, counters};
use crate::publish::{EndpointStatus, ServiceTable, Tables};

/// The most endpoints, those of the services that come first by name.
const LISTED: usize = 10_000;

/// The tables of whole services, by name. The endpoints of a selector's table belong to its service, too.
pub(super) fn of_services(tables: &Tables) -> Vec<(String, Arc<ServiceTable>)> {
    let all = tables.all().into_iter().filter(|live| live.target().selector.is_empty());
    let mut named: Vec<_> = all.map(|live| (live.target().to_string(), live)).collect();
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    named
}

pub(super) fn encode(tables: &Tables, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let endpoints: Vec<(String, EndpointStatus)> = of_services(tables)
        .into_iter()
        .flat_map(|(service, live)| {
            live.endpoints().into_iter().map(move |endpoint| (service.clone(), endpoint))
        })
        .take(LISTED)
        .collect();
    let address = |status: &EndpointStatus| status.endpoint.address.to_string();

    let help = "In flight from this node, by service and endpoint";
    let mut in_flight =
        to.encode_descriptor("endpoint_in_flight", help, None, MetricType::Gauge)?;
    for (service, status) in &endpoints {
        let address = address(status);
        in_flight
            .encode_family(&[("service", service.as_str()), ("endpoint", &address)])?
            .encode_gauge(&u64::from(status.in_flight))?;
    }
    let help = "Ended requests of this node, by service, endpoint and whether they failed";
    let mut requests = counters(to, "endpoint_requests", help)?;
    for (service, status) in &endpoints {
        let address = address(status);
        for (outcome, count) in
            [("succeeded", status.total.succeeded), ("failed", status.total.failed)]
        {
            let labels =
                [("service", service.as_str()), ("endpoint", &address), ("outcome", outcome)];
            count_one(&mut requests, &labels, count)?;
        }
    }
    Ok(())
}
