//! The taint with which a node registers until its agent is ready.

use k8s_openapi::api::{core::v1::Node, rbac::v1::ClusterRole};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    account::Account,
    cluster::{Cluster, agent_by, agent_with, typed, until},
    rights::documented,
};

const KEY: &str = "pointsman.dev/agent-not-ready";

/// A node for this test only, with the taint and another one.
async fn tainted(name: &str) -> Api<Node> {
    let nodes: Api<Node> = Api::all(Cluster::shared().await.client);
    let node: Node = typed(json!({
        "metadata": { "name": name, "labels": { "topology.kubernetes.io/zone": "zone-a" } },
        "spec": { "taints": [
            { "key": KEY, "effect": "NoSchedule" },
            { "key": "other.dev/mine", "value": "1", "effect": "NoExecute" }
        ] }
    }));
    nodes.create(&PostParams::default(), &node).await.unwrap();
    nodes
}

async fn taints(nodes: &Api<Node>, name: &str) -> Vec<String> {
    let node = nodes.get(name).await.unwrap();
    let taints = node.spec.unwrap().taints.unwrap_or_default().into_iter();
    // The conditions that the controllers set for a node without a kubelet.
    taints.map(|it| it.key).filter(|key| !key.starts_with("node.kubernetes.io/")).collect()
}

#[tokio::test]
async fn the_taint_goes_when_the_agent_is_ready_and_no_other_taint_does() {
    let cluster = Cluster::shared().await;
    let shop = cluster.namespace().await;
    let name = format!("node-{}", shop.name);
    let nodes = tainted(&name).await;
    let kubernetes = format!("kubernetes:kubeconfig={}", cluster.kubeconfig.display());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late.yaml");
    let late = format!("file:{}", file.display());
    let agent =
        agent_with(&[&kubernetes, &late], folder, &["--node", &name, "--remove-taint", KEY]);
    agent.logs("this node's zone and region");
    assert_eq!(agent.admin_page("/readyz").await.0, 503, "a source has not answered");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(taints(&nodes, &name).await, [KEY, "other.dev/mine"]);

    std::fs::write(file, "services: []").unwrap();
    agent.logs("the taint is removed");
    assert_eq!(taints(&nodes, &name).await, ["other.dev/mine"]);
    assert_eq!(agent.admin_page("/readyz").await.0, 200);
}

#[tokio::test]
async fn without_the_right_to_it_the_taint_stays_until_it_is_given() {
    let account = Account::with(documented()).await;
    let name = format!("node-{}", account.shop.name);
    let nodes = tainted(&name).await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = account.kubeconfig().await;
    let agent = agent_by(&kubeconfig, folder, &["--node", &name, "--remove-taint", KEY]);
    let line = agent.logs("may not patch nodes (403)");
    let right = "resources: [nodes], verbs: [get, patch]}; or leave --remove-taint out";
    assert!(line.contains(right), "{line}");
    assert_eq!(taints(&nodes, &name).await, [KEY, "other.dev/mine"]);

    // Another program's taint, which was added in between.
    let more: Value = json!({ "spec": { "taints": [
        { "key": "third.dev/one", "effect": "NoSchedule" },
        { "key": KEY, "effect": "NoSchedule" }
    ] } });
    nodes.patch(&name, &PatchParams::default(), &Patch::Merge(more)).await.unwrap();
    account.allow(with_patch()).await;
    agent.logs("the taint is removed");
    until(vec!["third.dev/one".to_owned()], async || taints(&nodes, &name).await).await;
}

fn with_patch() -> ClusterRole {
    let mut role = documented();
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.as_ref().is_some_and(|all| all.contains(&"nodes".to_owned())) {
            rule.verbs.push("patch".to_owned());
        }
    }
    role
}
