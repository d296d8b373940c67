//! The memory that a large catalog takes. In a process of its own, because it measures the process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pointsman::catalog::{Catalog, Change, Endpoint, Health, Port, Service, SourceId};

const SERVICES: u32 = 1_000;
const ENDPOINTS_EACH: u32 = 100;

/// The most bytes per endpoint, including everything that the catalog keeps. With this, the catalog
/// that a source can make fits the smallest agent of a node ten times.
const MOST_BYTES: u64 = 300;

#[test]
fn a_hundred_thousand_endpoints_stay_small() {
    let catalog = Catalog::new(["test"]);
    let before = resident();
    for service in 0..SERVICES {
        catalog.apply(SourceId(0), Change::Upsert(sample(service)), Duration::ZERO);
    }
    let each = resident().saturating_sub(before) / u64::from(SERVICES * ENDPOINTS_EACH);
    assert_eq!(catalog.list(None).len(), SERVICES as usize);
    assert!(each <= MOST_BYTES, "{each} bytes an endpoint");
    println!("{each} bytes an endpoint");
}

/// As sources make them: each has its own strings.
fn sample(service: u32) -> Service {
    let text = |text: String| Some(Arc::<str>::from(text));
    let endpoints = (0..ENDPOINTS_EACH)
        .map(|nth| Endpoint {
            address: SocketAddr::from(([10, 0, 0, 0], 8080 + (service % 50_000) as u16)),
            region: text("eu-central-1".to_owned()),
            zone: text(format!("eu-central-1{}", nth % 3)),
            node: text(format!("node-{}.eu-central-1.example.internal", nth % 500)),
            weight: 1,
            health: Health::Ready,
            labels: Arc::new(
                [("version".into(), format!("{}", nth % 2).into())].into_iter().collect(),
            ),
            ready_since: None,
            server_name: text(format!("service-{service}.shop.example.internal")),
            priority: 0,
            braked: false,
            hints: None,
            pod: None,
        })
        .enumerate()
        .map(|(nth, mut endpoint)| {
            let number = service * ENDPOINTS_EACH + nth as u32;
            let [_, b, c, d] = number.to_be_bytes();
            endpoint.address.set_ip([10, b, c, d].into());
            endpoint
        })
        .collect();
    Service::new(
        format!("service-{service}.shop").parse().unwrap(),
        "test",
        vec![Port { name: None, number: Some(80), endpoints }],
    )
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
