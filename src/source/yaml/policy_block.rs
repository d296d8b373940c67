//! The `policy:` block of a YAML file, as settings with their places.
//!
//! An invalid setting must not cost the service. It is marked, and [`crate::policy::resolve()`]
//! keeps the previous value in force and reports it.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use super::document;
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
