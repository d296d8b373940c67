//! Invalid calls: each gets a clear error, and the agent continues to serve.

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::Code;

use crate::support::{Agent, SHOP};

const PICK: &str = "/pointsman.v1.Agent/Pick";

/// The answer of HTTP to a body.
async fn refused(agent: &Agent, path: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
    let (status, answer) = agent.http().await.post(path, body).await;
    (status.as_u16(), answer["error"].clone())
}

/// The field that an error names.
fn field(error: &Value) -> &str {
    error["details"][1]["fieldViolations"][0]["field"].as_str().unwrap_or_default()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

#[tokio::test]
async fn malformed_json_is_refused_with_line_column_and_field() {
    let agent = Agent::with(SHOP);
    for (body, line, blamed) in [
        ("{\n\"service\": cart}", "line 2 column 12", "service"),
        ("{\"service\": \"cart.shop\",\n \"cuont\": 1}", "line 2 column 8", "cuont"),
        (r#"{"service": 7}"#, "line 1 column 13", "service"),
        (r#"{"service": "cart.shop"} trailing"#, "line 1 column 26", ""),
        ("", "the body is empty", ""),
        ("null", "line 1 column 4", ""),
    ] {
        let (status, error) = refused(&agent, "/v1/pick", body).await;
        assert_eq!((status, &error["code"]), (400, &json!("INVALID_ARGUMENT")), "{body}: {error}");
        assert!(error["message"].as_str().unwrap().contains(line), "{body}: {error}");
        assert_eq!(field(&error), blamed, "{body}: {error}");
    }
    let (_, error) = refused(&agent, "/v1/pick", vec![b'{', 0xff, 0xfe]).await;
    assert!(error["message"].as_str().unwrap().contains("not UTF-8"), "{error}");
    agent.still_serves().await;
}

#[tokio::test]
async fn malformed_protobuf_is_an_invalid_argument() {
    let agent = Agent::with(SHOP);
    // A length beyond the end, a group without its end, a field with the number 0.
    for message in [&[0x0a, 0xff, 0x01][..], &[0x0b], &[0x00, 0x01], &[0xff; 20]] {
        let (code, text) = agent.grpc_raw(PICK, framed(message), &[]).await;
        assert_eq!(code, Code::InvalidArgument as i32, "{message:?}: {text}");
    }
    // No message, and half of one.
    for body in [vec![], framed(&[0x0a; 40])[..20].to_vec()] {
        let (code, text) = agent.grpc_raw(PICK, body, &[]).await;
        assert_ne!(code, 0, "{text}");
    }
    let (code, _) = agent.grpc_raw(PICK, framed(&[]), &[("grpc-encoding", "gzip")]).await;
    assert_eq!(code, Code::Unimplemented as i32);
    agent.still_serves().await;
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused_without_being_kept() {
    let agent = Agent::with(SHOP);
    let large = vec![b' '; 10 << 20];
    // The agent may answer and close the connection before everything was sent.
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    let head =
        format!("POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", large.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let writer = tokio::spawn(async move { write.write_all(&large).await.is_ok() });
    let mut answer = vec![0; 4096];
    let length = read.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains(r#""code":"RESOURCE_EXHAUSTED""#), "{answer}");
    assert!(answer.contains("1048576 bytes"), "{answer}");
    drop(read);
    writer.await.unwrap();

    let (code, text) = agent.grpc_raw(PICK, framed(&vec![0; 10 << 20]), &[]).await;
    assert_eq!(code, Code::ResourceExhausted as i32, "{text}");
    agent.still_serves().await;
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unknown_method_405_with_the_right_ones() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    for path in ["/", "/v1", "/v1/picks", "/v1/services/", "/metrics", "/pointsman.v1.Agent/Pick"] {
        let (status, _, body) = http.send(Method::POST, path, b"{}".to_vec()).await;
        assert_eq!((status.as_u16(), &body["error"]["code"]), (404, &json!("NOT_FOUND")), "{path}");
        assert!(body["error"]["message"].as_str().unwrap().contains("POST /v1/pick"), "{body}");
    }
    for (method, path, allowed) in [
        (Method::GET, "/v1/pick", "POST"),
        (Method::DELETE, "/v1/report", "POST"),
        (Method::POST, "/v1/services", "GET,HEAD"),
        (Method::PUT, "/v1/services/cart.shop", "GET,HEAD"),
    ] {
        let (status, headers, body) = http.send(method, path, b"{}".to_vec()).await;
        assert_eq!(status, 405, "{path}: {body}");
        assert_eq!(headers["allow"], allowed, "{path}");
        assert_eq!(body["error"]["details"][0]["reason"], "NO_SUCH_METHOD");
    }
}

#[tokio::test]
async fn an_unknown_grpc_method_is_unimplemented() {
    let agent = Agent::with(SHOP);
    for path in ["/pointsman.v1.Agent/Pikc", "/other.Service/Pick", "/v1/pick", "/"] {
        let (code, text) = agent.grpc_raw(path, framed(&[]), &[]).await;
        assert_eq!(code, Code::Unimplemented as i32, "{path}: {text}");
    }
}

#[tokio::test]
async fn absurd_and_negative_numbers_are_refused_by_field() {
    let agent = Agent::with(SHOP);
    for (name, value) in [
        ("count", json!(1000)),
        ("count", json!(-1)),
        ("count", json!(4_294_967_296_u64)),
        ("cost", json!(4_294_967_295_u32)),
        ("cost", json!(-5)),
        ("wait", json!("-1s")),
        ("wait", json!("60s")),
        ("lease_ttl", json!("-0.5s")),
        ("lease_ttl", json!("2h")),
        ("lease_ttl", json!("7200s")),
    ] {
        let mut body = json!({ "service": "cart.shop" });
        body[name] = value.clone();
        let (status, error) = refused(&agent, "/v1/pick", body.to_string()).await;
        assert_eq!(status, 400, "{name} {value}: {error}");
        assert_eq!(field(&error), name, "{value}: {error}");
    }
    for (name, value) in [
        ("latency", json!("-3s")),
        ("latency", json!("99999999s")),
        ("latency", json!("--9223372036854775807s")),
        ("lease_ttl", json!("7200s")),
        ("outcome", json!("GREAT")),
        ("event", json!(17)),
    ] {
        let mut report = json!({ "lease": "x", "outcome": "SUCCESS" });
        if name == "lease_ttl" {
            report["event"] = json!("RENEWED");
        }
        report[name] = value.clone();
        let body = json!({ "reports": [report] });
        let (status, error) = refused(&agent, "/v1/report", body.to_string()).await;
        assert_eq!(status, 400, "{name} {value}: {error}");
        assert_eq!(field(&error), format!("reports[0].{name}"), "{value}: {error}");
    }
    agent.still_serves().await;
}

#[tokio::test]
async fn a_batch_with_a_mistake_counts_nothing_so_that_it_can_be_sent_again() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (_, lease) = http.pick("cart.shop").await;
    let batch = json!({ "reports": [
        { "lease": lease, "outcome": "SUCCESS" },
        { "lease": "x", "outcome": "SUCCESS", "latency": "-1s" },
    ]});
    let (status, _) = http.post("/v1/report", batch.to_string()).await;
    assert_eq!(status, 400);
    agent.in_flight_is("cart.shop", 1).await;
    assert!(http.report(&lease, "SUCCESS").await);
}

#[tokio::test]
async fn unknown_leases_are_named_and_fail_no_batch() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (_, lease) = http.pick("cart.shop").await;
    let unknown = ["nonsense", "AAAAAAAAAAAAAAAAAAAAAA", "ä"];
    let mut reports = vec![json!({ "lease": lease, "outcome": "SUCCESS" })];
    reports.extend(unknown.map(|lease| json!({ "lease": lease, "outcome": "SUCCESS" })));
    let body = json!({ "reports": reports }).to_string();
    let (status, answer) = http.post("/v1/report", body).await;
    assert_eq!(status, 200);
    assert_eq!(answer, json!({ "accepted": 1, "unknown": unknown }));
}

#[tokio::test]
async fn bytes_that_are_no_protocol_are_hung_up_on() {
    let agent = Agent::with(SHOP);
    for bytes in [&b"\x00\x01\x02\x03\r\n\r\n"[..], b"PICK cart.shop\r\n\r\n", &[0xff; 5000]] {
        let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is a valid end, too.
        stream.read_to_end(&mut answer).await.ok();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    }
    agent.still_serves().await;
}
