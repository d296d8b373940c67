//! The bounds of requests as JSON Schema. They come from `limits` and the parsers; the proto has none.

use serde_json::{Value, json};

use crate::{catalog::name::MAX_NAME, serve::limits};

/// Seconds with up to nine decimals.
pub(super) const DURATION: &str = r"^[0-9]+(\.[0-9]{1,9})?s$";

/// The version of a watch event.
pub(super) const VERSION: &str = r"^[0-9a-f]{8}\.[0-9]{1,19}$";

/// A label's names and values.
const LABELS: usize = limits::MAX_LABEL;

/// The least number that does not round to a 32-bit float: half a step above the greatest one.
const BEYOND_FLOAT: f64 = f32::MAX as f64 + (1_u128 << 103) as f64;

/// A part of a service's name (RFC 1123).
const LABEL: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";

/// The name of a service, as calls take it.
pub(super) fn service() -> Value {
    // 1 to 65535, or a name. The pattern leaves out names that begin with a digit.
    let port = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]\
                |6553[0-5]|[a-z]([-a-z0-9]{0,61}[a-z0-9])?";
    json!({
        "type": "string",
        "maxLength": MAX_NAME,
        "pattern": format!(
            r"^{LABEL}\.{LABEL}(\.svc(\.cluster\.local)?)?(@{LABEL})?(:({port}))?$"
        ),
        "examples": ["cart.shop", "pay.shop:grpc"],
    })
}

/// Up to 5 s.
fn wait() -> Value {
    json!({ "pattern": r"^([0-4](\.[0-9]{1,9})?|5(\.0{1,9})?)s$" })
}

/// Above zero, up to an hour.
fn lease_ttl() -> Value {
    let seconds = "[1-9][0-9]{0,2}|[12][0-9]{3}|3[0-5][0-9]{2}";
    json!({
        "pattern": format!(
            r"^(0\.[0-9]{{0,8}}[1-9]|({seconds})(\.[0-9]{{1,9}})?|3600(\.0{{1,9}})?)s$"
        ),
    })
}

/// Up to a day.
fn latency() -> Value {
    let seconds = "[0-9]{1,4}|[1-7][0-9]{4}|8[0-5][0-9]{3}|86[0-3][0-9]{2}";
    json!({
        "pattern": format!(r"^(({seconds})(\.[0-9]{{1,9}})?|86400(\.0{{1,9}})?)s$"),
    })
}

/// An address and a port. Shorter forms of IPv6 are accepted too, beyond this pattern.
fn endpoint() -> Value {
    let byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let port = "([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3})";
    json!({
        "type": "string",
        "pattern": format!(
            r"^(({byte}\.){{3}}{byte}|\[([0-9a-f]{{1,4}}:){{7}}[0-9a-f]{{1,4}}\]):{port}$"
        ),
        "examples": ["10.1.2.3:8080"],
    })
}

/// The bounds of one field.
pub(super) fn field(message: &str, field: &str) -> Value {
    match (message, field) {
        ("PickRequest", "service") => service(),
        ("PickRequest", "selector") => json!({
            "maxProperties": limits::MAX_SELECTOR,
            "propertyNames": { "minLength": 1, "maxLength": LABELS },
            "additionalProperties": { "maxLength": LABELS },
        }),
        ("PickRequest", "hashKey") => json!({ "maxLength": limits::MAX_HASH_KEY }),
        ("PickRequest", "exclude") => {
            json!({ "maxItems": limits::MAX_EXCLUDE, "items": endpoint() })
        }
        ("PickRequest", "count") => json!({ "maximum": limits::MAX_COUNT }),
        ("PickRequest", "cost") => json!({ "maximum": limits::MAX_COST }),
        ("PickRequest", "wait") => wait(),
        ("PickRequest" | "Report", "leaseTtl") => lease_ttl(),
        ("Report", "lease") => json!({ "minLength": 1 }),
        ("Report", "latency") => latency(),
        ("ServerLoad", "utilization" | "inFlight" | "qps" | "eps") => {
            json!({ "minimum": 0, "exclusiveMaximum": BEYOND_FLOAT })
        }
        ("ReportRequest", "reports") => json!({ "maxItems": limits::MAX_REPORTS }),
        _ => Value::Null,
    }
}

/// Whether callers send this message.
pub(super) fn is_request(message: &str) -> bool {
    matches!(message, "PickRequest" | "ReportRequest" | "Report" | "ServerLoad")
}

/// Whether a field's default is refused.
pub(super) fn is_required(message: &str, field: &str) -> bool {
    self::message(message)["required"].as_array().is_some_and(|all| all.contains(&field.into()))
}

/// The bounds of a message as a whole.
pub(super) fn message(name: &str) -> Value {
    match name {
        "PickRequest" => json!({ "required": ["service"], "additionalProperties": false }),
        "ReportRequest" | "ServerLoad" => json!({ "additionalProperties": false }),
        "Report" => json!({
            "required": ["lease"],
            "additionalProperties": false,
            "anyOf": [
                { "required": ["outcome"], "properties": { "outcome": { "not": { "type": "null" } } } },
                {
                    "required": ["event"],
                    "properties": { "event": { "enum": ["STARTED", "RENEWED", 1, 2] } },
                },
            ],
        }),
        _ => Value::Null,
    }
}
