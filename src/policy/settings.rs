//! All settings by name: how each is read from text, its range, and how it is printed.
//!
//! A key has one spelling in tables and explanations (`outlier.min_requests`). In YAML its parts
//! nest. In an annotation dashes may stand for underscores (`pointsman.dev/outlier.min-requests`).

use std::time::Duration;

use super::{Mode, Policy, StrategyName, ZoneMode};
use crate::{
    catalog::{PreviousValue, Setting, SettingError},
    printable::printable,
    suggest::{did_you_mean, similar},
};

/// One setting: its key, its range, and the conversion between text and [`Policy`].
pub struct Key {
    /// As in tables: `outlier.min_requests`.
    pub name: &'static str,
    /// The valid values, for a person: `1 to 8`.
    pub range: &'static str,
    set: fn(&mut Policy, &str) -> Option<()>,
    get: fn(&Policy) -> String,
    /// A hint on what an invalid value probably means; empty: none.
    hint: fn(&str) -> &'static str,
}

/// All settings, in the order of the documentation.
pub const KEYS: &[Key] = &[
    Key {
        name: "mode",
        range: "off, shadow, a whole percentage of 0% to 100%, or on",
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
    Key {
        name: "virtual_ip",
        range: "an IP address, or none",
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
    Key {
        name: "strategy",
        range: "least_request or random",
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
    Key {
        name: "choices",
        range: "1 to 8",
        set: |policy, text| whole(&mut policy.choices, text, 1, 8),
        get: |policy| policy.choices.to_string(),
        hint: no_hint,
    },
    Key {
        name: "zone",
        range: "prefer, strict or off",
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
    Key {
        name: "panic_below",
        range: "0 to 1",
        set: |policy, text| number(&mut policy.panic_below, text, 0.0, 1.0),
        get: |policy| share(policy.panic_below),
        hint: no_hint,
    },
    Key {
        name: "outlier.enabled",
        range: "on or off",
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
    Key {
        name: "outlier.min_requests",
        range: "1 to 10000",
        set: |policy, text| whole(&mut policy.outlier.min_requests, text, 1, 10_000),
        get: |policy| policy.outlier.min_requests.to_string(),
        hint: no_hint,
    },
    Key {
        name: "outlier.base_ejection",
        range: "a duration of 100ms to 1h, such as 5s",
        set: |policy, text| duration(&mut policy.outlier.base_ejection, text),
        get: |policy| humantime::format_duration(policy.outlier.base_ejection).to_string(),
        hint: no_hint,
    },
    Key {
        name: "outlier.max_ejection",
        range: "a duration of 100ms to 1h, such as 1m30s",
        set: |policy, text| duration(&mut policy.outlier.max_ejection, text),
        get: |policy| humantime::format_duration(policy.outlier.max_ejection).to_string(),
        hint: no_hint,
    },
    Key {
        name: "outlier.max_ejected",
        range: "0 to 1",
        set: |policy, text| number(&mut policy.outlier.max_ejected, text, 0.0, 1.0),
        get: |policy| share(policy.outlier.max_ejected),
        hint: no_hint,
    },
    Key {
        name: "retry.ratio",
        range: "0 to 1",
        set: |policy, text| number(&mut policy.retry.ratio, text, 0.0, 1.0),
        get: |policy| share(policy.retry.ratio),
        hint: no_hint,
    },
    Key {
        name: "retry.per_second",
        range: "0 to 10000",
        set: |policy, text| number(&mut policy.retry.per_second, text, 0.0, 10_000.0),
        get: |policy| share(policy.retry.per_second),
        hint: no_hint,
    },
];

/// Shortest and longest ejection. A shorter one gives the endpoint no rest; a longer one would be
/// an outage whose cause nobody remembers.
const EJECTION: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

impl Key {
    /// Sets it from text. Err: what would be valid.
    pub fn set(&self, policy: &mut Policy, text: &str) -> Result<(), String> {
        let mut next = policy.clone();
        (self.set)(&mut next, text.trim()).ok_or_else(|| {
            let hint = (self.hint)(text);
            let text = printable(text);
            format!("{} is \"{text}\": it must be {}{hint}", self.name, self.range)
        })?;
        *policy = next;
        Ok(())
    }

    /// Its value as text, which [`Self::set`] takes.
    pub fn get(&self, policy: &Policy) -> String {
        (self.get)(policy)
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

fn whole(field: &mut u32, text: &str, least: u32, most: u32) -> Option<()> {
    *field = text.parse().ok().filter(|number| (least..=most).contains(number))?;
    Some(())
}

fn number(field: &mut f64, text: &str, least: f64, most: f64) -> Option<()> {
    *field = text.parse().ok().filter(|number| (least..=most).contains(number))?;
    Some(())
}

fn duration(field: &mut Duration, text: &str) -> Option<()> {
    *field = humantime::parse_duration(text).ok().filter(|it| EJECTION.contains(it))?;
    Some(())
}

fn share(value: f64) -> String {
    // Rounded, since the default of a third has no finite decimal form.
    format!("{}", (value * 1e4).round() / 1e4)
}
