//! One policy out of all that was said about a service, and where each value came from.
//!
//! Weakest first: the defaults; what the service's own fields imply; the agent's configuration (for
//! all services, for the namespace, for the service); what its owner wrote at the service itself (an
//! annotation, its entry in a file); the configuration's `override`.
//!
//! A value that is wrong leaves what its source said before in force. Where nothing was known before,
//! a wrong mode is `off`, and any other wrong value is as if it were not there: a typing error costs
//! no service, and sends no traffic somewhere new.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Mode, Policy,
    settings::{EJECTIONS, KEYS, find},
};
use crate::{
    catalog::{PreviousValue, Service, ServiceName, Setting},
    printable::printable,
};

/// What the agent's configuration says of policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigPolicies {
    /// What holds where a service itself says nothing.
    pub base: Layers,
    /// What holds whatever a service says.
    pub overriding: Layers,
}

/// Settings of all services, of some and of single ones; the later win.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers {
    /// For every service.
    pub all: Vec<Setting>,
    /// For the services of a namespace.
    pub namespaces: BTreeMap<Arc<str>, Vec<Setting>>,
    /// For one service.
    pub services: BTreeMap<ServiceName, Vec<Setting>>,
}

impl Layers {
    /// Those of this service, the weakest first.
    fn of(&self, name: &ServiceName) -> impl Iterator<Item = Vec<&Setting>> {
        let of_namespace = self.namespaces.get(&name.namespace);
        let of_service = self.services.get(name);
        [Some(&self.all), of_namespace, of_service]
            .into_iter()
            .flatten()
            .map(|settings| settings.iter().collect())
    }
}

/// A service's policy and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What holds.
    pub policy: Policy,
    /// Every setting with where it came from.
    pub origins: Vec<Origin>,
    /// What was wrong, where, what would be right, and what holds in its place.
    pub problems: Vec<String>,
    /// What is right, and a person should know.
    pub notes: Vec<String>,
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
    /// What it won over, the strongest last; the default is not among them.
    pub overridden: Vec<Overridden>,
}

/// A value that was said and is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// As it would be written.
    pub value: String,
    /// As [`Setting::origin`].
    pub origin: String,
}

/// The policy of this service.
pub fn resolve(config: &ConfigPolicies, service: &Service) -> Resolved {
    let (implied, written) = service.settings.iter().partition(|setting| setting.implied);
    let weakest_first = [implied]
        .into_iter()
        .chain(config.base.of(&service.name))
        .chain([written])
        .chain(config.overriding.of(&service.name));
    let mut resolved = Resolved::default();
    for layer in weakest_first {
        resolved.apply(&layer);
    }
    // At last, since what holds in the place of a wrong value is known by then.
    let wrong: Vec<_> = service.settings.iter().filter_map(|it| resolved.problem(it)).collect();
    resolved.problems.splice(0..0, wrong);
    let Policy { mode, virtual_ip, .. } = &resolved.policy;
    if *mode != Mode::On && virtual_ip.is_none() {
        let note = "mode has no effect: all requests are balanced, since there is no virtual IP \
                    (spec.clusterIP) to send them to instead";
        resolved.notes.push(note.to_owned());
    } else if *mode != Mode::On && service.ports.iter().all(|port| port.number.is_none()) {
        let note = "mode has no effect: all requests are balanced, since the service says no port \
                    (ports: [{port: 80}]) that its virtual IP has";
        resolved.notes.push(note.to_owned());
    }
    resolved
}

/// The origin of what nobody said.
const DEFAULT: &str = "default";

impl Default for Resolved {
    fn default() -> Self {
        let policy = Policy::default();
        let origins = KEYS
            .iter()
            .map(|key| Origin {
                name: key.name,
                value: key.get(&policy),
                origin: DEFAULT.to_owned(),
                overridden: Vec::new(),
            })
            .collect();
        Self { policy, origins, problems: Vec::new(), notes: Vec::new() }
    }
}

impl Resolved {
    /// Lets these settings win over what holds so far.
    fn apply(&mut self, layer: &[&Setting]) {
        for setting in layer {
            let (value, origin) = match instead(setting) {
                Ok(()) => (&*setting.value, setting.origin.clone()),
                Err(None) => continue,
                Err(Some(value)) => (value, in_place_of(setting)),
            };
            if let Some(key) = find(&setting.key)
                && key.set(&mut self.policy, value).is_ok()
            {
                self.note(key.name, origin);
            }
        }
        self.settle_ejection(layer);
    }

    fn note(&mut self, name: &'static str, origin: String) {
        let value = KEYS.iter().find(|key| key.name == name).map(|key| key.get(&self.policy));
        for known in self.origins.iter_mut().filter(|known| known.name == name) {
            let before = std::mem::replace(&mut known.value, value.clone().unwrap_or_default());
            let from = std::mem::replace(&mut known.origin, origin.clone());
            if from != DEFAULT {
                known.overridden.push(Overridden { value: before, origin: from });
            }
        }
    }

    /// What is wrong with a setting, where, what would be right, and what holds in its place. None: it
    /// is right.
    fn problem(&self, setting: &Setting) -> Option<String> {
        let wrong = setting.wrong.as_ref()?;
        let Some(key) = find(&setting.key) else {
            return Some(printable(&format!("{}: {}", setting.origin, wrong.why)).into_owned());
        };
        let holds = self.origins.iter().find(|known| known.name == key.name);
        let stronger = holds.filter(|holds| holds.origin != in_place_of(setting));
        let told = match (instead(setting), stronger) {
            (Err(Some(_)), Some(Origin { value, origin, .. })) if origin == DEFAULT => {
                format!("{value}, the default")
            }
            (Err(Some(_)), Some(Origin { value, origin, .. })) => {
                format!("{value}, as {origin} says")
            }
            (Err(Some(value)), None) if wrong.before == PreviousValue::Unknown => {
                format!("{value}, since nothing was known before")
            }
            (Err(Some(value)), None) => format!("{value}, as before"),
            _ if wrong.before == PreviousValue::Unset => {
                "what it would be without, as before".to_owned()
            }
            _ => "what it would be without".to_owned(),
        };
        let what = if wrong.why.starts_with(key.name) { "it" } else { key.name };
        let joint = if wrong.why.ends_with('?') { "" } else { ";" };
        let told = format!("{}: {}{joint} {what} is {told}", setting.origin, wrong.why);
        Some(printable(&told).into_owned())
    }

    /// A first ejection must not be longer than the longest. Where this layer made it so, what it says
    /// holds, and the other gives way.
    fn settle_ejection(&mut self, layer: &[&Setting]) {
        let outlier = &mut self.policy.outlier;
        if outlier.base_ejection <= outlier.max_ejection {
            return;
        }
        let [base, max] = EJECTIONS;
        let (follows, leads) = match layer.iter().any(|setting| setting.key == max) {
            true => (base, max),
            false => (max, base),
        };
        if follows == base {
            outlier.base_ejection = outlier.max_ejection;
        } else {
            outlier.max_ejection = outlier.base_ejection;
        }
        let of = |name: &str| self.origins.iter().find(|known| known.name == name).cloned();
        let (Some(lost), Some(won)) = (of(follows), of(leads)) else { return };
        let than = if follows == base { "longer" } else { "shorter" };
        self.notes.push(format!(
            "{follows} {} ({}) would be {than} than {leads} {} ({}): it is {} as well",
            lost.value, lost.origin, won.value, won.origin, won.value
        ));
        self.note(follows, format!("{leads} of {}", won.origin));
    }
}

/// Whether a setting can hold. Err: the value that holds in its place, if any does.
fn instead(setting: &Setting) -> Result<(), Option<&str>> {
    let Some(wrong) = &setting.wrong else { return Ok(()) };
    let value = match &wrong.before {
        PreviousValue::Value(value) => Some(&**value),
        PreviousValue::Unknown if setting.key == "mode" => Some("off"),
        PreviousValue::Unset | PreviousValue::Unknown => None,
    };
    Err(value.filter(|_| find(&setting.key).is_some()))
}

/// The origin of what holds in place of a wrong value.
fn in_place_of(setting: &Setting) -> String {
    format!("{}, in place of \"{}\"", setting.origin, printable(&setting.value))
}

#[cfg(test)]
mod tests;
