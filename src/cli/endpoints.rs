//! `pointsman endpoints`: the endpoints of a service, as this node sees them.

use std::time::{Duration, SystemTime};

use clap::builder::NonEmptyStringValueParser;

use super::{
    client,
    exit::Failure,
    format,
    output::{self, Format},
};
use crate::{
    api::v1,
    clock,
    terminal::{Align, Cell, Table, style},
};

/// List the endpoints of a service, as this node sees them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service: name.namespace[@cluster][:port].
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

/// # Errors
/// The agent's error.
pub fn run(args: &Args) -> Result<(), Failure> {
    let path = format!("/v1/services/{}", client::escape(&args.service));
    let response: v1::GetServiceResponse = client::get(&args.client, &path)?;
    if args.output.format == Format::Json {
        return output::print_json(&response);
    }
    let mut page = args.output.page();
    table(&response.endpoints, clock::wall()).write(&mut page);
    output::print(&page)
}

fn table(endpoints: &[v1::Endpoint], now: SystemTime) -> Table {
    let mut table = Table::new([
        ("ADDRESS", Align::Left),
        ("ZONE", Align::Left),
        ("NODE", Align::Left),
        ("HEALTH", Align::Left),
        ("STATE", Align::Left),
        ("PRIORITY", Align::Right),
        ("WEIGHT", Align::Right),
        ("IN FLIGHT", Align::Right),
        // Over the last ten seconds.
        ("REQUESTS", Align::Right),
        ("FAILED", Align::Right),
        ("LATENCY", Align::Right),
        ("READY", Align::Left),
        ("LABELS", Align::Left),
    ]);
    for endpoint in endpoints {
        let failed = if endpoint.failures > 0 { style::BAD } else { style::PLAIN };
        table.row(vec![
            format::address(&endpoint.address, endpoint.port).into(),
            endpoint.zone.as_str().into(),
            endpoint.node.as_str().into(),
            Cell::styled(&endpoint.health, style::of_state(&endpoint.health)),
            Cell::styled(&endpoint.state, style::of_state(&endpoint.state)),
            endpoint.priority.to_string().into(),
            format::number(endpoint.weight).into(),
            in_flight(endpoint).into(),
            endpoint.requests.to_string().into(),
            Cell::styled(endpoint.failures.to_string(), failed),
            latency(endpoint).into(),
            ready(endpoint, now).into(),
            labels(endpoint).into(),
        ]);
    }
    table
}

fn in_flight(endpoint: &v1::Endpoint) -> String {
    match endpoint.standing {
        0 => endpoint.in_flight.to_string(),
        standing => format!("{} ({standing} standing)", endpoint.in_flight),
    }
}

fn latency(endpoint: &v1::Endpoint) -> String {
    let mean = endpoint.mean_latency.and_then(|mean| Duration::try_from(mean).ok());
    mean.map(format::span).unwrap_or_default()
}

fn ready(endpoint: &v1::Endpoint, now: SystemTime) -> String {
    let since = endpoint.ready_since.as_ref().and_then(super::explain::time);
    since.map(|since| format::ago(since, now)).unwrap_or_default()
}

fn labels(endpoint: &v1::Endpoint) -> String {
    let mut labels: Vec<String> =
        endpoint.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    labels.sort();
    labels.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Page;

    #[test]
    fn an_endpoint_is_told_in_one_line() {
        let endpoint = v1::Endpoint {
            address: "10.1.2.3".to_owned(),
            port: 8080,
            zone: "a".to_owned(),
            priority: 1,
            weight: 1.5,
            health: "ready".to_owned(),
            state: "serving".to_owned(),
            in_flight: 2,
            requests: 120,
            mean_latency: Some(Duration::from_millis(12).into()),
            labels: [("shard", "7"), ("rev", "b")].map(|(k, v)| (k.into(), v.into())).into(),
            ..Default::default()
        };
        let mut page = Page::new(false, false);
        table(&[endpoint], SystemTime::UNIX_EPOCH).write(&mut page);
        assert_eq!(
            page.text().lines().nth(1).unwrap(),
            "10.1.2.3:8080\ta\t\tready\tserving\t1\t1.5\t2\t120\t0\t12.0ms\t\trev=b,shard=7"
        );
    }
}
