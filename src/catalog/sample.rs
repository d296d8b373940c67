//! Services for tests.

use std::net::SocketAddr;

use super::{Endpoint, Port, Service};

/// 10.0.0.LAST:80
pub(crate) fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

/// A ready endpoint at [`address`].
pub(crate) fn endpoint(last: u8) -> Endpoint {
    Endpoint::at(address(last))
}

/// A service with one unnamed port.
pub(crate) fn service(name: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> Service {
    let port = Port { name: None, number: None, endpoints: endpoints.into_iter().collect() };
    with_ports(name, vec![port])
}

/// A service with these ports.
pub(crate) fn with_ports(name: &str, ports: Vec<Port>) -> Service {
    Service::new(name.parse().unwrap(), "test", ports)
}

/// A named port.
pub(crate) fn port(name: &str, number: u16, endpoints: impl IntoIterator<Item = Endpoint>) -> Port {
    Port {
        name: Some(name.into()),
        number: Some(number),
        endpoints: endpoints.into_iter().collect(),
    }
}
