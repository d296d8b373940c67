//! All settings by name: what each means, its values, and how it is read and printed.
//!
//! A key has one spelling in tables and explanations (`outlier.min_requests`). In YAML its parts
//! nest. In an annotation dashes may stand for underscores (`pointsman.dev/outlier.min-requests`).

use super::{Kind, Mode, Policy, StrategyName, ZoneMode, patterns};
use crate::{
    catalog::{PreviousValue, Setting, SettingError},
    printable::printable,
    suggest::{did_you_mean, similar},
};

/// One setting.
pub struct Key {
    /// As in tables: `outlier.min_requests`.
    pub name: &'static str,
    /// What it means, for a schema.
    pub about: &'static str,
    /// Its values.
    pub kind: Kind,
}

/// Settings that share the first part of their names, and what they are about, for a schema.
pub const GROUPS: &[(&str, &str)] = &[
    ("outlier", "How the agent avoids endpoints that fail."),
    ("retry", "How many retries callers may make."),
];

/// All settings, in the order of the documentation.
pub const KEYS: &[Key] = &[
    Key {
        name: "mode",
        about: "Which requests are balanced: off, shadow, a whole percentage of 0% to 100%, or on.",
        kind: Kind::Text {
            range: "off, shadow, a whole percentage of 0% to 100%, or on",
            pattern: patterns::MODE,
            examples: &[],
            booleans: &[true, false],
            set: |policy, text| {
                policy.mode = match &*text.to_ascii_lowercase() {
                    "off" | "false" => Mode::Off,
                    "shadow" => Mode::Shadow,
                    "on" | "true" => Mode::On,
                    text => Mode::Percent(percent(text)?),
                };
                Some(())
            },
            get: |policy| match policy.mode {
                Mode::Off => "off".to_owned(),
                Mode::Shadow => "shadow".to_owned(),
                Mode::Percent(share) => format!("{share}%"),
                Mode::On => "on".to_owned(),
            },
            hint: mode_hint,
        },
    },
    Key {
        name: "virtual_ip",
        about: "The address for requests that are not balanced: the service's virtual IP at \
                kube-proxy, or none.",
        kind: Kind::Text {
            range: "an IP address, or none",
            pattern: patterns::ADDRESS_OR_NONE,
            examples: &[],
            booleans: &[],
            set: |policy, text| {
                policy.virtual_ip = match text {
                    text if text.eq_ignore_ascii_case("none") => None,
                    text => Some(text.parse().ok()?),
                };
                Some(())
            },
            get: |policy| match policy.virtual_ip {
                Some(ip) => ip.to_string(),
                None => "none".to_owned(),
            },
            hint: no_hint,
        },
    },
    Key {
        name: "strategy",
        about: "How to compute scores: by least_request (the fewest requests in \
                flight of `choices`, by weight) or random (by weight alone).",
        kind: Kind::Text {
            range: "least_request or random",
            pattern: patterns::STRATEGY,
            examples: &["least_request", "random"],
            booleans: &[],
            set: |policy, text| {
                policy.strategy = match &*text.to_ascii_lowercase() {
                    "least_request" | "least-request" => StrategyName::LeastRequest,
                    "random" => StrategyName::Random,
                    _ => return None,
                };
                Some(())
            },
            get: |policy| {
                match policy.strategy {
                    StrategyName::LeastRequest => "least_request",
                    StrategyName::Random => "random",
                }
                .to_owned()
            },
            hint: no_hint,
        },
    },
    Key {
        name: "choices",
        about: "The number of endpoints that one pick compares.",
        kind: Kind::Whole { bounds: 1..=8, field: |policy| &mut policy.choices },
    },
    Key {
        name: "zone",
        about: "How to use the caller's own zone: prefer (own zone first; others as \
                far as it lacks capacity), strict (own zone only) or off (zones have no effect).",
        kind: Kind::Text {
            range: "prefer, strict or off",
            pattern: patterns::ZONE,
            examples: &["prefer", "strict", "off"],
            booleans: &[false],
            set: |policy, text| {
                policy.zone = match &*text.to_ascii_lowercase() {
                    "prefer" => ZoneMode::Prefer,
                    "strict" => ZoneMode::Strict,
                    // YAML 1.1 reads off as false, and Helm with it.
                    "off" | "false" => ZoneMode::Off,
                    _ => return None,
                };
                Some(())
            },
            get: |policy| {
                match policy.zone {
                    ZoneMode::Prefer => "prefer",
                    ZoneMode::Strict => "strict",
                    ZoneMode::Off => "off",
                }
                .to_owned()
            },
            hint: no_hint,
        },
    },
    Key {
        name: "panic_below",
        about: "Panic mode: if fewer than this share of the ready endpoints would be \
                left, the agent ignores its own judgements.",
        kind: Kind::Number { bounds: 0.0..=1.0, field: |policy| &mut policy.panic_below },
    },
    Key {
        name: "outlier.enabled",
        about: "Whether the agent avoids endpoints that fail: on or off.",
        kind: Kind::Text {
            range: "on or off",
            pattern: patterns::SWITCH,
            examples: &["on", "off"],
            booleans: &[true, false],
            set: |policy, text| {
                policy.outlier.enabled = match &*text.to_ascii_lowercase() {
                    "on" | "true" | "enabled" => true,
                    "off" | "false" | "disabled" => false,
                    _ => return None,
                };
                Some(())
            },
            get: |policy| if policy.outlier.enabled { "on" } else { "off" }.to_owned(),
            hint: no_hint,
        },
    },
    Key {
        name: "outlier.min_requests",
        about: "This many failures in a row eject an endpoint, if the other endpoints \
                do well.",
        kind: Kind::Whole { bounds: 1..=10_000, field: |policy| &mut policy.outlier.min_requests },
    },
    Key {
        name: "outlier.base_ejection",
        about: "The time of the first ejection, 100ms to 1h. Each further ejection \
                takes twice as long.",
        kind: Kind::Ejection { example: "5s", field: |policy| &mut policy.outlier.base_ejection },
    },
    Key {
        name: "outlier.max_ejection",
        about: "The longest time of an ejection, 100ms to 1h.",
        kind: Kind::Ejection { example: "1m30s", field: |policy| &mut policy.outlier.max_ejection },
    },
    Key {
        name: "outlier.max_ejected",
        about: "The largest share of the ready endpoints that may be ejected at the \
                same time.",
        kind: Kind::Number { bounds: 0.0..=1.0, field: |policy| &mut policy.outlier.max_ejected },
    },
    Key {
        name: "retry.ratio",
        about: "The retries that each request allows.",
        kind: Kind::Number { bounds: 0.0..=1.0, field: |policy| &mut policy.retry.ratio },
    },
    Key {
        name: "retry.per_second",
        about: "The retries allowed per second, in addition.",
        kind: Kind::Number { bounds: 0.0..=10_000.0, field: |policy| &mut policy.retry.per_second },
    },
];

impl Key {
    /// Sets it from text. Err: what would be valid.
    pub fn set(&self, policy: &mut Policy, text: &str) -> Result<(), String> {
        let mut next = policy.clone();
        self.kind.set(&mut next, text.trim()).ok_or_else(|| {
            let (range, hint) = (self.kind.range(), self.kind.hint(text));
            format!("{} is \"{}\": it must be {range}{hint}", self.name, printable(text))
        })?;
        *policy = next;
        Ok(())
    }

    /// Its value as text, which [`Self::set`] takes.
    pub fn get(&self, policy: &Policy) -> String {
        self.kind.get(policy)
    }
}

/// The setting of this name, however its parts are joined.
pub fn find(name: &str) -> Option<&'static Key> {
    let canonical = name.replace('-', "_");
    // People write `outlier: off`.
    let canonical = if canonical == "outlier" { "outlier.enabled" } else { &canonical };
    KEYS.iter().find(|key| key.name == canonical)
}

/// Like [`find`]. Err: similar keys.
pub fn key(name: &str) -> Result<&'static Key, String> {
    find(name).ok_or_else(|| {
        let near = near_keys(name);
        let name = printable(name);
        let known = KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
        match near.is_empty() {
            true => format!("no setting \"{name}\"; the settings are {known}"),
            false => format!("no setting \"{name}\"{}", did_you_mean(&near)),
        }
    })
}

/// Validates the settings that a source tells of a service: each gets its canonical key, and a mark
/// if it is invalid.
///
/// A setting with an unknown key goes under the key that it probably means, if that is clear. With
/// `mod: off` in place of `mode: off`, the mode is what is invalid, and must not fall back to `on`.
pub fn validated(settings: impl IntoIterator<Item = Setting>) -> Vec<Setting> {
    let mut policy = Policy::default();
    let mut settings: Vec<Setting> = settings.into_iter().collect();
    let mut unknown = Vec::new();
    for (at, setting) in settings.iter_mut().enumerate() {
        match key(&setting.key) {
            Ok(key) => {
                setting.key = key.name.to_owned();
                let set = key.set(&mut policy, &setting.value);
                setting.wrong = set.err().map(wrong);
            }
            Err(why) => {
                setting.wrong = Some(wrong(why));
                unknown.push(at);
            }
        }
    }
    for at in unknown {
        let meant = meant(&settings[at].key).map(|key| key.name);
        if let Some(meant) = meant.filter(|meant| settings.iter().all(|it| it.key != *meant)) {
            settings[at].key = meant.to_owned();
        }
    }
    let ejection = policy.outlier;
    if ejection.base_ejection > ejection.max_ejection {
        let mut pair: Vec<&mut Setting> = (settings.iter_mut())
            .filter(|it| it.wrong.is_none() && EJECTIONS.contains(&&*it.key))
            .collect();
        // If only one is here, it may contradict another layer's; `resolve` settles that.
        let both = EJECTIONS.iter().all(|key| pair.iter().any(|it| it.key == *key));
        for setting in pair.iter_mut().filter(|_| both) {
            setting.wrong = Some(wrong(format!(
                "{} {} is longer than {} {}: it must not be longer",
                EJECTIONS[0],
                humantime::format_duration(ejection.base_ejection),
                EJECTIONS[1],
                humantime::format_duration(ejection.max_ejection)
            )));
        }
    }
    settings
}

/// The first ejection, and the longest.
pub const EJECTIONS: [&str; 2] = ["outlier.base_ejection", "outlier.max_ejection"];

fn wrong(why: String) -> Box<SettingError> {
    Box::new(SettingError { why, before: PreviousValue::default() })
}

/// The key that an unknown one probably means.
fn meant(name: &str) -> Option<&'static Key> {
    // As in `mode: {a: b}`. But `outlier: {max_ejecton: 3m}` does not concern all of `outlier`.
    let outer = name.split_once('.').map(|(outer, _)| outer);
    let near = near_keys(name);
    let meant = match &near[..] {
        [only] => Some(&**only),
        _ => outer,
    };
    KEYS.iter().find(|key| meant == Some(key.name))
}

fn near_keys(name: &str) -> Vec<String> {
    similar(&name.replace('-', "_").to_ascii_lowercase(), KEYS.iter().map(|key| key.name))
}

/// A percentage of 0% to 100%, in digits.
fn percent(text: &str) -> Option<u8> {
    let digits = text.strip_suffix('%')?.trim_end();
    let share: u8 = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
    Some(share).filter(|share| *share <= 100)
}

fn no_hint(_: &str) -> &'static str {
    ""
}

fn mode_hint(text: &str) -> &'static str {
    let number = text.trim().strip_suffix('%').unwrap_or(text).trim();
    match (number.parse::<f64>(), text.contains('%')) {
        (Ok(share), true) if share.fract() != 0.0 => "; a percentage has no fractions",
        (Ok(share), false) if (0.0..=100.0).contains(&share) => "; a percentage ends with %",
        _ => "",
    }
}
