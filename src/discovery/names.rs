//! The names of a service's resources.

use crate::catalog::{Service, ServiceName};

/// The name of the resource with the services of this service's namespace: `shop` or `shop@east`.
pub fn namespace_of(service: &ServiceName) -> String {
    match &service.cluster {
        Some(cluster) => format!("{}@{cluster}", service.namespace),
        None => service.namespace.to_string(),
    }
}

/// The names of the ports' clusters and assignments, in the order of the ports: `cart.shop:8080`, or by the
/// port's name if it has no number. Of several ports with one number, as DNS has them, the first is called
/// by it.
pub fn clusters(service: &Service) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(service.ports.len());
    for port in &service.ports {
        let by_number = port.number.map(|number| format!("{}:{number}", service.name));
        let by_name = port.name.as_ref().map(|name| format!("{}:{name}", service.name));
        let of_service = || Some(service.name.to_string());
        let mut all = [by_number, by_name].into_iter().flatten().chain(of_service());
        let free = all.find(|name| !names.contains(name));
        // Two ports with nothing to tell them apart: nobody can ask for the second.
        names.push(free.unwrap_or_else(|| format!("{}:", service.name)));
    }
    names
}

/// Every name by which a gRPC client may call each port, as `xds:///NAME`: with the port's number or
/// name, without one if there is only one port, and all that as names of cluster DNS. A name belongs to
/// the first port that has it.
pub fn targets(service: &Service) -> Vec<(String, usize)> {
    let ServiceName { name, namespace, cluster } = &service.name;
    let dns = cluster.is_none().then(|| format!("{name}.{namespace}.svc.cluster.local"));
    let mut all: Vec<(String, usize)> = Vec::new();
    let mut add = |port: Option<String>, index: usize| {
        for host in [Some(service.name.to_string()), dns.clone()].into_iter().flatten() {
            let target = match &port {
                Some(port) => format!("{host}:{port}"),
                None => host,
            };
            if all.iter().all(|(before, _)| *before != target) {
                all.push((target, index));
            }
        }
    };
    let ports = || service.ports.iter().enumerate();
    ports().for_each(|(index, port)| {
        if let Some(number) = port.number {
            add(Some(number.to_string()), index);
        }
    });
    ports().for_each(|(index, port)| {
        if let Some(name) = &port.name {
            add(Some(name.to_string()), index);
        }
    });
    if service.ports.len() == 1 {
        add(None, 0);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Port;

    fn service(name: &str, ports: &[(Option<&str>, Option<u16>)]) -> Service {
        let port = |(name, number): &(Option<&str>, Option<u16>)| Port {
            name: name.map(Into::into),
            number: *number,
            endpoints: [].into(),
        };
        Service::new(name.parse().unwrap(), "test", ports.iter().map(port).collect())
    }

    fn targets_of(service: &Service) -> Vec<String> {
        targets(service).into_iter().map(|(name, port)| format!("{name} {port}")).collect()
    }

    #[test]
    fn a_port_is_called_by_number_and_name_and_an_only_one_by_the_service() {
        assert_eq!(
            targets_of(&service("cart.shop", &[(Some("grpc"), Some(8080))])),
            [
                "cart.shop:8080 0",
                "cart.shop.svc.cluster.local:8080 0",
                "cart.shop:grpc 0",
                "cart.shop.svc.cluster.local:grpc 0",
                "cart.shop 0",
                "cart.shop.svc.cluster.local 0",
            ]
        );
        let without_a_port = service("cart.shop", &[(None, None)]);
        assert_eq!(targets_of(&without_a_port), ["cart.shop 0", "cart.shop.svc.cluster.local 0"]);
    }

    #[test]
    fn cluster_dns_knows_no_other_cluster() {
        let names = targets_of(&service("cart.shop@east", &[(None, Some(80)), (None, Some(81))]));
        assert_eq!(names, ["cart.shop@east:80 0", "cart.shop@east:81 1"]);
    }

    #[test]
    fn a_number_wins_over_a_name_that_looks_like_it() {
        let names = targets_of(&service("a.b@c", &[(Some("81"), Some(80)), (None, Some(81))]));
        assert_eq!(names, ["a.b@c:80 0", "a.b@c:81 1"]);
    }

    #[test]
    fn a_port_s_cluster_is_named_by_its_number_first_and_no_two_alike() {
        let of = |ports: &[(Option<&str>, Option<u16>)]| clusters(&service("cart.shop", ports));
        assert_eq!(
            of(&[(Some("grpc"), Some(80)), (Some("admin"), None)]),
            ["cart.shop:80", "cart.shop:admin"]
        );
        assert_eq!(of(&[(None, None)]), ["cart.shop"]);
        let dns = of(&[(Some("dns-tcp"), Some(53)), (Some("dns"), Some(53))]);
        assert_eq!(dns, ["cart.shop:53", "cart.shop:dns"]);
    }
}
