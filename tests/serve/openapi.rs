//! Compares /openapi.json with the routes, the messages and the real answers.

use std::collections::BTreeSet;

use http::Method;
use jsonschema::Validator;
use pointsman::serve::http::PATHS;
use serde_json::{Value, json};

use crate::support::{Agent, Http, SHOP};

async fn document(http: &mut Http) -> Value {
    let (status, headers, document) = http.send(Method::GET, "/openapi.json", Vec::new()).await;
    assert_eq!(
        (status.as_u16(), &headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    document
}

/// Each method and path in the description.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    methods.collect()
}

/// A validator for a schema of the document, with the schemas that it refers to.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut whole = json!({ "components": document["components"], "allOf": [schema] });
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    jsonschema::validator_for(&whole).unwrap()
}

fn of_message(document: &Value, name: &str) -> Validator {
    validator(document, &json!({ "$ref": format!("#/components/schemas/{name}") }))
}

/// All objects that have a schema and an example.
fn examples(value: &Value) -> Vec<(&Value, &Value)> {
    let mut found = Vec::new();
    match value {
        Value::Object(members) => {
            if let (Some(schema), Some(example)) = (members.get("schema"), members.get("example")) {
                found.push((schema, example));
            }
            found.extend(members.values().flat_map(examples));
        }
        Value::Array(items) => found.extend(items.iter().flat_map(examples)),
        _ => {}
    }
    found
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let document = document(&mut http).await;
    assert_eq!(document["openapi"], "3.1.0");
    let served: BTreeSet<(String, String)> = PATHS
        .split(", ")
        .map(|each| each.split_once(' ').unwrap())
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(described(&document), served);
    for (method, path) in served {
        let path = path.replace("{service}", "cart.shop");
        let method: Method = method.parse().unwrap();
        let (status, _, body) = http.send(method.clone(), &path, b"{}".to_vec()).await;
        assert!(!matches!(status.as_u16(), 404 | 405), "{method} {path}: {body}");
        let (status, headers, _) = http.send(Method::DELETE, &path, Vec::new()).await;
        let allowed =
            headers["allow"].to_str().unwrap().split(',').any(|each| each == method.as_str());
        assert!(status == 405 && allowed, "{path}: {headers:?}");
    }
}

#[tokio::test]
async fn every_example_is_as_its_schema_says() {
    let agent = Agent::with(SHOP);
    let document = document(&mut agent.http().await).await;
    let examples = examples(&document["paths"]);
    assert_eq!(examples.len(), 9);
    for (schema, example) in examples {
        let errors: Vec<String> = validator(&document, schema)
            .iter_errors(example)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{example}: {errors:?}");
    }
}

#[tokio::test]
async fn real_answers_are_as_their_schemas_say_with_no_field_that_is_not_described() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let document = document(&mut http).await;
    let (_, picked) = http.post("/v1/pick", r#"{"service": "cart.shop", "count": 2}"#).await;
    let report = json!({ "reports": [
        { "lease": picked["picks"][0]["lease"], "outcome": "SUCCESS", "latency": "0.1s" },
        { "lease": "unknown", "outcome": "FAILURE" },
    ] });
    let (_, reported) = http.post("/v1/report", report.to_string()).await;
    let answers = [
        ("PickResponse", picked),
        ("ReportResponse", reported),
        ("ListServicesResponse", http.get("/v1/services?pageSize=1").await.1),
        ("GetServiceResponse", http.get("/v1/services/pay.shop").await.1),
        ("ExplainResponse", http.get("/v1/services/cart.shop/explain").await.1),
        ("Error", http.get("/v1/services/crat.shop").await.1),
        ("Error", http.post("/v1/pick", "{}").await.1),
        ("Error", http.get("/nowhere").await.1),
    ];
    // The answers must not have fields that the description does not have.
    let mut strict = document.clone();
    for (name, schema) in strict["components"]["schemas"].as_object_mut().unwrap() {
        if name != "Error" {
            schema["additionalProperties"] = false.into();
        }
    }
    for (name, answer) in answers {
        let errors: Vec<String> = of_message(&strict, name)
            .iter_errors(&answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name} {answer}: {errors:?}");
    }
}

#[tokio::test]
async fn the_bounds_described_are_those_that_hold() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let document = document(&mut http).await;
    let picks = of_message(&document, "PickRequest");
    let pick = |more: Value| {
        let mut pick = json!({ "service": "cart.shop" });
        pick.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pick
    };
    let address = |index: usize| format!("10.0.{}.{}:80", index / 250, index % 250);
    let addresses = |count: usize| (0..count).map(address).collect::<Vec<_>>();
    let label = |length: usize| json!({ "selector": { "shard": "x".repeat(length) } });
    for (request, right) in [
        (json!({}), false),
        (json!({ "service": "" }), false),
        (json!({ "service": "cart" }), false),
        (json!({ "service": "Cart.shop" }), false),
        (json!({ "service": "cart.shop:70000" }), false),
        (json!({ "service": "cart.shop:0" }), false),
        (json!({ "service": "cart.shop.svc.cluster.local" }), true),
        (pick(json!({ "servcie": "cart.shop" })), false),
        (pick(json!({ "count": 64 })), true),
        (pick(json!({ "count": 65 })), false),
        (pick(json!({ "count": -1 })), false),
        (pick(json!({ "cost": 10_000 })), true),
        (pick(json!({ "cost": 10_001 })), false),
        (pick(json!({ "wait": "5s" })), true),
        (pick(json!({ "wait": "5.000000001s" })), false),
        (pick(json!({ "wait": "-1s" })), false),
        (pick(json!({ "wait": "1" })), false),
        (pick(json!({ "wait": null })), true),
        (pick(json!({ "count": null, "selector": null, "hashKey": null, "exclude": null })), true),
        (json!({ "service": null }), false),
        (pick(json!({ "exclude": [null] })), false),
        (pick(json!({ "selector": { "shard": null } })), false),
        (pick(json!({ "count": 2.0 })), true),
        (pick(json!({ "count": 2.5 })), false),
        (pick(json!({ "leaseTtl": "3600s" })), true),
        (pick(json!({ "leaseTtl": "3600.1s" })), false),
        (pick(json!({ "leaseTtl": "0.5s" })), true),
        (pick(json!({ "leaseTtl": "0s" })), false),
        (pick(json!({ "leaseTtl": "0.000000000s" })), false),
        (pick(json!({ "exclude": addresses(256) })), true),
        (pick(json!({ "exclude": addresses(257) })), false),
        (pick(json!({ "exclude": ["[0:0:0:0:0:0:0:1]:80"] })), true),
        (pick(json!({ "exclude": ["10.0.0.256:80"] })), false),
        (pick(json!({ "exclude": ["cart:80"] })), false),
        (pick(json!({ "hashKey": "x".repeat(4096) })), true),
        (pick(json!({ "hashKey": "x".repeat(4097) })), false),
        (pick(label(254)), false),
        (pick(json!({ "selector": { "": "1" } })), false),
    ] {
        let (status, body) = http.post("/v1/pick", request.to_string()).await;
        assert_eq!(status == 200, right, "{request}: {body}");
        assert_eq!(picks.is_valid(&request), right, "{request}: as described");
    }
    // No endpoint has this label, which is a different error.
    assert!(picks.is_valid(&pick(label(253))));
    let (status, body) = http.post("/v1/pick", pick(label(253)).to_string()).await;
    assert_eq!(status, 503, "{body}");

    let reports = of_message(&document, "ReportRequest");
    for (report, right) in [
        (json!({ "lease": "x" }), false),
        (json!({ "outcome": "SUCCESS" }), false),
        (json!({ "lease": "x", "outcome": "SUCCESS" }), true),
        (json!({ "lease": "x", "outcome": "GREAT" }), false),
        (json!({ "lease": "x", "event": "ENDED" }), false),
        (json!({ "lease": "x", "event": "RENEWED" }), true),
        (json!({ "lease": "x", "event": 2 }), true),
        (json!({ "lease": "x", "event": 3 }), false),
        (json!({ "lease": "x", "outcome": 0 }), false),
        (json!({ "lease": "x", "outcome": 6 }), true),
        (json!({ "lease": "x", "event": "STARTED", "leaseTtl": "2h" }), false),
        (json!({ "lease": "x", "outcome": "SUCCESS", "leaseTtl": "7200s" }), false),
        (json!({ "lease": "x", "event": "RENEWED", "latency": "-1s" }), false),
        (json!({ "lease": "x", "outcome": "SUCCESS", "latency": "86400s" }), true),
        (json!({ "lease": "x", "outcome": "SUCCESS", "latency": "86401s" }), false),
        (json!({ "lease": "x", "outcome": "SUCCESS", "load": null }), true),
        (json!({ "lease": "x", "outcome": "SUCCESS", "event": null, "retry": null }), true),
        (json!({ "lease": "x", "outcome": null }), false),
        (json!({ "lease": "x", "outcome": null, "event": 2.0 }), true),
        (json!({ "lease": null, "outcome": "SUCCESS" }), false),
        (json!({ "lease": "x", "outcome": "SUCCESS", "load": { "qps": -1 } }), false),
        (json!({ "lease": "x", "outcome": "SUCCESS", "load": { "utilization": 1.5 } }), true),
    ] {
        let request = json!({ "reports": [report] });
        let (status, body) = http.post("/v1/report", request.to_string()).await;
        assert_eq!(status == 200, right, "{request}: {body}");
        assert_eq!(reports.is_valid(&request), right, "{request}: as described");
    }
}

#[tokio::test]
async fn fields_and_calls_are_described_in_the_words_of_the_proto() {
    let agent = Agent::with(SHOP);
    let document = document(&mut agent.http().await).await;
    let schemas = &document["components"]["schemas"];
    let exclude = &schemas["PickRequest"]["properties"]["exclude"];
    assert!(exclude["description"].as_str().unwrap().contains("those already tried"), "{exclude}");
    let kind = &schemas["WatchEvent"]["properties"]["type"];
    assert_eq!(kind["enum"], json!(["SNAPSHOT", "DELTA", "BOOKMARK"]));
    assert!(kind["description"].as_str().unwrap().contains("`DELTA`: What differs"), "{kind}");
    let pick = &document["paths"]["/v1/pick"]["post"];
    assert!(pick["description"].as_str().unwrap().starts_with("Chooses endpoints"), "{pick}");
}
