//! What a resource says, as rows for a person or a program.

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use serde_json::{Map, Value, json};
use xds::{
    Name,
    proto::{
        TypeUrl,
        envoy::{
            config::{
                cluster::v3::{
                    Cluster,
                    cluster::{ClusterDiscoveryType, DiscoveryType},
                },
                core::v3::{Metadata, address::Address, socket_address::PortSpecifier},
                endpoint::v3::{
                    ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
                    lb_endpoint::HostIdentifier,
                },
                listener::v3::Listener,
                route::v3::{
                    Route, RouteConfiguration, route::Action, route_action::ClusterSpecifier,
                    route_match::PathSpecifier,
                },
            },
            extensions::filters::network::http_connection_manager::v3::{
                HttpConnectionManager, http_connection_manager::RouteSpecifier,
            },
        },
        google::protobuf::Any,
    },
};

use super::resource_type::Type;
use crate::{
    cli::format,
    discovery::{
        agent::read::{self, Named},
        grpc::NO_SERVICE,
        proto::{EndpointFacts, METADATA, ServiceFacts},
    },
};

/// The decoded body of a resource.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Contents {
    Namespace(Vec<Named>),
    Listener(Listener, Option<HttpConnectionManager>),
    Routes(RouteConfiguration),
    Cluster(Box<Cluster>),
    Assignment(ClusterLoadAssignment),
}

/// What a resource lists, by a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    /// What the rows are: `endpoints`.
    pub(super) what: &'static str,
    /// What their key is: `address`.
    pub(super) key: &'static str,
    /// The fields that a row may have, in the order of a table.
    pub(super) fields: &'static [&'static str],
    pub(super) rows: BTreeMap<String, Row>,
}

/// The fields of a row that say something.
pub(super) type Row = BTreeMap<&'static str, Value>;

impl Contents {
    /// Err: why it can't be read.
    pub(super) fn read(of_type: Type, name: &str, body: &Any) -> Result<Self, String> {
        Ok(match of_type {
            Type::Namespace => Self::Namespace(read::namespace(name, body)?),
            Type::Listener => {
                let listener: Listener = message(body)?;
                let of_api = listener.api_listener.as_ref().and_then(|it| it.api_listener.as_ref());
                // Another listener listens itself, and nobody here reads its filters.
                let manager = of_api.filter(|any| any.type_url == HttpConnectionManager::TYPE_URL);
                let manager = manager.map(message).transpose()?;
                Self::Listener(listener, manager)
            }
            Type::Routes => Self::Routes(message(body)?),
            Type::Cluster => Self::Cluster(Box::new(message(body)?)),
            Type::Assignment => Self::Assignment(message(body)?),
        })
    }

    /// The resources that a client asks for once it has this one.
    pub(super) fn needs(&self) -> Vec<(Type, Name)> {
        match self {
            // Which of its services a client wants is the client's matter.
            Self::Namespace(_) | Self::Assignment(_) => Vec::new(),
            Self::Listener(_, manager) => {
                match manager.as_ref().and_then(|it| it.route_specifier.as_ref()) {
                    Some(RouteSpecifier::Rds(rds)) => {
                        vec![(Type::Routes, rds.route_config_name.as_str().into())]
                    }
                    Some(RouteSpecifier::RouteConfig(routes)) => clusters(routes),
                    None => Vec::new(),
                }
            }
            Self::Routes(routes) => clusters(routes),
            Self::Cluster(cluster) => match by_discovery(cluster) {
                true => vec![(Type::Assignment, assignment_of(cluster).into())],
                false => Vec::new(),
            },
        }
    }

    /// Whether it stands for a name that is no service.
    pub(super) fn is_no_service(&self) -> bool {
        let Self::Listener(_, Some(manager)) = self else { return false };
        let Some(RouteSpecifier::RouteConfig(routes)) = &manager.route_specifier else {
            return false;
        };
        each_route(routes).any(|(_, route)| cluster_of(route) == Some(NO_SERVICE))
    }

    pub(super) fn rows(&self) -> Rows {
        match self {
            Self::Namespace(services) => {
                let row = |named: &Named| {
                    let ports = named.ports.iter().filter_map(|port| {
                        match (&port.name, port.number) {
                            // The only port, which is called by the service.
                            (None, None) => None,
                            (None, Some(number)) => Some(number.to_string()),
                            (Some(name), None) => Some(name.to_string()),
                            (Some(name), Some(number)) => Some(format!("{name} ({number})")),
                        }
                    });
                    let clusters = named.ports.iter().map(|port| port.cluster.to_string());
                    let fields = [
                        ("ports", ports.collect::<Vec<_>>().into()),
                        ("clusters", clusters.collect::<Vec<_>>().into()),
                    ];
                    (named.service.to_string(), row(fields))
                };
                Rows::new("services", "service", &["ports", "clusters"], services.iter().map(row))
            }
            Self::Listener(_, manager) => {
                match manager.as_ref().and_then(|it| it.route_specifier.as_ref()) {
                    Some(RouteSpecifier::RouteConfig(config)) => routes(config),
                    Some(RouteSpecifier::Rds(rds)) => {
                        let by_name =
                            ("by name".to_owned(), row([("routes", json!(rds.route_config_name))]));
                        Rows::new("routes", "match", &["routes"], [by_name])
                    }
                    None => Rows::new("routes", "match", &[], []),
                }
            }
            Self::Routes(config) => routes(config),
            Self::Cluster(cluster) => cluster_rows(cluster),
            Self::Assignment(assignment) => endpoints(assignment),
        }
    }
}

impl Rows {
    fn new(
        what: &'static str,
        key: &'static str,
        fields: &'static [&'static str],
        all: impl IntoIterator<Item = (String, Row)>,
    ) -> Self {
        let (mut rows, mut times) = (BTreeMap::new(), HashMap::<String, usize>::new());
        for (name, row) in all {
            // An Envoy may be told of one address several times, at several priorities.
            let times = times.entry(name.clone()).or_default();
            *times += 1;
            let name = if *times == 1 { name } else { format!("{name} ({times})") };
            rows.entry(name).or_insert(row);
        }
        Self { what, key, fields, rows }
    }

    /// `1 endpoint`, `3 services`.
    pub(super) fn counted(&self) -> String {
        let one = self.what.strip_suffix('s').unwrap_or(self.what);
        format::count(self.rows.len() as u64, one)
    }

    pub(super) fn json(&self) -> Vec<Value> {
        let row = |(name, row): (&String, &Row)| {
            let fields = row.iter().map(|(field, value)| ((*field).to_owned(), value.clone()));
            let key = [(self.key.to_owned(), json!(name))];
            Value::Object(key.into_iter().chain(fields).collect::<Map<_, _>>())
        };
        self.rows.iter().map(row).collect()
    }
}

/// Fields that say nothing are left out.
fn row<const N: usize>(fields: [(&'static str, Value); N]) -> Row {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    };
    fields.into_iter().filter(|(_, value)| says(value)).collect()
}

/// A field's value in a line of text.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let each = fields.iter().map(|(key, value)| format!("{key}={}", text_of(value)));
            each.collect::<Vec<_>>().join(",")
        }
    }
}

fn message<M: Message + Default>(body: &Any) -> Result<M, String> {
    M::decode(body.value.clone()).map_err(|error| error.to_string())
}

/// What Pointsman says beside a standard message. Other servers say nothing there.
fn facts<M: TypeUrl + Default>(metadata: Option<&Metadata>) -> M {
    let facts = metadata.and_then(|metadata| metadata.typed_filter_metadata.get(METADATA));
    let facts = facts.filter(|facts| facts.type_url == M::TYPE_URL);
    facts.and_then(|facts| message(facts).ok()).unwrap_or_default()
}

// --- routes

fn each_route(config: &RouteConfiguration) -> impl Iterator<Item = (&[String], &Route)> {
    config
        .virtual_hosts
        .iter()
        .flat_map(|host| host.routes.iter().map(|route| (host.domains.as_slice(), route)))
}

fn cluster_of(route: &Route) -> Option<&str> {
    let Some(Action::Route(action)) = &route.action else { return None };
    let Some(ClusterSpecifier::Cluster(cluster)) = &action.cluster_specifier else { return None };
    Some(cluster)
}

fn clusters(config: &RouteConfiguration) -> Vec<(Type, Name)> {
    let clusters = each_route(config).filter_map(|(_, route)| cluster_of(route));
    let of_services = clusters.filter(|cluster| *cluster != NO_SERVICE);
    of_services.map(|cluster| (Type::Cluster, cluster.into())).collect()
}

fn routes(config: &RouteConfiguration) -> Rows {
    let row = |(domains, route): (&[String], &Route)| {
        let path = route.r#match.as_ref().and_then(|it| it.path_specifier.as_ref());
        let path = match path {
            Some(PathSpecifier::Path(path)) => format!("path {path:?}"),
            Some(PathSpecifier::Prefix(prefix)) => format!("prefix {prefix:?}"),
            None => "another match".to_owned(),
        };
        let cluster = ("cluster", json!(cluster_of(route)));
        (format!("{} {path}", domains.join(",")), row([cluster]))
    };
    Rows::new("routes", "match", &["cluster"], each_route(config).map(row))
}

// --- a cluster

fn by_discovery(cluster: &Cluster) -> bool {
    cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
}

fn assignment_of(cluster: &Cluster) -> &str {
    match &cluster.eds_cluster_config {
        Some(config) if !config.service_name.is_empty() => &config.service_name,
        _ => &cluster.name,
    }
}

fn cluster_rows(cluster: &Cluster) -> Rows {
    let facts: ServiceFacts = facts(cluster.metadata.as_ref());
    let mut rows: Vec<(String, Row)> = Vec::new();
    let mut add = |name: &str, value: Value| {
        let row = row([("value", value)]);
        if !row.is_empty() {
            rows.push((name.to_owned(), row));
        }
    };
    if let Some(ClusterDiscoveryType::Type(kind)) = cluster.cluster_discovery_type {
        let kind = DiscoveryType::try_from(kind).map_or("another", |kind| kind.as_str_name());
        add("discovery", json!(kind.to_lowercase()));
    }
    if by_discovery(cluster) {
        add("assignment", json!(assignment_of(cluster)));
    }
    if facts.assignment_parts > 1 {
        add("assignment parts", json!(facts.assignment_parts));
    }
    match &cluster.load_balancing_policy {
        Some(policy) => {
            let names = policy.policies.iter().filter_map(|it| it.typed_extension_config.as_ref());
            add("policy", names.map(|config| config.name.clone()).collect::<Vec<_>>().into());
        }
        // An agent has policies of its own.
        None if facts != ServiceFacts::default() => {}
        None => add("policy", json!(cluster.lb_policy().as_str_name().to_lowercase())),
    }
    for protocol in cluster.typed_extension_protocol_options.keys() {
        add("protocol options", json!(protocol));
    }
    add("source", json!(facts.source));
    add("uid", json!(facts.uid));
    add("own node only", json!(facts.own_node));
    add("stale", json!(facts.stale));
    for setting in &facts.settings {
        let wrong = match &*setting.wrong {
            "" => String::new(),
            wrong => format!(", which is wrong: {wrong}"),
        };
        let value = format!("{} ({}{wrong})", setting.value, setting.origin);
        add(&format!("setting {}", setting.key), json!(value));
    }
    for note in &facts.notes {
        add("note", json!(note));
    }
    Rows::new("facts", "name", &["value"], rows)
}

// --- endpoints

const ENDPOINT: &[&str] = &[
    "health",
    "weight",
    "zone",
    "region",
    "subZone",
    "zoneWeight",
    "priority",
    "node",
    "labels",
    "readySince",
    "serverName",
    "hintedZones",
    "hintedNodes",
    "pod",
    "braked",
];

fn endpoints(assignment: &ClusterLoadAssignment) -> Rows {
    let all = assignment
        .endpoints
        .iter()
        .flat_map(|place| place.lb_endpoints.iter().map(move |each| endpoint(place, each)));
    Rows::new("endpoints", "address", ENDPOINT, all)
}

fn endpoint(place: &LocalityLbEndpoints, each: &LbEndpoint) -> (String, Row) {
    let locality = place.locality.clone().unwrap_or_default();
    let facts: EndpointFacts = facts(each.metadata.as_ref());
    let since = u64::try_from(facts.ready_since_ms).ok().filter(|ms| *ms > 0);
    let since = since
        .and_then(|ms| std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(ms)));
    let row = row([
        ("health", json!(each.health_status().as_str_name().to_lowercase())),
        ("weight", json!(each.load_balancing_weight.as_ref().map_or(1, |weight| weight.value))),
        ("zone", json!(locality.zone)),
        ("region", json!(locality.region)),
        ("subZone", json!(locality.sub_zone)),
        ("zoneWeight", json!(place.load_balancing_weight.as_ref().map(|weight| weight.value))),
        ("priority", json!(place.priority)),
        ("node", json!(facts.node)),
        ("labels", json!(facts.labels)),
        ("readySince", json!(since.map(|at| humantime::format_rfc3339_seconds(at).to_string()))),
        ("serverName", json!(facts.server_name)),
        ("hintedZones", json!(facts.hinted_zones)),
        ("hintedNodes", json!(facts.hinted_nodes)),
        ("pod", json!((facts.pod != 0).then(|| format!("{:016x}", facts.pod)))),
        ("braked", json!(facts.braked)),
    ]);
    (address(each), row)
}

fn address(each: &LbEndpoint) -> String {
    let Some(HostIdentifier::Endpoint(endpoint)) = &each.host_identifier else {
        return "another kind of endpoint".to_owned();
    };
    match endpoint.address.as_ref().and_then(|it| it.address.as_ref()) {
        Some(Address::SocketAddress(socket)) => match &socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => format::address(&socket.address, *port),
            Some(PortSpecifier::NamedPort(port)) => format!("{}:{port}", socket.address),
            None => socket.address.clone(),
        },
        Some(Address::Pipe(pipe)) => format!("unix://{}", pipe.path),
        None => "no address".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use xds::proto::{google::protobuf::UInt32Value, pack};

    use super::*;
    use crate::{
        catalog::{Endpoint, Health},
        discovery::{agent::write, assignment::assignment, grpc},
    };

    fn any(of_type: Type, resource: &xds::Resource) -> Any {
        Any { type_url: of_type.url().to_owned(), value: resource.body.clone() }
    }

    fn endpoints_of(contents: &Contents) -> String {
        let all = contents.rows().rows.into_iter().map(|(address, row)| {
            let fields = row.iter().map(|(field, value)| format!("{field}={}", text_of(value)));
            format!("{address} {}", fields.collect::<Vec<_>>().join(" "))
        });
        all.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_endpoint_has_what_an_agent_is_told_of_it() {
        let endpoint = Endpoint {
            zone: Some("a".into()),
            node: Some("n1".into()),
            weight: 3,
            health: Health::Draining,
            priority: 1,
            braked: true,
            ready_since: Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1)),
            ..Endpoint::at("[fd00::1]:80".parse().unwrap())
        };
        let body = any(Type::Assignment, &write::assignment("cart.shop:80", &[endpoint]));
        let contents = Contents::read(Type::Assignment, "cart.shop:80", &body).unwrap();
        assert_eq!(
            endpoints_of(&contents),
            "[fd00::1]:80 braked=yes health=draining node=n1 priority=1 \
             readySince=1970-01-01T00:00:01Z weight=3 zone=a"
        );
    }

    #[test]
    fn an_address_that_is_told_twice_has_two_rows() {
        let one = Endpoint::at("10.0.0.1:80".parse().unwrap());
        let mut twice = assignment("cart.shop:80", &[one]);
        let again = LocalityLbEndpoints { priority: 1, ..twice.endpoints[0].clone() };
        twice.endpoints.push(again);
        twice.endpoints[1].load_balancing_weight = Some(UInt32Value { value: 7 });
        let contents = Contents::read(Type::Assignment, "cart.shop:80", &pack(&twice)).unwrap();
        assert_eq!(
            endpoints_of(&contents),
            "10.0.0.1:80 health=unknown priority=0 weight=1 zoneWeight=1\n\
             10.0.0.1:80 (2) health=unknown priority=1 weight=1 zoneWeight=7"
        );
    }

    #[test]
    fn a_grpc_client_is_led_from_a_listener_to_endpoints() {
        let listener = any(Type::Listener, &grpc::listener("cart.shop", "cart.shop:80"));
        let listener = Contents::read(Type::Listener, "cart.shop", &listener).unwrap();
        assert_eq!(listener.needs(), [(Type::Cluster, "cart.shop:80".into())]);
        let cluster = any(Type::Cluster, &grpc::cluster("cart.shop:80"));
        let cluster = Contents::read(Type::Cluster, "cart.shop:80", &cluster).unwrap();
        assert_eq!(cluster.needs(), [(Type::Assignment, "cart.shop:80".into())]);
        let none = any(Type::Listener, &grpc::listener_of_no_service("crat.shop"));
        let none = Contents::read(Type::Listener, "crat.shop", &none).unwrap();
        assert!(none.is_no_service() && none.needs().is_empty() && !listener.is_no_service());
    }

    #[test]
    fn what_can_not_be_read_is_said_with_the_reason() {
        let body =
            Any { type_url: Type::Cluster.url().to_owned(), value: b"\xff".as_slice().into() };
        assert!(!Contents::read(Type::Cluster, "a", &body).unwrap_err().is_empty());
    }
}
