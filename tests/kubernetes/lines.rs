//! What a consumer of EndpointSlices must handle, case by case, with a real API server.
//! `src/source/manifests/slice_union/tests.rs` tests the same cases in every order of events.

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::json;

use crate::cluster::{Cluster, Shop, until};

async fn shop() -> Shop {
    Cluster::shared().await.namespace().await
}

#[tokio::test]
async fn line_01_all_slices_of_a_service_are_joined() {
    let shop = shop().await;
    // A slice has up to a hundred endpoints. The hundred-and-first is in a second slice.
    shop.selecting(json!({})).await;
    for n in 1..=101 {
        shop.pod(&format!("cart-{n}"), &format!("10.1.1.{n}"), "node-a").await;
    }
    let agent = shop.agent(&[]).await;
    let service = shop.named("cart");
    until(101, async || crate::cluster::endpoints(&agent, &service).await.len()).await;
    let slices = shop.api::<EndpointSlice>().list(&Default::default()).await.unwrap();
    assert_eq!(slices.items.len(), 2);
}

#[tokio::test]
async fn line_02_an_endpoint_that_moves_between_slices_is_there_once_all_the_time() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    let endpoint = json!([{ "addresses": ["10.1.0.1"] }]);
    shop.slice("cart-1", endpoint.clone()).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    shop.slice("cart-2", endpoint).await;
    shop.rewrite("cart-1", json!([{ "addresses": ["10.1.0.2"] }])).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
    shop.delete::<EndpointSlice>("cart-1").await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
}

#[tokio::test]
async fn line_03_one_address_with_two_ports_is_two_endpoints() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    let endpoint = json!([{ "addresses": ["10.1.0.1"] }]);
    shop.slice("cart-1", endpoint.clone()).await;
    let other = json!({ "ports": [{ "name": "http", "port": 9090 }] });
    shop.slice_with("cart-2", endpoint, other).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.1:9090", "ready")]).await;
}

#[tokio::test]
async fn line_04_of_duplicates_that_disagree_the_healthiest_counts() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    let said =
        |ready: bool| json!([{ "addresses": ["10.1.0.1"], "conditions": { "ready": ready } }]);
    shop.slice("cart-1", said(false)).await;
    shop.slice("cart-2", said(true)).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    shop.rewrite("cart-1", said(true)).await;
    shop.rewrite("cart-2", said(false)).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    shop.rewrite("cart-1", said(false)).await;
    shop.served(&agent, &[("10.1.0.1:8080", "unready")]).await;
}

#[tokio::test]
async fn line_05_unset_conditions_mean_ready_and_serving_and_not_terminating() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    let endpoints = json!([
        { "addresses": ["10.1.0.1"] },
        { "addresses": ["10.1.0.2"], "conditions": { "terminating": true } },
        { "addresses": ["10.1.0.3"], "conditions": { "serving": false } },
        { "addresses": ["10.1.0.4"], "conditions": { "ready": false, "terminating": true } },
        { "addresses": ["10.1.0.5"], "conditions": { "ready": false } }
    ]);
    shop.slice("cart-1", endpoints).await;
    let agent = shop.agent(&[]).await;
    let expected = [
        ("10.1.0.1:8080", "ready"),
        ("10.1.0.2:8080", "ready"),
        ("10.1.0.3:8080", "ready"),
        ("10.1.0.4:8080", "draining"),
        ("10.1.0.5:8080", "unready"),
    ];
    shop.served(&agent, &expected).await;
}

#[tokio::test]
async fn line_06_a_pod_is_ready_as_its_kubelet_says_or_as_the_service_orders() {
    let shop = shop().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.pod("cart-2", "10.1.0.2", "node-a").await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
    shop.ready("cart-2", false).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "unready")]).await;
    let all = json!({ "spec": { "publishNotReadyAddresses": true } });
    shop.patch::<Service>("cart", all).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
}

#[tokio::test]
async fn line_07_terminating_pods_that_still_serve_are_picked_when_nothing_is_ready() {
    let shop = shop().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.pod("cart-2", "10.1.0.2", "node-a").await;
    let agent = shop.agent(&[]).await;
    // The pod's grace period does not end, because no kubelet ends it.
    shop.delete::<Pod>("cart-1").await;
    shop.served(&agent, &[("10.1.0.1:8080", "draining"), ("10.1.0.2:8080", "ready")]).await;
    assert_eq!(shop.picked(&agent, 20).await.into_keys().collect::<Vec<_>>(), ["10.1.0.2:8080"]);
    shop.ready("cart-2", false).await;
    shop.served(&agent, &[("10.1.0.1:8080", "draining"), ("10.1.0.2:8080", "unready")]).await;
    until((200, "10.1.0.1:8080".to_owned()), async || shop.pick(&agent).await).await;
}

#[tokio::test]
async fn line_08_an_address_may_begin_as_terminating_and_come_back_ready() {
    let shop = shop().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.delete::<Pod>("cart-1").await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "draining")]).await;
    shop.pod("cart-2", "10.1.0.1", "node-b").await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    shop.pod_gone("cart-1").await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
}

#[tokio::test]
async fn line_10_hints_are_all_or_nothing_over_the_ready_endpoints() {
    let shop = shop().await;
    shop.selecting(json!({ "trafficDistribution": "PreferSameZone" })).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.pod("cart-2", "10.1.0.2", "node-b").await;
    let agent = shop.agent(&["--node", "node-b", "--zone", "zone-b"]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
    let hinted = shop.api::<EndpointSlice>().list(&Default::default()).await.unwrap();
    let hints = serde_json::to_string(&hinted.items[0].endpoints).unwrap();
    assert!(hints.contains(r#""forZones":[{"name":"zone-b"}]"#), "{hints}");
    until(vec!["10.1.0.2:8080".to_owned()], async || {
        shop.picked(&agent, 20).await.into_keys().collect()
    })
    .await;
}

#[tokio::test]
async fn line_10_hints_of_nodes_win_over_those_of_zones() {
    let shop = shop().await;
    shop.selecting(json!({ "trafficDistribution": "PreferSameNode" })).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.pod("cart-2", "10.1.0.2", "node-b").await;
    // This agent is on node-b, but has node-a's zone.
    let agent = shop.agent(&["--node", "node-b", "--zone", "zone-a"]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
    until(vec!["10.1.0.2:8080".to_owned()], async || {
        shop.picked(&agent, 20).await.into_keys().collect()
    })
    .await;
}

#[tokio::test]
async fn line_12_a_pod_in_slices_of_both_families_is_one_endpoint_in_the_services_first() {
    let shop = shop().await;
    let families = json!({ "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"] });
    shop.selecting(families).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    let both = json!([{ "ip": "10.1.0.1" }, { "ip": "fd00::1" }]);
    shop.pod_status("cart-1", json!({ "podIPs": both })).await;
    // A slice of a single family, as a controller writes it that knows no other family.
    shop.slice("by-hand", json!([{ "addresses": ["10.1.0.9"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.9:8080", "ready"), ("fd00::1:8080", "ready")]).await;
    let slices = shop.api::<EndpointSlice>().list(&Default::default()).await.unwrap();
    assert_eq!(slices.items.len(), 3, "the controller has one for each family");
}

#[tokio::test]
async fn line_12_a_service_of_one_family_takes_no_slice_of_the_other() {
    let shop = shop().await;
    shop.by_hand(json!({ "ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"] })).await;
    let v6 = json!({ "addressType": "IPv6" });
    shop.slice_with("cart-6", json!([{ "addresses": ["fd00::1"] }]), v6).await;
    shop.slice("cart-4", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
}

#[tokio::test]
async fn line_12_slices_of_dns_names_are_ignored() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    let fqdn = json!({ "addressType": "FQDN" });
    shop.slice_with("cart-1", json!([{ "addresses": ["db.example.com"] }]), fqdn).await;
    shop.slice("cart-2", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
}

#[tokio::test]
async fn line_13_only_the_first_address_has_a_meaning() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1", "10.1.0.2"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
}

#[tokio::test]
async fn line_14_ports_are_resolved_by_name_where_pods_number_them_differently() {
    let shop = shop().await;
    let ports = json!([
        { "name": "http", "port": 80, "targetPort": "web" },
        { "name": "metrics", "port": 9100 }
    ]);
    shop.selecting(json!({ "ports": ports })).await;
    for (name, ip, port) in [("cart-1", "10.1.0.1", 8080), ("cart-2", "10.1.0.2", 8081)] {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": "cart" } },
            "spec": { "nodeName": "node-a", "containers": [{
                "name": "cart", "image": "cart",
                "ports": [{ "name": "web", "containerPort": port }]
            }] }
        });
        let pod: Pod = crate::cluster::typed(pod);
        shop.api().create(&Default::default(), &pod).await.unwrap();
        let status = json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] });
        shop.pod_status(name, status).await;
        shop.ready(name, true).await;
    }
    let agent = shop.agent(&[]).await;
    let service = format!("{}:http", shop.named("cart"));
    until(vec!["10.1.0.1:8080".to_owned(), "10.1.0.2:8081".to_owned()], async || {
        crate::cluster::endpoints(&agent, &service).await.into_keys().collect()
    })
    .await;
    let (status, said) = shop.pick(&agent).await;
    assert_eq!(status, 400);
    assert!(said.contains("its ports: http (80), metrics (9100)"), "{said}");
}

#[tokio::test]
async fn line_14_a_port_without_a_number_is_no_port() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    let any = json!({ "ports": [{ "name": "http" }] });
    shop.slice_with("cart-1", json!([{ "addresses": ["10.1.0.1"] }]), any).await;
    shop.slice("cart-2", json!([{ "addresses": ["10.1.0.2"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.2:8080", "ready")]).await;
}

#[tokio::test]
async fn line_14_a_port_of_a_number_that_none_can_have_is_left_out_and_noted() {
    let shop = shop().await;
    shop.by_hand(json!({})).await;
    let endpoints = json!([{ "addresses": ["10.1.0.1"] }]);
    let agent = shop.agent(&[]).await;
    for (name, wrong) in [("cart-1", 0), ("cart-2", 70_000)] {
        let ports = json!([{ "name": "http", "port": 8080 }, { "name": "x", "port": wrong }]);
        shop.slice_with(name, endpoints.clone(), json!({ "ports": ports })).await;
    }
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    let notes = async || {
        let notes = shop.notes(&agent).await;
        let both = [("cart-1", 0), ("cart-2", 70_000)];
        both.map(|(name, wrong)| {
            notes.contains(&format!("{name} is left out: ports[1].port: {wrong} is out of range"))
        })
    };
    until([true; 2], notes).await;
    // The slice's new content counts, although one of its ports is invalid.
    shop.rewrite("cart-2", json!([{ "addresses": ["10.1.0.2"] }])).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
}

#[tokio::test]
async fn line_16_the_zone_is_the_endpoints_and_may_be_unknown() {
    let shop = shop().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.slice("by-hand", json!([{ "addresses": ["10.1.0.9"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.9:8080", "ready")]).await;
    let path = format!("/v1/services/{}", shop.named("cart"));
    let (_, body) = agent.http().await.get(&path).await;
    let zones: Vec<_> =
        body["endpoints"].as_array().unwrap().iter().map(|it| &it["zone"]).collect();
    assert_eq!(zones[0], "zone-a");
    assert_ne!(zones[1], "zone-a");
}

#[tokio::test]
async fn line_18_a_slice_without_the_label_is_of_no_service_and_another_controllers_is_as_good() {
    let shop = shop().await;
    shop.selecting(json!({})).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    let without = json!({ "metadata": { "labels": { "kubernetes.io/service-name": "" } } });
    shop.slice_with("none", json!([{ "addresses": ["10.1.0.7"] }]), without).await;
    shop.slice("by-hand", json!([{ "addresses": ["10.1.0.9"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.9:8080", "ready")]).await;
    // A slice may move to another Service.
    let labels = json!({ "metadata": { "labels": { "kubernetes.io/service-name": "users" } } });
    shop.patch::<EndpointSlice>("by-hand", labels).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
}

#[tokio::test]
async fn line_20_internal_traffic_policy_local_is_a_filter_to_the_node() {
    let shop = shop().await;
    shop.selecting(json!({ "internalTrafficPolicy": "Local" })).await;
    shop.pod("cart-1", "10.1.0.1", "node-a").await;
    shop.pod("cart-2", "10.1.0.2", "node-b").await;
    let agent = shop.agent(&["--node", "node-a"]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    assert_eq!(shop.picked(&agent, 10).await.into_keys().collect::<Vec<_>>(), ["10.1.0.1:8080"]);
    let elsewhere = shop.agent(&["--node", "node-c"]).await;
    let (status, _) = shop.pick(&elsewhere).await;
    assert_eq!(status, 503, "none on this node: none at all");
    assert!(shop.notes(&elsewhere).await.contains("0 of 2 endpoints are on this node (node-c)"));
    let cluster = json!({ "spec": { "internalTrafficPolicy": "Cluster" } });
    shop.patch::<Service>("cart", cluster).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready"), ("10.1.0.2:8080", "ready")]).await;
}

#[tokio::test]
async fn line_20_session_affinity_is_not_followed_and_says_so() {
    let shop = shop().await;
    shop.by_hand(json!({ "sessionAffinity": "ClientIP" })).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let agent = shop.agent(&[]).await;
    shop.served(&agent, &[("10.1.0.1:8080", "ready")]).await;
    assert!(shop.notes(&agent).await.contains("sessionAffinity ClientIP has no effect"));
}
