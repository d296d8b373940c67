//! The HTTP API in OpenAPI 3.1, as `schema/openapi.json` has it and `GET /openapi.json` answers it.
//!
//! Messages, fields and their descriptions come from `proto/`, their bounds from `limits` (in
//! `bounds`). This file has the paths, and the errors of each.

use std::{env, fs, path::Path};

use serde_json::{Map, Value, json};

use self::schemas::Schemas;
use crate::serve::{
    Violation,
    calls::list::MAX_PAGE,
    error::{self, Error},
    limits,
};

mod bounds;
mod schemas;

/// `POINTSMAN_WRITE_SCHEMAS=1 cargo test --lib openapi` writes the file anew.
#[test]
fn the_committed_description_is_what_the_messages_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/openapi.json");
    let current = format!("{:#}\n", written());
    if env::var_os("POINTSMAN_WRITE_SCHEMAS").is_some() {
        return fs::write(&path, &current).unwrap();
    }
    assert!(
        super::calls::OPENAPI == current,
        "{} is not what proto/ and limits.rs say: run POINTSMAN_WRITE_SCHEMAS=1 cargo test --lib \
         openapi",
        path.display()
    );
}

struct Operation {
    method: &'static str,
    path: &'static str,
    call: &'static str,
    parameters: Vec<Value>,
    /// Message and example.
    request: Option<(&'static str, Value)>,
    /// Content type, message and example.
    answers: Vec<(&'static str, &'static str, Value)>,
    /// Statuses of its errors, beside those of every call.
    errors: &'static [u16],
}

const JSON: &str = "application/json";
/// One line for each event of a stream.
const LINES: &str = "application/x-ndjson";

/// What each status of an error means.
const ERRORS: [(u16, &str); 9] = [
    (400, "Part of the request is invalid: `google.rpc.BadRequest` names it."),
    (403, "This caller may not ask for this namespace."),
    (404, "No such service or port. The message has similar names."),
    (408, "The body was not complete in time."),
    (413, "The body is larger than 1 MiB."),
    (429, "This caller, or all callers together, hold too much."),
    (500, "The system gives no memory for a table."),
    (503, "No endpoint can serve. The message has the reason."),
    (504, "The source has not answered in time."),
];

fn written() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for operation in operations() {
        let described = operation.described(&mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    paths.insert("/openapi.json".to_owned(), itself());
    let mut components = schemas.all();
    components.insert("Error".to_owned(), error_schema());
    let errors: Map<String, Value> = ERRORS
        .iter()
        .map(|(status, meaning)| {
            let reference = json!({ "$ref": "#/components/schemas/Error" });
            let content = json!({ JSON: { "schema": reference } });
            (format!("Error{status}"), json!({ "description": meaning, "content": content }))
        })
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman",
            "description": "Asks the agent of this node, over its Unix socket, which endpoint \
                            should serve a request. gRPC has the same calls.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{
            "url": "http://localhost",
            "description": "The Unix socket /run/pointsman/agent.sock. The host name has no \
                            meaning.",
        }],
        "paths": paths,
        "components": { "schemas": components, "responses": errors },
    })
}

impl Operation {
    fn described(&self, schemas: &mut Schemas) -> Value {
        let mut content = Map::new();
        for (kind, message, example) in &self.answers {
            let schema = schemas.message(message);
            content.insert((*kind).to_owned(), json!({ "schema": schema, "example": example }));
        }
        let ok = json!({ "description": "OK", "content": content });
        let mut responses = Map::from_iter([("200".to_owned(), ok)]);
        for status in self.errors {
            let reference = format!("#/components/responses/Error{status}");
            responses.insert(status.to_string(), json!({ "$ref": reference }));
        }
        let mut described = json!({
            "operationId": self.call,
            "description": schemas.call(self.call),
            "parameters": self.parameters,
            "responses": responses,
        });
        if let Some((message, example)) = &self.request {
            let schema = schemas.message(message);
            described["requestBody"] = json!({
                "required": true,
                "content": { JSON: { "schema": schema, "example": example } },
            });
        }
        described
    }
}

fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    let required = place == "path";
    json!({
        "in": place, "name": name, "description": description,
        "required": required, "schema": schema,
    })
}

fn service() -> Value {
    let mut described = parameter("path", "service", "As in PickRequest.", bounds::service());
    described["examples"] = json!({
        "one port": { "value": "cart.shop" },
        "one of several ports": { "value": "pay.shop:grpc" },
    });
    described
}

fn operations() -> Vec<Operation> {
    let pick = json!({
        "address": "10.1.2.3", "port": 8080, "zone": "a", "labels": { "shard": "1" },
        "lease": "9LnV7h0Hk0Vf3mZyq1mXNA",
    });
    let summary = json!({
        "service": "cart.shop", "source": "file services.yaml", "version": "7",
        "ports": [{ "endpoints": 3, "ready": 3 }],
    });
    let endpoint = json!({
        "address": "10.1.2.3", "port": 8080, "zone": "a", "weight": 1.0, "health": "ready",
    });
    let mut seen = endpoint.clone();
    seen["state"] = "serving".into();
    seen["inFlight"] = 2.into();
    vec![
        Operation {
            method: "post",
            path: "/v1/pick",
            call: "Pick",
            parameters: Vec::new(),
            request: Some(("PickRequest", json!({ "service": "cart.shop" }))),
            answers: vec![(JSON, "PickResponse", json!({ "picks": [pick], "plan": "4" }))],
            errors: &[400, 403, 404, 408, 413, 429, 500, 503, 504],
        },
        Operation {
            method: "post",
            path: "/v1/report",
            call: "Report",
            parameters: Vec::new(),
            request: Some((
                "ReportRequest",
                json!({ "reports": [{
                    "lease": "9LnV7h0Hk0Vf3mZyq1mXNA", "outcome": "SUCCESS", "latency": "0.012s",
                }] }),
            )),
            answers: vec![(JSON, "ReportResponse", json!({ "accepted": 1 }))],
            errors: &[400, 408, 413],
        },
        Operation {
            method: "get",
            path: "/v1/services",
            call: "ListServices",
            parameters: vec![
                parameter(
                    "query",
                    "namespace",
                    "Only services of this namespace. Without it: of all namespaces.",
                    json!({ "type": "string", "examples": ["shop"] }),
                ),
                parameter(
                    "query",
                    "pageSize",
                    "The number of services on a page. 0 means 100.",
                    json!({ "type": "integer", "minimum": 0, "maximum": MAX_PAGE }),
                ),
                parameter(
                    "query",
                    "pageToken",
                    "The `nextPageToken` of the previous page.",
                    json!({ "type": "string", "format": "page-token" }),
                ),
            ],
            request: None,
            answers: vec![(
                JSON,
                "ListServicesResponse",
                json!({ "services": [summary], "nextPageToken": "Y2FydC5zaG9w" }),
            )],
            errors: &[400, 504],
        },
        Operation {
            method: "get",
            path: "/v1/services/{service}",
            call: "GetService",
            parameters: vec![
                service(),
                parameter(
                    "query",
                    "watch",
                    "Sends each later change, too: the answer is a line for each WatchEvent, and \
                     has no end.",
                    json!({ "type": "boolean" }),
                ),
                parameter(
                    "query",
                    "since",
                    "With watch: the version of the last event received. If it is still the \
                     newest, nothing is sent again.",
                    json!({ "type": "string", "pattern": bounds::VERSION }),
                ),
            ],
            request: None,
            answers: vec![
                (
                    JSON,
                    "GetServiceResponse",
                    json!({ "service": summary, "port": "http", "endpoints": [seen] }),
                ),
                (
                    LINES,
                    "WatchEvent",
                    json!({
                        "type": "SNAPSHOT", "version": "5c0a91e2.7", "service": "cart.shop",
                        "upserted": [endpoint],
                    }),
                ),
            ],
            errors: &[400, 403, 404, 429, 500, 504],
        },
        Operation {
            method: "get",
            path: "/v1/services/{service}/explain",
            call: "Explain",
            parameters: vec![
                service(),
                parameter(
                    "query",
                    "selector.shard",
                    "Only endpoints whose label `shard` has this value; `selector.LABEL` for any \
                     label.",
                    json!({ "type": "string", "maxLength": limits::MAX_LABEL }),
                ),
            ],
            request: None,
            answers: vec![(
                JSON,
                "ExplainResponse",
                json!({
                    "service": "cart.shop", "plan": "4",
                    "endpoints": [{
                        "address": "10.1.2.3", "port": 8080, "group": "zone a",
                        "state": "serving", "weight": 1.0, "draw": 0.5,
                        "factors": [{ "name": "zone", "value": 1.0, "reason": "in zone a" }],
                    }],
                }),
            )],
            errors: &[400, 403, 404, 429, 500, 504],
        },
        Operation {
            method: "get",
            path: "/v1/callers",
            call: "ListCallers",
            parameters: Vec::new(),
            request: None,
            answers: vec![(
                JSON,
                "ListCallersResponse",
                json!({ "callers": [{
                    "caller": "uid 1000", "leasesOpen": 3, "leasesGiven": 400, "leasesExpired": 20,
                }] }),
            )],
            errors: &[400],
        },
    ]
}

/// The operation that returns this document.
fn itself() -> Value {
    let answer =
        json!({ "description": "OK", "content": { JSON: { "schema": { "type": "object" } } } });
    json!({ "get": {
        "operationId": "OpenApi",
        "description": "This document.",
        "responses": { "200": answer },
    } })
}

/// The schema of `error::Body`.
fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": { "type": "string", "enum": error::CODES.map(error::code_name) },
                "message": { "type": "string" },
                "details": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["@type"],
                        "properties": {
                            "@type": { "type": "string" },
                            "reason": { "type": "string", "description": "Never changes." },
                        },
                    },
                },
            },
        } },
        "example": Error::from(Violation::new("count", "is 99: it must be at most 64")).json(),
    })
}
