//! Random steps. The same seed gives the same steps.
//!
//! There are few names, addresses and ports, so that objects share them: one address in several slices,
//! a slice that moves from one service to another, a port that no longer exists.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use serde_json::{Map, Value, json};

use crate::{
    operation::{Kind, Operation},
    stage::PLACES,
};

pub const SERVICES: &[&str] = &["cart", "pay", "users"];
const SLICES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Names of ports.
pub const PORTS: &[&str] = &["http", "grpc", "web"];
/// The number of pods. Each has an address of each family, a node and a zone of its own.
const PODS: u32 = 9;
/// The number of changes in a sequence, and of checks after some of them.
const BATCHES: u32 = 10;

struct Random {
    rng: Xoshiro256PlusPlus,
    /// The endpoints that the slices should have, if the API server accepted all steps.
    slices: BTreeMap<&'static str, Slice>,
    steps: Vec<Operation>,
}

#[derive(Clone)]
struct Slice {
    family: &'static str,
    endpoints: Vec<Value>,
}

/// A sequence of steps that ends with a check.
pub fn sequence(seed: u64, restart: bool) -> Vec<Operation> {
    let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut random = Random { rng, slices: BTreeMap::new(), steps: Vec::new() };
    for service in SERVICES {
        random.create_service(service);
    }
    for _ in 0..4 {
        random.create_slice();
    }
    random.steps.push(Operation::Check);
    let restarted = random.rng.random_range(1..BATCHES);
    for batch in 0..BATCHES {
        random.batch(restart && batch == restarted);
        random.steps.push(Operation::Check);
    }
    random.steps
}

impl Random {
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    fn any<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())].clone()
    }

    /// Changes in a row, with changes of agents in between.
    fn batch(&mut self, restart: bool) {
        let agent = self.rng.random_range(0..PLACES.len());
        if restart && self.one_in(2) {
            // The agents' watches hear nothing, and the API server has forgotten the changes
            // afterwards.
            (0..PLACES.len()).for_each(|agent| self.steps.push(Operation::Cut(agent)));
        } else if self.one_in(8) {
            self.steps.push(Operation::Cut(agent));
        }
        for _ in 0..self.rng.random_range(1..=5) {
            self.change();
            if self.one_in(30) {
                self.steps.push(Operation::Kill(agent));
            }
            if self.one_in(15) {
                let mend = self.any(&[Operation::Mend(agent), Operation::Start(agent)]);
                self.steps.push(mend);
            }
        }
        if restart {
            self.steps.push(Operation::Restart);
        }
    }

    fn change(&mut self) {
        match self.rng.random_range(0..100) {
            0..40 => self.change_endpoints(),
            40..54 => self.create_slice(),
            54..60 => {
                let slice = self.any(&SLICES);
                self.slices.remove(slice);
                self.steps.push(Operation::Delete(Kind::EndpointSlice, slice.to_owned()));
            }
            60..66 => {
                let ports = self.slice_ports();
                self.patch_slice(json!({ "ports": ports }));
            }
            66..70 => {
                let owner = self.owner();
                let labels = json!({ "kubernetes.io/service-name": owner });
                self.patch_slice(json!({ "metadata": { "labels": labels } }));
            }
            70..74 => {
                let service = self.any(SERVICES);
                self.steps.push(Operation::Delete(Kind::Service, service.to_owned()));
                if self.one_in(2) {
                    self.create_service(service);
                }
            }
            74..78 => {
                let service = self.any(SERVICES);
                self.create_service(service);
            }
            _ => self.patch_service(),
        }
    }

    fn create_service(&mut self, name: &str) {
        let mut spec = Map::new();
        spec.insert("ports".to_owned(), self.service_ports());
        let families = [json!(["IPv4", "IPv6"]), json!(["IPv6", "IPv4"])];
        match self.rng.random_range(0..20) {
            0..3 => drop(spec.insert("clusterIP".to_owned(), json!("None"))),
            3..5 => spec.append(&mut alias()),
            5..8 => {
                spec.insert("ipFamilyPolicy".to_owned(), json!("RequireDualStack"));
                spec.insert("ipFamilies".to_owned(), self.any(&families));
            }
            8 => drop(spec.insert("ipFamilies".to_owned(), json!(["IPv6"]))),
            _ => {}
        }
        if self.one_in(10) {
            spec.insert("internalTrafficPolicy".to_owned(), json!("Local"));
        }
        if self.one_in(12) {
            spec.insert("publishNotReadyAddresses".to_owned(), json!(true));
        }
        let mut metadata = json!({ "name": name });
        if self.one_in(5) {
            metadata["annotations"] = self.annotation();
        }
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec
        });
        self.steps.push(Operation::Create(Kind::Service, name.to_owned(), object));
    }

    fn service_ports(&mut self) -> Value {
        let sets = [
            json!([{ "name": "http", "port": 80 }]),
            json!([{ "name": "http", "port": 80 }]),
            json!([{ "name": "http", "port": 81 }]),
            json!([{ "name": "http", "port": 80 }, { "name": "grpc", "port": 90 }]),
            json!([{ "name": "http", "port": 80 }, { "name": "grpc", "port": 90 }]),
            json!([{ "name": "grpc", "port": 80 }, { "name": "web", "port": 81 }]),
            json!([{ "name": "grpc", "port": 90 }]),
            json!([{ "port": 80 }]),
        ];
        self.any(&sets)
    }

    fn patch_service(&mut self) {
        let name = self.any(SERVICES);
        let spec = match self.rng.random_range(0..12) {
            0..3 => json!({ "ports": self.service_ports() }),
            3 => Value::Object(alias()),
            4..6 => json!({ "type": "ClusterIP", "externalName": null }),
            6..8 => {
                json!({ "internalTrafficPolicy": self.any(&["Local", "Cluster", "Cluster"]) })
            }
            8 => json!({ "publishNotReadyAddresses": self.any(&[true, false, false]) }),
            9 => json!({ "ipFamilyPolicy": self.any(&["SingleStack", "PreferDualStack"]) }),
            _ => {
                let patch = json!({ "metadata": { "annotations": self.annotation() } });
                self.steps.push(Operation::Patch(Kind::Service, name.to_owned(), patch));
                return;
            }
        };
        let patch = json!({ "spec": spec });
        self.steps.push(Operation::Patch(Kind::Service, name.to_owned(), patch));
    }

    fn annotation(&mut self) -> Value {
        if self.one_in(2) {
            let value = self.any(&[json!("strict"), json!("prefer"), json!("off"), Value::Null]);
            return json!({ "pointsman.dev/zone": value });
        }
        let modes = [json!("on"), json!("off"), json!("shadow"), json!("50%"), Value::Null];
        json!({ "pointsman.dev/mode": self.any(&modes) })
    }

    fn create_slice(&mut self) {
        let name = self.any(&SLICES);
        let family = self.any(&["IPv4", "IPv4", "IPv4", "IPv4", "IPv6", "IPv6", "FQDN"]);
        let count = self.rng.random_range(0..=5);
        let hints = self.hints();
        let endpoints: Vec<Value> = (0..count).map(|_| self.endpoint(family, hints)).collect();
        let owner = self.owner();
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": owner } },
            "addressType": family,
            "ports": self.slice_ports(),
            "endpoints": endpoints
        });
        self.slices.entry(name).or_insert(Slice { family, endpoints });
        self.steps.push(Operation::Create(Kind::EndpointSlice, name.to_owned(), object));
    }

    /// Sometimes the slice has no service.
    fn owner(&mut self) -> Value {
        if self.one_in(12) { Value::Null } else { json!(self.any(SERVICES)) }
    }

    fn slice_ports(&mut self) -> Value {
        let http = json!({ "name": "http", "port": 8080 });
        let grpc = json!({ "name": "grpc", "port": 9090 });
        let sets = [
            json!([http]),
            json!([http, grpc]),
            json!([grpc, http]),
            json!([http, grpc, { "name": "web", "port": 8082 }]),
            json!([{ "name": "http", "port": 8081 }, grpc]),
            json!([{ "port": 8080 }]),
            json!([{ "name": "http" }, grpc]),
            json!([{ "name": "http", "port": 0 }, grpc]),
            json!([http, { "name": "grpc", "port": 70000 }]),
            json!([{ "name": "http", "port": 8080, "protocol": "UDP" }, grpc]),
            json!([]),
        ];
        // Most slices have the usual ports.
        let most = self.rng.random_range(0..2 * sets.len());
        sets[if most < sets.len() { most } else { most % 4 }].clone()
    }

    fn patch_slice(&mut self, patch: Value) {
        let name = self.any(&SLICES);
        self.steps.push(Operation::Patch(Kind::EndpointSlice, name.to_owned(), patch));
    }

    /// One more, one fewer, one with another health, or completely different ones.
    fn change_endpoints(&mut self) {
        let names: Vec<&str> = self.slices.keys().copied().collect();
        if names.is_empty() {
            return self.create_slice();
        }
        let name = self.any(&names);
        let Slice { family, mut endpoints } = self.slices[name].clone();
        let hints = self.hints();
        let at = self.rng.random_range(0..=endpoints.len());
        match self.rng.random_range(0..10) {
            0 => endpoints.clear(),
            1 => endpoints = (0..5).map(|_| self.endpoint(family, hints)).collect(),
            2..4 if at < endpoints.len() => drop(endpoints.remove(at)),
            4..8 if at < endpoints.len() => endpoints[at]["conditions"] = self.conditions(),
            _ => endpoints.insert(at, self.endpoint(family, hints)),
        }
        self.slices.get_mut(name).unwrap().endpoints.clone_from(&endpoints);
        let patch = json!({ "endpoints": endpoints });
        self.steps.push(Operation::Patch(Kind::EndpointSlice, name.to_owned(), patch));
    }

    /// Whether endpoints that are made together have hints: for nodes, for zones, or for some of them.
    fn hints(&mut self) -> u32 {
        self.rng.random_range(0..8)
    }

    fn endpoint(&mut self, family: &str, hints: u32) -> Value {
        let pod = self.rng.random_range(1..=PODS);
        let address = |pod: u32| match family {
            "IPv4" => format!("10.1.0.{pod}"),
            "IPv6" => format!("fd00::{pod}"),
            _ => format!("db-{pod}.example.com"),
        };
        let mut endpoint = json!({ "addresses": [address(pod)] });
        if self.one_in(15) {
            endpoint["addresses"] = json!([address(pod), address(pod % PODS + 1)]);
        }
        // Of three pods, one is in the first agent's zone, one in the second agent's, and one in
        // neither.
        let place = PLACES.get(pod as usize % 3);
        let zone = place.map_or("zone-c", |place| place.zone);
        if !self.one_in(10) {
            endpoint["zone"] = json!(zone);
        }
        if let Some(place) = place {
            endpoint["nodeName"] = json!(place.node);
        }
        // Some addresses belong to no pod.
        if pod % 4 != 0 {
            let (name, uid) = (format!("pod-{pod}"), format!("uid-{pod}"));
            endpoint["targetRef"] = json!({ "kind": "Pod", "name": name, "uid": uid });
        }
        let zones = json!([{ "name": zone }]);
        match (hints, place) {
            (0, Some(place)) => {
                let nodes = json!([{ "name": place.node }]);
                endpoint["hints"] = json!({ "forNodes": nodes, "forZones": zones });
            }
            (1, _) => endpoint["hints"] = json!({ "forZones": zones }),
            (2, _) if self.one_in(2) => {
                let zone = self.any(&PLACES).zone;
                endpoint["hints"] = json!({ "forZones": [{ "name": zone }] });
            }
            _ => {}
        }
        if self.one_in(2) {
            endpoint["conditions"] = self.conditions();
        }
        endpoint
    }

    fn conditions(&mut self) -> Value {
        match self.rng.random_range(0..6) {
            0..2 => json!({ "ready": true, "serving": true, "terminating": false }),
            2 => json!({ "ready": false, "serving": false, "terminating": false }),
            3 => json!({ "ready": false, "serving": true, "terminating": true }),
            _ => {
                let mut conditions = Map::new();
                for name in ["ready", "serving", "terminating"] {
                    if !self.one_in(3) {
                        conditions.insert(name.to_owned(), json!(self.one_in(2)));
                    }
                }
                Value::Object(conditions)
            }
        }
    }
}

/// A name for DNS.
fn alias() -> Map<String, Value> {
    let Value::Object(alias) = json!({ "type": "ExternalName", "externalName": "db.example.com" })
    else {
        unreachable!()
    };
    alias
}
