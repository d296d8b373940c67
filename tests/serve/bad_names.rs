//! Names of services that do not exist, or that are invalid.

use serde_json::{Value, json};
use tonic::Code;

use crate::support::{Agent, SHOP};

async fn picked(agent: &Agent, service: &str) -> (u16, Value) {
    let body = json!({ "service": service }).to_string();
    let (status, body) = agent.http().await.post("/v1/pick", body).await;
    (status.as_u16(), body["error"].clone())
}

#[tokio::test]
async fn an_unknown_service_is_answered_with_what_was_probably_meant() {
    let agent = Agent::with(SHOP);
    agent.finds_a_suggestion_for("crat.shop").await;
    let (status, error) = picked(&agent, "crat.shop").await;
    assert_eq!(status, 404);
    assert_eq!(error["message"], r#"no service "crat.shop"; did you mean "cart.shop"?"#);
    assert_eq!(error["details"][0]["metadata"]["near"], "cart.shop");
    let (_, error) = picked(&agent, "nothing.alike").await;
    assert_eq!(error["message"], r#"no service "nothing.alike""#);
    for path in ["/v1/services/crat.shop", "/v1/services/crat.shop/explain"] {
        let (status, body) = agent.http().await.get(path).await;
        assert_eq!(status, 404, "{path}");
        assert_eq!(body["error"]["details"][0]["reason"], "NO_SUCH_SERVICE", "{path}");
    }
}

#[tokio::test]
async fn an_unknown_port_is_answered_with_the_ports_there_are() {
    let agent = Agent::with(SHOP);
    for (name, near) in [("pay.shop:grcp", "grpc"), ("pay.shop:81", "80")] {
        let (status, error) = picked(&agent, name).await;
        assert_eq!((status, &error["details"][0]["reason"]), (404, &json!("NO_SUCH_PORT")));
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(near) && message.contains("grpc (9090)"), "{message}");
    }
    let (status, error) = picked(&agent, "pay.shop").await;
    assert_eq!(status, 400, "{error}");
    assert!(error["message"].as_str().unwrap().contains("name one"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_with_what_would_be_right() {
    let agent = Agent::with(SHOP);
    let long = "x".repeat(300);
    for name in
        ["", &long, &format!("{long}.shop"), "cart", "cart.shop:0", "CART.shop", "a b.c", "\0.x"]
    {
        let (status, error) = picked(&agent, name).await;
        assert_eq!(status, 400, "{name:?}: {error}");
        assert_eq!(error["details"][1]["fieldViolations"][0]["field"], "service", "{error}");
        assert!(error["message"].as_str().unwrap().len() < 1000, "{error}");
    }
    agent.still_serves().await;
}

#[tokio::test]
async fn a_name_that_is_not_utf_8_is_refused_in_every_protocol() {
    let agent = Agent::with(SHOP);
    let body = b"{\"service\": \"ca\xffrt.shop\"}".to_vec();
    let (status, answer) = agent.http().await.post("/v1/pick", body).await;
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("UTF-8"), "{answer}");

    let (status, answer) = agent.http().await.get("/v1/services/ca%FFrt.shop").await;
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("UTF-8"), "{answer}");

    let message = [0, 0, 0, 0, 5, 0x0a, 3, b'a', 0xff, b'b'].to_vec();
    let (code, text) = agent.grpc_raw("/pointsman.v1.Agent/Pick", message, &[]).await;
    assert_eq!(code, Code::InvalidArgument as i32, "{text}");
    assert!(text.starts_with("service:"), "{text}");
    agent.still_serves().await;
}

#[tokio::test]
async fn parameters_that_there_are_not_are_refused() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    for (path, field) in [
        ("/v1/services?pagesize=1", r#""pagesize""#),
        ("/v1/services?pageSize=-1", "pageSize"),
        ("/v1/services?pageSize=1001", "page_size"),
        ("/v1/services?pageToken=!", "page_token"),
        ("/v1/services/cart.shop?watch=maybe", "watch"),
        ("/v1/services/cart.shop/explain?shard=1", r#""shard""#),
        ("/v1/services?namespace=a&namespace=b", r#""namespace""#),
    ] {
        let (status, body) = http.get(path).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert_eq!(body["error"]["details"][1]["fieldViolations"][0]["field"], field, "{path}");
    }
}
