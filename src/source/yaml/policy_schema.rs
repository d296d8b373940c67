//! What a `policy:` block may say, for editors that know JSON Schema: made from the table of the
//! settings.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::policy_block::PolicyBlock;
use crate::policy::{
    Kind,
    patterns::DURATION,
    settings::{GROUPS, KEYS, Key, find},
};

impl JsonSchema for PolicyBlock {
    fn schema_name() -> Cow<'static, str> {
        "Policy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let keys = KEYS.iter().filter(|key| !key.name.contains('.'));
        let keys = keys.map(|key| (key.name.to_owned(), value(key)));
        let groups = GROUPS.iter().map(|(name, about)| ((*name).to_owned(), group(name, about)));
        json_schema!({
            "description": "How a service is balanced.",
            "type": "object",
            "properties": keys.chain(groups).collect::<Map<_, _>>(),
            "additionalProperties": false,
        })
    }
}

/// The settings that begin with a name: `outlier: {min_requests: 5}`. The name alone may have a
/// meaning, too: `outlier: off`.
fn group(name: &str, about: &str) -> Value {
    let keys = KEYS.iter().filter_map(|key| {
        let (outer, inner) = key.name.split_once('.')?;
        (outer == name).then(|| (inner.to_owned(), value(key)))
    });
    let mut schema = json!({
        "type": "object",
        "properties": keys.collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    if let Some(alone) = find(name) {
        schema = json!({ "anyOf": [value(alone), schema] });
    }
    schema["description"] = about.into();
    schema
}

fn value(key: &Key) -> Value {
    let mut schema = match &key.kind {
        Kind::Text { pattern, examples, booleans, .. } => {
            let mut text = json!({ "type": "string", "pattern": pattern });
            if !examples.is_empty() {
                text["examples"] = json!(examples);
            }
            // A pattern concerns texts only.
            if !booleans.is_empty() {
                text["type"] = json!(["string", "boolean"]);
            }
            if let [only] = booleans {
                text["not"] = json!({ "const": !only });
            }
            text
        }
        Kind::Whole { bounds, .. } => {
            json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() })
        }
        Kind::Number { bounds, .. } => {
            json!({ "type": "number", "minimum": bounds.start(), "maximum": bounds.end() })
        }
        Kind::Ejection { .. } => json!({ "type": "string", "pattern": DURATION }),
    };
    schema["description"] = key.about.into();
    schema
}
