//! HTTP and JSON on the socket.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{Agent, SHOP};

#[tokio::test]
async fn a_pick_is_an_address_and_a_lease() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (status, body) = http.post("/v1/pick", r#"{"service": "cart.shop"}"#).await;
    assert_eq!(status, 200);
    let pick = &body["picks"][0];
    assert!(pick["address"].as_str().unwrap().starts_with("10.1.2."), "{body}");
    assert_eq!(pick["port"], 8080);
    assert_eq!(pick["labels"]["shard"].as_str().map(str::len), Some(1), "{body}");
    assert_eq!(pick["lease"].as_str().unwrap().len(), 22);
    assert_eq!(body["plan"], "1", "u64 is a string in proto3 JSON");
}

#[tokio::test]
async fn http_2_by_prior_knowledge_is_answered_alike() {
    let agent = Agent::with(SHOP);
    let request = Request::post("http://localhost/v1/pick")
        .body(Full::new(Bytes::from_static(br#"{"service": "pay.shop:grpc"}"#)));
    let (response, _) = agent.http2(request.unwrap()).await;
    assert_eq!(response.status(), 200);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["picks"][0]["port"], 9090);
}

#[tokio::test]
async fn head_is_answered_like_get_without_the_body() {
    let agent = Agent::with(SHOP);
    let (got, _) = agent.http2(request("GET", "/v1/services/cart.shop")).await;
    let (headed, _) = agent.http2(request("HEAD", "/v1/services/cart.shop")).await;
    assert_eq!((headed.status(), headed.body().len()), (got.status(), 0));
    assert_eq!(headed.headers()["content-length"], got.body().len().to_string());
    assert_eq!(headed.headers()["content-type"], got.headers()["content-type"]);

    let (missing, _) = agent.http2(request("HEAD", "/v1/services/crat.shop")).await;
    assert_eq!((missing.status().as_u16(), missing.body().len()), (404, 0));
}

fn request(method: &str, path: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    request.body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_pick_honours_count_exclusions_and_labels() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let request = json!({
        "service": "cart.shop.svc.cluster.local:8080".replace(":8080", ""),
        "count": 5,
        "selector": { "shard": "1" },
        "exclude": ["10.1.2.3:8080"],
    });
    let (status, body) = http.post("/v1/pick", request.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let picks = body["picks"].as_array().unwrap();
    assert_eq!(picks.len(), 1, "fewer where there are no more: {body}");
    assert_eq!(picks[0]["address"], "10.1.2.5");
}

#[tokio::test]
async fn services_are_listed_page_by_page() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (_, first) = http.get("/v1/services?pageSize=1").await;
    assert_eq!(first["services"][0]["service"], "cart.shop");
    assert_eq!(first["services"][0]["ports"][0]["ready"], 3);
    let token = first["nextPageToken"].as_str().unwrap();
    let (_, second) = http.get(&format!("/v1/services?pageSize=1&pageToken={token}")).await;
    assert_eq!(second["services"][0]["service"], "pay.shop");
    assert_eq!(second["nextPageToken"], Value::Null);
    let (_, none) = http.get("/v1/services?namespace=nowhere").await;
    assert_eq!(none, json!({}));
}

#[tokio::test]
async fn a_service_is_shown_by_port_or_with_all_of_them() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (_, one) = http.get("/v1/services/pay.shop:http").await;
    assert_eq!((&one["port"], one["endpoints"].as_array().unwrap().len()), (&json!("http"), 2));
    assert_eq!(one["endpoints"][0]["state"], "serving");
    let (_, all) = http.get("/v1/services/pay.shop").await;
    assert_eq!(all["endpoints"].as_array().unwrap().len(), 4);
    assert_eq!(all["service"]["ports"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_explanation_has_groups_settings_and_sampled_picks() {
    let agent = Agent::with(SHOP);
    let mut http = agent.http().await;
    let (address, _) = http.pick("cart.shop").await;
    let (status, body) = http.get("/v1/services/cart.shop/explain").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["endpoints"].as_array().unwrap().len(), 3);
    assert_eq!(body["picks"][0]["chosen"], address.as_str());
    let settings = body["policy"].as_array().unwrap();
    assert!(settings.iter().any(|setting| setting["name"] == "strategy"), "{body}");
    let (_, narrowed) = http.get("/v1/services/cart.shop/explain?selector.shard=2").await;
    assert_eq!(narrowed["endpoints"].as_array().unwrap().len(), 1);
}
