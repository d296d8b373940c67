//! Computes one policy from all settings of a service, and records where each value came from.
//!
//! Weakest first: the defaults; what the service's own fields imply; the agent's configuration (for
//! all services, for the namespace, for the service); what the owner wrote at the service itself (an
//! annotation, an entry in a file); the configuration's `override`.
//!
//! An invalid value leaves the previous value of its source in force. Without a previous value, an
//! invalid mode means `off`, and any other invalid setting is ignored. So a typing error neither
//! costs a service nor sends traffic somewhere new.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Mode, Policy,
    settings::{EJECTIONS, KEYS, find},
};
use crate::{
    catalog::{PreviousValue, Service, ServiceName, Setting},
    printable::printable,
};

/// The policies in the agent's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigPolicies {
    /// What holds unless a service says otherwise.
    pub base: Layers,
    /// What holds even if a service says otherwise.
    pub overriding: Layers,
}

/// Settings for all services, for namespaces and for single services; the later ones win.
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
    /// The layers that apply to a service, the weakest first.
    fn of(&self, name: &ServiceName) -> impl Iterator<Item = Vec<&Setting>> {
        let of_namespace = self.namespaces.get(&name.namespace);
        let of_service = self.services.get(name);
        [Some(&self.all), of_namespace, of_service]
            .into_iter()
            .flatten()
            .map(|settings| settings.iter().collect())
    }
}

/// A service's policy, and where each value came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What holds.
    pub policy: Policy,
    /// Every setting with where it came from.
    pub origins: Vec<Origin>,
    /// Invalid settings: where, what is wrong, what would be valid, and which value holds instead.
    pub problems: Vec<String>,
    /// Notes for a person on valid settings.
    pub notes: Vec<String>,
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its key, such as `outlier.min_requests`.
    pub name: &'static str,
    /// Its value, as text.
    pub value: String,
    /// `default`, or as [`Setting::origin`].
    pub origin: String,
    /// The values that it overrides, the strongest last, without the default.
    pub overridden: Vec<Overridden>,
}

/// A value that a stronger one overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overridden {
    /// As text.
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
    // Last, since the value that holds instead of an invalid one is known only then.
    let wrong: Vec<_> = service.settings.iter().filter_map(|it| resolved.problem(it)).collect();
    resolved.problems.splice(0..0, wrong);
    let Policy { mode, virtual_ip, .. } = &resolved.policy;
    if *mode != Mode::On && virtual_ip.is_none() {
        let note = "mode has no effect: all requests are balanced, since there is no virtual IP \
                    (spec.clusterIP) to send them to instead";
        resolved.notes.push(note.to_owned());
    } else if *mode != Mode::On && service.ports.iter().all(|port| port.number.is_none()) {
        let note = "mode has no effect: all requests are balanced, since the port of the virtual \
                    IP is not known: add it, such as ports: [{port: 80}]";
        resolved.notes.push(note.to_owned());
    }
    resolved
}

/// The origin of a default.
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
    /// Applies settings that win over those so far.
    fn apply(&mut self, layer: &[&Setting]) {
        for setting in layer {
            let (value, origin) = match replacement(setting) {
                Ok(()) => (&*setting.value, setting.origin.clone()),
                Err(None) => continue,
                Err(Some(value)) => (value, replacement_origin(setting)),
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

    /// Describes an invalid setting: where, what is wrong, what would be valid, and which value
    /// holds instead. None: it is valid.
    fn problem(&self, setting: &Setting) -> Option<String> {
        let wrong = setting.wrong.as_ref()?;
        let Some(key) = find(&setting.key) else {
            return Some(printable(&format!("{}: {}", setting.origin, wrong.why)).into_owned());
        };
        let holds = self.origins.iter().find(|known| known.name == key.name);
        let stronger = holds.filter(|holds| holds.origin != replacement_origin(setting));
        let told = match (replacement(setting), stronger) {
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
                "what it would be without this setting, as before".to_owned()
            }
            _ => "what it would be without this setting".to_owned(),
        };
        let what = if wrong.why.starts_with(key.name) { "it" } else { key.name };
        let joint = if wrong.why.ends_with('?') { "" } else { ";" };
        let told = format!("{}: {}{joint} {what} is {told}", setting.origin, wrong.why);
        Some(printable(&told).into_owned())
    }

    /// A first ejection must not be longer than the longest one. If this layer made it so, the
    /// layer's value holds, and the other one is changed.
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

/// Whether a setting is valid. Err: the value that holds instead, if there is one.
fn replacement(setting: &Setting) -> Result<(), Option<&str>> {
    let Some(wrong) = &setting.wrong else { return Ok(()) };
    let value = match &wrong.before {
        PreviousValue::Value(value) => Some(&**value),
        PreviousValue::Unknown if setting.key == "mode" => Some("off"),
        PreviousValue::Unset | PreviousValue::Unknown => None,
    };
    Err(value.filter(|_| find(&setting.key).is_some()))
}

/// The origin of a value that replaces an invalid one.
fn replacement_origin(setting: &Setting) -> String {
    format!("{}, in place of \"{}\"", setting.origin, printable(&setting.value))
}

#[cfg(test)]
mod tests;
