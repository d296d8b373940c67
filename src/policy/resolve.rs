//! One policy out of all that was said about a service, and where each value came from.
//!
//! The first found wins: the agent's configuration (for the service, for its namespace, for all),
//! what the service carries (its annotations, its entry in a file), the defaults. A bad value
//! leaves the next source's in force: a typing error never costs a service.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Mode, Policy,
    settings::{KEYS, key},
};
use crate::catalog::{Service, ServiceName, Setting};

/// What the agent's configuration says of policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigPolicies {
    /// For every service.
    pub default: Vec<Setting>,
    /// For the services of a namespace.
    pub namespaces: BTreeMap<Arc<str>, Vec<Setting>>,
    /// For one service.
    pub services: BTreeMap<ServiceName, Vec<Setting>>,
}

/// A service's policy and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What holds.
    pub policy: Policy,
    /// Every setting with where it came from.
    pub origins: Vec<Origin>,
    /// What was wrong, where, and what would be right; the values named are not in force.
    pub problems: Vec<String>,
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its key, such as `outlier.min_requests`.
    pub name: &'static str,
    /// Its value, as it would be written.
    pub value: String,
    /// `default`, or as [`Setting::origin`].
    pub origin: String,
}

/// The policy of this service.
pub fn resolve(config: &ConfigPolicies, service: &Service) -> Resolved {
    let of_namespace = config.namespaces.get(&service.name.namespace);
    let of_service = config.services.get(&service.name);
    let lowest_first = [Some(&service.settings), Some(&config.default), of_namespace, of_service];
    let mut resolved = Resolved::default();
    for layer in lowest_first.into_iter().flatten() {
        resolved.apply(layer);
    }
    let Policy { mode, virtual_ip, .. } = &resolved.policy;
    if *mode != Mode::On && virtual_ip.is_none() {
        let problem = "mode has no effect: all requests are balanced, since there is no virtual IP \
                       (spec.clusterIP) to send them to instead";
        resolved.problems.push(problem.to_owned());
    } else if *mode != Mode::On && service.ports.iter().all(|port| port.number.is_none()) {
        let problem = "mode has no effect: all requests are balanced, since the service says no port \
                       (ports: [{port: 80}]) that its virtual IP has";
        resolved.problems.push(problem.to_owned());
    }
    resolved
}

impl Default for Resolved {
    fn default() -> Self {
        let policy = Policy::default();
        let origins = KEYS
            .iter()
            .map(|key| Origin {
                name: key.name,
                value: key.get(&policy),
                origin: "default".to_owned(),
            })
            .collect();
        Self { policy, origins, problems: Vec::new() }
    }
}

impl Resolved {
    /// Lets these settings win over what holds so far.
    fn apply(&mut self, layer: &[Setting]) {
        let before = self.clone();
        for setting in layer {
            let set = key(&setting.key)
                .and_then(|key| key.set(&mut self.policy, &setting.value).map(|()| key));
            match set {
                Ok(key) => self.note(key.name, &setting.origin),
                Err(problem) => self.problems.push(format!("{}: {problem}", setting.origin)),
            }
        }
        self.settle_ejection(&before);
    }

    fn note(&mut self, name: &'static str, origin: &str) {
        let value = KEYS.iter().find(|key| key.name == name).map(|key| key.get(&self.policy));
        for known in self.origins.iter_mut().filter(|known| known.name == name) {
            known.value = value.clone().unwrap_or_default();
            origin.clone_into(&mut known.origin);
        }
    }

    /// A first ejection longer than the longest is a contradiction: neither value of this layer
    /// can be trusted, so that those before it stay.
    fn settle_ejection(&mut self, before: &Self) {
        if self.policy.outlier.base_ejection <= self.policy.outlier.max_ejection {
            return;
        }
        let pair = ["outlier.base_ejection", "outlier.max_ejection"];
        let told: Vec<String> = self
            .origins
            .iter()
            .filter(|known| pair.contains(&known.name))
            .map(|known| format!("{} {} ({})", known.name, known.value, known.origin))
            .collect();
        self.problems.push(format!(
            "{}: the first must not be longer than the second",
            told.join(" contradicts ")
        ));
        self.policy.outlier.base_ejection = before.policy.outlier.base_ejection;
        self.policy.outlier.max_ejection = before.policy.outlier.max_ejection;
        for (known, earlier) in self.origins.iter_mut().zip(&before.origins) {
            if pair.contains(&known.name) {
                known.clone_from(earlier);
            }
        }
    }
}

#[cfg(test)]
mod tests;
