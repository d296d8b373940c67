//! The agent writes an Event on a Service that has a wrong setting.

use k8s_openapi::api::{
    core::v1::{Event, Service},
    rbac::v1::{ClusterRole, PolicyRule},
};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::{
    account::Account,
    cluster::{Cluster, Shop, agent_by, pick, until},
    proxy::Proxy,
    rights::documented,
};

async fn misspelt(shop: &Shop) {
    shop.by_hand(json!({})).await;
    let annotations = json!({ "pointsman.dev/mode": "offf" });
    shop.patch::<Service>("cart", json!({ "metadata": { "annotations": annotations } })).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
}

async fn events(shop: &Shop) -> Vec<(String, String)> {
    let events: Api<Event> = Api::namespaced(shop.cluster.client.clone(), &shop.name);
    let all = events.list(&ListParams::default()).await.unwrap().items.into_iter();
    let ours = all.filter(|event| event.reason.as_deref() == Some("WrongSetting"));
    ours.map(|it| (it.involved_object.name.unwrap_or_default(), it.message.unwrap_or_default()))
        .collect()
}

fn with_events() -> ClusterRole {
    let mut role = documented();
    role.rules.get_or_insert_default().push(PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["events".into()]),
        verbs: vec!["create".into()],
        ..Default::default()
    });
    role
}

#[tokio::test]
async fn a_wrong_setting_is_an_event_on_its_service_once_however_many_agents_see_it() {
    let account = Account::with(with_events()).await;
    misspelt(&account.shop).await;
    let kubeconfig = account.kubeconfig().await;
    let agents = ["node-a", "node-b"].map(|node| {
        let arguments = ["--node", node, "--events", "--log", "pointsman=debug"];
        agent_by(&kubeconfig, tempfile::tempdir().unwrap(), &arguments)
    });
    for agent in &agents {
        pick(agent, &account.shop.named("cart")).await;
        agent.logs("wrong setting");
    }
    let logged = |what| agents.iter().filter(|agent| agent.has_logged(what)).count();
    until((1, 1), async || (logged("wrote an event"), logged("wrote the event already"))).await;
    assert_eq!(events(&account.shop).await.len(), 1);
    let (service, message) = events(&account.shop).await.remove(0);
    assert_eq!(service, "cart");
    assert!(message.contains("mode is \"offf\": it must be off, shadow"), "{message}");
    assert_eq!(logged("create events"), 0, "the second finds it there");
    // `kubectl describe` finds the Event by these fields.
    let cart = account.shop.api::<Service>().get("cart").await.unwrap();
    let of = Api::<Event>::namespaced(account.shop.cluster.client.clone(), &account.shop.name)
        .list(
            &ListParams::default()
                .fields(&format!("involvedObject.uid={}", cart.metadata.uid.unwrap())),
        )
        .await
        .unwrap();
    assert_eq!(of.items.len(), 1);
}

#[tokio::test]
async fn all_that_is_wrong_at_once_is_told_over_one_connection() {
    let shop = Cluster::shared().await.namespace().await;
    shop.by_hand(json!({})).await;
    let keys = ["mode", "zone", "strategy", "choices", "panic-below"];
    let wrong: Value =
        keys.map(|it| (format!("pointsman.dev/{it}"), json!("?"))).into_iter().collect();
    shop.patch::<Service>("cart", json!({ "metadata": { "annotations": wrong } })).await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let agent = agent_by(&through, folder, &["--events"]);
    agent.logs("answered");
    let before = proxy.connections();
    pick(&agent, &shop.named("cart")).await;
    until(keys.len(), async || events(&shop).await.len()).await;
    assert_eq!(proxy.connections() - before, 1);
}

#[tokio::test]
async fn without_the_right_to_it_the_rule_is_said_and_all_else_goes_on() {
    let account = Account::with(documented()).await;
    misspelt(&account.shop).await;
    let kubeconfig = account.kubeconfig().await;
    let agent =
        agent_by(&kubeconfig, tempfile::tempdir().unwrap(), &["--node", "node-a", "--events"]);
    pick(&agent, &account.shop.named("cart")).await;
    let line = agent.logs("may not create events (403)");
    assert!(
        line.contains("resources: [events], verbs: [create]}; or leave --events out"),
        "{line}"
    );
    assert!(events(&account.shop).await.is_empty());
    pick(&agent, &account.shop.named("cart")).await;
}
