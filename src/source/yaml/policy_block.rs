//! The `policy:` block of a YAML file, as settings with their places.
//!
//! An invalid setting must not cost the service. It is marked, and [`crate::policy::resolve()`]
//! keeps the previous value in force and reports it.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use super::{document, patterns};
use crate::{
    catalog::Setting,
    policy::settings::validated,
    source::problem::{Place, Problem},
};

/// The settings of a `policy:` block, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyBlock {
    /// Key (`outlier.min_requests`), value, and place of the value.
    pub settings: Vec<(String, String, Location)>,
}

impl PolicyBlock {
    /// The validated settings; `kind`: the kind of the file, for a person.
    pub fn settings(&self, kind: &str, file: &Arc<str>) -> Vec<Setting> {
        validated(self.settings.iter().map(|(key, value, at)| {
            let place = Place { column: None, ..document::place(file, *at) };
            Setting::new(key, value, format!("{kind} {place}"))
        }))
    }
}

impl PolicyBlock {
    /// The problems of the block; `path`: its field.
    pub fn problems(&self, file: &Arc<str>, path: &str) -> Vec<Problem> {
        let validated = self.settings("line", &"".into());
        let wrong = self.settings.iter().zip(validated).filter_map(|((key, _, at), setting)| {
            let place = document::place(file, *at);
            Some(Problem { place, field: format!("{path}.{key}"), what: setting.wrong?.why })
        });
        wrong.collect()
    }
}

impl<'de> Deserialize<'de> for PolicyBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Block;
        impl<'de> Visitor<'de> for Block {
            type Value = PolicyBlock;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings (name: value)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PolicyBlock, A::Error> {
                let mut block = PolicyBlock::default();
                while let Some(key) = map.next_key::<String>()? {
                    let value: Spanned<Value> = map.next_value()?;
                    match value.value {
                        Value::Scalar(text) => {
                            block.settings.push((key, text, value.referenced));
                        }
                        Value::Nested(nested) => {
                            let nested = nested
                                .into_iter()
                                .map(|(inner, text, at)| (format!("{key}.{inner}"), text, at));
                            block.settings.extend(nested);
                        }
                    }
                }
                Ok(block)
            }
        }
        deserializer.deserialize_map(Block)
    }
}

enum Value {
    Scalar(String),
    Nested(Vec<(String, String, Location)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or settings (name: value)")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Scalar(text.to_owned()))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Scalar(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Scalar(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
                Ok(Value::Scalar(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Scalar(value.to_string()))
            }

            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Scalar(String::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut nested = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value: Spanned<Value> = map.next_value()?;
                    match value.value {
                        Value::Scalar(text) => nested.push((key, text, value.referenced)),
                        Value::Nested(_) => {
                            return Err(A::Error::custom(format!(
                                "\"{key}\" is nested too deep: settings have two levels at most, \
                                 such as outlier: {{min_requests: 5}}"
                            )));
                        }
                    }
                }
                Ok(Value::Nested(nested))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// The settings of a service's policy.
#[derive(JsonSchema)]
#[schemars(rename = "Policy", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct PolicySchema {
    /// Which requests are balanced: off, shadow, a whole percentage of 0% to 100%, or on.
    mode: Option<ModeSchema>,
    /// The address for requests that are not balanced: the service's virtual IP at kube-proxy, or none.
    #[schemars(regex(pattern = patterns::ADDRESS_OR_NONE))]
    virtual_ip: Option<String>,
    /// How to compute scores: by least_request (the fewest requests in flight of `choices`, by weight)
    /// or random (by weight alone).
    #[schemars(regex(pattern = patterns::STRATEGY), extend("examples" = ["least_request", "random"]))]
    strategy: Option<String>,
    /// The number of endpoints that one pick compares.
    #[schemars(range(min = 1, max = 8))]
    choices: Option<u32>,
    /// How to use the caller's own zone: prefer, strict or off.
    zone: Option<ZoneSchema>,
    /// Panic mode: if fewer than this share of the ready endpoints would be left, the agent ignores its
    /// own judgements.
    #[schemars(range(min = 0.0, max = 1.0))]
    panic_below: Option<f64>,
    /// How the agent avoids endpoints that fail.
    outlier: Option<OutlierSchema>,
    /// How many retries callers may make.
    retry: Option<RetrySchema>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Mode", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum ModeSchema {
    /// off, shadow, a whole percentage of 0% to 100%, or on.
    Word(#[schemars(regex(pattern = patterns::MODE))] String),
    /// Whether requests are balanced.
    Bool(bool),
}

#[derive(JsonSchema)]
#[schemars(rename = "Zone", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum ZoneSchema {
    /// prefer (own zone first; others as far as it lacks capacity), strict (own zone only) or off
    /// (zones have no effect).
    Word(
        #[schemars(
            regex(pattern = patterns::ZONE),
            extend("examples" = ["prefer", "strict", "off"])
        )]
        String,
    ),
    /// off, as YAML 1.1 reads it, and Helm with it.
    No(#[schemars(extend("const" = false))] bool),
}

#[derive(JsonSchema)]
#[schemars(rename = "Outlier", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum OutlierSchema {
    /// Whether the agent avoids endpoints that fail.
    Switch(SwitchSchema),
    Settings(OutlierSettings),
}

#[derive(JsonSchema)]
#[schemars(rename = "Switch", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum SwitchSchema {
    /// on or off; also true or false, enabled or disabled.
    Word(#[schemars(regex(pattern = patterns::SWITCH), extend("examples" = ["on", "off"]))] String),
    Bool(bool),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct OutlierSettings {
    /// Whether the agent avoids endpoints that fail.
    enabled: Option<SwitchSchema>,
    /// This many failures in a row eject an endpoint, if the other endpoints do well.
    #[schemars(range(min = 1, max = 10_000))]
    min_requests: Option<u32>,
    /// The time of the first ejection, 100ms to 1h. Each further ejection takes twice as long.
    #[schemars(regex(pattern = patterns::DURATION))]
    base_ejection: Option<String>,
    /// The longest time of an ejection, 100ms to 1h.
    #[schemars(regex(pattern = patterns::DURATION))]
    max_ejection: Option<String>,
    /// The largest share of the ready endpoints that may be ejected at the same time.
    #[schemars(range(min = 0.0, max = 1.0))]
    max_ejected: Option<f64>,
}

#[derive(JsonSchema)]
#[schemars(rename = "Retry", deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct RetrySchema {
    /// The retries that each request allows.
    #[schemars(range(min = 0.0, max = 1.0))]
    ratio: Option<f64>,
    /// The retries allowed per second, in addition.
    #[schemars(range(min = 0.0, max = 10_000.0))]
    per_second: Option<f64>,
}
