//! For which callers a failure counts.

use std::{os::unix::net::UnixStream, time::Duration};

use crate::{
    quotas::as_nobody,
    support::{Agent, Http, root_is_here, state_of},
};

const SIX: &str = "
services:
  - name: cart.shop
    endpoints:
      - {address: '10.1.2.1:80'}
      - {address: '10.1.2.2:80'}
      - {address: '10.1.2.3:80'}
      - {address: '10.1.2.4:80'}
      - {address: '10.1.2.5:80'}
      - {address: '10.1.2.6:80'}
";

/// Sends one request of a caller that cannot connect to some endpoints. Returns whether it was sent to
/// one of those.
async fn request(http: &mut Http, out_of_reach: &[&str]) -> bool {
    let (address, lease) = http.pick("cart.shop").await;
    let denied = out_of_reach.contains(&address.as_str());
    http.report(&lease, if denied { "UNREACHABLE" } else { "SUCCESS" }).await;
    denied
}

#[tokio::test]
async fn a_caller_without_a_route_is_named_and_steered_alone() {
    if !root_is_here("a second caller") {
        return;
    }
    let agent = Agent::with(SIX);
    agent.open_folder();
    let socket = agent.socket();
    let denied = as_nobody(|| UnixStream::connect(socket).unwrap());
    let mut denied = Http::over(denied).await;
    let mut others = [agent.http().await, agent.http().await, agent.http().await];
    let out_of_reach = ["10.1.2.1:80", "10.1.2.2:80", "10.1.2.3:80"];
    for _ in 0..20 {
        for http in &mut others {
            request(http, &[]).await;
        }
    }
    let start = pointsman::clock::now();
    let (mut sent, mut there) = (0, 0);
    for round in 0..300 {
        for http in &mut others {
            let (address, lease) = http.pick("cart.shop").await;
            there += u32::from(out_of_reach.contains(&address.as_str()));
            http.report(&lease, "SUCCESS").await;
        }
        if round % 3 == 0 {
            sent += u32::from(request(&mut denied, &out_of_reach).await);
        }
        let (_, explained) = others[0].get("/v1/services/cart.shop/explain").await;
        for endpoint in explained["endpoints"].as_array().unwrap() {
            assert_eq!(endpoint["state"], "serving", "{endpoint}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!((350..=550).contains(&there), "half of the others' 900 go there: {there}");
    // Once each, after one second, two more and four more.
    let most = 3 * (2 + ((pointsman::clock::now() - start).as_secs_f64() + 1.0).log2() as u32);
    assert!(sent <= most, "{sent} of 100, {most} at most");
    let (_, explained) = others[0].get("/v1/services/cart.shop/explain").await;
    let notes = explained["notes"].to_string();
    assert!(notes.contains("uid 65534 could not connect to 10.1.2.1:80"), "{notes}");
    agent.logs("its own picks avoid it");
    let (_, metrics) = agent.admin_page("/metrics").await;
    let avoided = "pointsman_endpoints_avoided{service=\"cart.shop\",caller=\"uid 65534\"} 3";
    assert!(metrics.lines().any(|line| line == avoided), "{metrics}");
}

#[tokio::test]
async fn an_endpoint_with_open_streams_returns_from_ejection() {
    let agent = Agent::with(SIX);
    let mut http = agent.http().await;
    let bad = "10.1.2.1:80";
    let mut streams_there = 0;
    for _ in 0..24 {
        let (address, _stream) = http.pick("cart.shop").await;
        streams_there += u32::from(address == bad);
    }
    assert!(streams_there > 0);
    loop {
        let (address, lease) = http.pick("cart.shop").await;
        if address == bad {
            http.report(&lease, "UNREACHABLE").await;
            break;
        }
        http.report(&lease, "SUCCESS").await;
    }
    let mut ejected = false;
    for _ in 0..2_000 {
        request(&mut http, &[]).await;
        match state_of(&agent, "cart.shop", bad).await.as_str() {
            "serving" if ejected => return,
            state => ejected |= state == "ejected",
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it is {} still", state_of(&agent, "cart.shop", bad).await);
}
