//! What is published: one service of many pods, which restart one after another, and many small services.
//!
//! Our control plane reads the large service as Kubernetes writes it: as slices of a hundred endpoints, each
//! a file of a folder. So a change costs it the reading of one slice. go-control-plane reads one file.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::catalog::{Endpoint, Health};

/// The cluster of the large service.
pub(super) const LARGE: &str = "large.bench:80";
/// The endpoints of a slice, as Kubernetes' own controller has it.
const SLICE: usize = 100;
/// The file of [`Form::Json`].
pub(super) const JSON: &str = "services.json";
/// The changes that the restart of a pod makes: its successor is ready, it terminates, it is gone.
pub(super) const STEPS_PER_POD: usize = 3;

/// How a control plane reads services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A folder of manifests, and a services file for the small ones.
    Manifests,
    /// `services.json`, as tests/xds/go-control-plane reads it.
    Json,
}

/// The services in a folder: their state after some steps of the restart of the pods. The pods are numbered,
/// and each restart brings the next number.
pub(super) struct Services {
    folder: PathBuf,
    form: Form,
    /// The number of small services.
    small: usize,
    /// The pods of the large one.
    pods: usize,
    /// The steps that are written.
    steps: usize,
}

/// The name of a small service's cluster.
pub(super) fn small(service: usize) -> String {
    format!("s{service}.bench:80")
}

/// As an editor does it, so that nobody reads half of a file.
fn replace(folder: &Path, name: &str, content: &str) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, content)?;
    fs::rename(new, folder.join(name))
}

impl Services {
    /// Writes all of them to a new folder.
    pub(super) fn write(
        folder: PathBuf,
        form: Form,
        small: usize,
        pods: usize,
    ) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        let services = Self { folder, form, small, pods, steps: 0 };
        match form {
            Form::Manifests => {
                services.write_small()?;
                services.write_large()?;
            }
            Form::Json => services.write_json()?,
        }
        Ok(services)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Writes the next step of the restart.
    pub(super) fn step(&mut self) -> io::Result<()> {
        let restarting = self.steps / STEPS_PER_POD % self.pods;
        self.steps += 1;
        match self.form {
            Form::Manifests => self.write_slice(restarting / SLICE),
            Form::Json => self.write_json(),
        }
    }

    /// The small services have one pod each.
    fn write_small(&self) -> io::Result<()> {
        let mut yaml = String::from("services:\n");
        for service in 0..self.small {
            writeln!(
                yaml,
                "  - name: s{service}.bench\n    ports: [{{name: grpc, port: 80}}]\n    \
                 endpoints: [{{address: {}, zone: z{}, node: n{service}}}]",
                small_address(service),
                service % 3
            )
            .expect("a string takes it");
        }
        replace(&self.folder, "small.yaml", &yaml)
    }

    fn write_large(&self) -> io::Result<()> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "large", "namespace": "bench"},
            "spec": {"clusterIP": "None", "ports": [{"name": "grpc", "port": 80}]},
        });
        replace(&self.folder, "large.json", &service.to_string())?;
        (0..self.pods.div_ceil(SLICE)).try_for_each(|slice| self.write_slice(slice))
    }

    fn write_slice(&self, slice: usize) -> io::Result<()> {
        let pods = (slice * SLICE)..((slice + 1) * SLICE).min(self.pods);
        let endpoints = pods.flat_map(|place| self.at(place)).map(|(number, terminating)| {
            json!({
                "addresses": [address(number)],
                "conditions": {"ready": !terminating, "serving": true, "terminating": terminating},
                "nodeName": format!("node-{}", number % 1000),
                "zone": format!("z{}", number % 3),
                "targetRef": {"kind": "Pod", "name": format!("large-{number}"), "namespace": "bench",
                    "uid": format!("00000000-0000-0000-0000-{number:012}")},
            })
        });
        let endpoints: Vec<_> = endpoints.collect();
        let manifest = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("large-{slice}"), "namespace": "bench",
                "labels": {"kubernetes.io/service-name": "large"}},
            "addressType": "IPv4",
            "ports": [{"name": "grpc", "port": 80}],
            "endpoints": endpoints,
        });
        replace(&self.folder, &format!("large-{slice}.json"), &manifest.to_string())
    }

    fn write_json(&self) -> io::Result<()> {
        let small = (0..self.small).map(|service| {
            let address = format!("{}:80", small_address(service));
            let zone = format!("z{}", service % 3);
            json!({"name": small(service), "endpoints": [{"address": address, "zone": zone}]})
        });
        let large = (0..self.pods).flat_map(|place| self.at(place)).map(|(number, terminating)| {
            let health = if terminating { "DRAINING" } else { "HEALTHY" };
            let address = format!("{}:80", address(number));
            json!({"address": address, "zone": format!("z{}", number % 3), "health": health})
        });
        let large = json!({"name": LARGE, "endpoints": large.collect::<Vec<_>>()});
        let all: Vec<_> = small.chain([large]).collect();
        replace(&self.folder, JSON, &json!({"services": all}).to_string())
    }

    /// The pods at one place: their numbers, and whether they terminate.
    fn at(&self, place: usize) -> impl Iterator<Item = (usize, bool)> {
        let (restarts, phase) = (self.steps / STEPS_PER_POD, self.steps % STEPS_PER_POD);
        let restarted = (restarts + self.pods - 1 - place) / self.pods;
        let number = place + restarted * self.pods;
        let successor = (restarts % self.pods == place && phase > 0).then(|| number + self.pods);
        let terminating = successor.is_some() && phase == 2;
        [(number, terminating)].into_iter().chain(successor.map(|number| (number, false)))
    }
}

/// After how many steps of their restart the pods have these endpoints. None: after none.
pub(super) fn steps_of(endpoints: &[Endpoint], pods: usize) -> Option<usize> {
    let numbers = endpoints.iter().map(|each| number(each.address.ip()));
    let numbers: BTreeSet<usize> = numbers.collect::<Option<_>>()?;
    let started = (numbers.last()? + 1).checked_sub(pods)?;
    let terminating = endpoints.iter().any(|each| each.health == Health::Draining);
    match (endpoints.len().checked_sub(pods)?, terminating) {
        (0, false) => Some(STEPS_PER_POD * started),
        (1, false) => (STEPS_PER_POD * started).checked_sub(2),
        (1, true) => (STEPS_PER_POD * started).checked_sub(1),
        _ => None,
    }
}

fn small_address(service: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 255, (service / 256) as u8, (service % 256) as u8)
}

fn address(number: usize) -> Ipv4Addr {
    let [_, high, middle, low] = (number as u32).to_be_bytes();
    Ipv4Addr::new(10, high, middle, low)
}

fn number(address: std::net::IpAddr) -> Option<usize> {
    let std::net::IpAddr::V4(address) = address else { return None };
    let [_, high, middle, low] = address.octets();
    Some(u32::from_be_bytes([0, high, middle, low]) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sample::endpoint;

    /// The endpoints after these steps.
    fn after(steps: usize, count: usize) -> Vec<Endpoint> {
        let form = Form::Manifests;
        let pods = Services { folder: PathBuf::new(), form, small: 0, pods: count, steps };
        let endpoint = |(number, terminating)| {
            let mut one: Endpoint = endpoint(1);
            one.address = (address(number), 80).into();
            one.health = if terminating { Health::Draining } else { Health::Ready };
            one
        };
        (0..count).flat_map(|place| pods.at(place)).map(endpoint).collect()
    }

    #[test]
    fn the_endpoints_say_how_far_the_restart_is() {
        for steps in 0..40 {
            assert_eq!(steps_of(&after(steps, 5), 5), Some(steps));
        }
    }

    #[test]
    fn a_pod_s_successor_comes_before_it_terminates_and_goes() {
        let seen = |steps| {
            let all = after(steps, 2);
            all.iter()
                .map(|one| (number(one.address.ip()).unwrap(), one.health == Health::Draining))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(0), [(0, false), (1, false)]);
        assert_eq!(seen(1), [(0, false), (2, false), (1, false)]);
        assert_eq!(seen(2), [(0, true), (2, false), (1, false)]);
        assert_eq!(seen(3), [(2, false), (1, false)]);
        assert_eq!(seen(4), [(2, false), (1, false), (3, false)]);
        assert_eq!(seen(9), [(4, false), (3, false)]);
    }

    #[test]
    fn endpoints_of_no_step_are_none() {
        let mut two_more = after(0, 5);
        two_more.extend(after(6, 5).into_iter().skip(3));
        assert_eq!(steps_of(&two_more, 5), None);
        assert_eq!(steps_of(&after(0, 5)[1..], 5), None);
        assert_eq!(steps_of(&[], 5), None);
    }
}
