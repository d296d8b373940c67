//! Metrics of single endpoints, for whoever asks for them: their number is that of the pods, and
//! every roll-out brings new ones.

use std::fmt;

use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType};

use super::scrape::{count_one, counters};
use crate::publish::{EndpointStatus, Tables};

/// Endpoints told one by one, of the services that come first by name; the others are left out.
const TOLD: usize = 10_000;

pub(super) fn tell(tables: &Tables, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut live = tables.all();
    // Endpoints of a selection are those of the service as well.
    live.retain(|live| live.target().selector.is_empty());
    live.sort_by_key(|live| live.target().to_string());
    let endpoints: Vec<(String, EndpointStatus)> = live
        .iter()
        .flat_map(|live| {
            let service = live.target().to_string();
            live.endpoints().into_iter().map(move |endpoint| (service.clone(), endpoint))
        })
        .take(TOLD)
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
