//! The agent's rights: exactly the ClusterRole of docs/kubernetes.md, which daemonset/ also has, and
//! what the agent reports if it has fewer.

use std::path::{Path, PathBuf};

use k8s_openapi::api::{
    core::v1::Service,
    flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration},
    rbac::v1::ClusterRole,
};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::Kubeconfig,
};
use serde_json::{Value, json};

use crate::{
    account::Account,
    cluster::{Shop, agent_by, pick, typed, until},
    proxy::Proxy,
};

/// The ClusterRole in the page.
pub fn documented() -> ClusterRole {
    role_of_page(include_str!("../../docs/kubernetes.md"))
}

/// The ClusterRole of a control plane, in its page.
pub fn documented_of_control_plane() -> ClusterRole {
    role_of_page(include_str!("../../docs/control-plane.md"))
}

fn role_of_page(page: &str) -> ClusterRole {
    let block = page.split("```yaml\n").find(|block| block.contains("kind: ClusterRole\n"));
    cluster_role(block.unwrap().split("```").next().unwrap())
}

fn cluster_role(documents: &str) -> ClusterRole {
    let mut documents = documents.split("---\n");
    let document = documents.find(|document| document.contains("kind: ClusterRole\n")).unwrap();
    let value: Value = serde_saphyr::from_str(document).unwrap();
    typed(value)
}

#[test]
fn the_daemon_set_may_do_what_the_page_says() {
    let applied = cluster_role(include_str!("../../daemonset/rbac.yaml"));
    assert_eq!(applied.rules, documented().rules);
}

fn without(resource: &str, verb: &str) -> ClusterRole {
    less(documented(), resource, verb)
}

/// The role without this right.
pub fn less(whole: ClusterRole, resource: &str, verb: &str) -> ClusterRole {
    let mut role = whole.clone();
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.as_ref().is_some_and(|all| all.iter().any(|it| it == resource)) {
            assert_eq!(rule.resources.as_ref().unwrap().len(), 1, "a rule for each resource");
            rule.verbs.retain(|known| known != verb);
        }
    }
    role.rules.iter_mut().for_each(|rules| rules.retain(|rule| !rule.verbs.is_empty()));
    assert_ne!(role, whole);
    role
}

fn agent(kubeconfig: &Path) -> crate::support::Agent {
    agent_by(kubeconfig, tempfile::tempdir().unwrap(), &["--node", "node-a"])
}

async fn cart(shop: &Shop) {
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
}

#[tokio::test]
async fn line_22_the_documented_role_is_enough() {
    let account = Account::with(documented()).await;
    cart(&account.shop).await;
    let agent = agent(&account.kubeconfig().await);
    agent.logs("this node's zone and region");
    assert_eq!(account.shop.pick(&agent).await.0, 200);
    account.shop.rewrite("cart-1", json!([{ "addresses": ["10.1.0.2"] }])).await;
    account.shop.served(&agent, &[("10.1.0.2:8080", "ready")]).await;
    // In brackets, because a time of day may contain these digits.
    assert!(!agent.has_logged("(403)"));
}

#[tokio::test]
async fn line_22_without_the_names_nothing_is_known_and_it_is_said_what_is_missing() {
    let account = Account::with(without("services", "list")).await;
    cart(&account.shop).await;
    let agent = agent(&account.kubeconfig().await);
    let line = agent.logs("may not list services (403)");
    let right = r#"{apiGroups: [""], resources: [services], verbs: [list, watch]}"#;
    assert!(line.contains(right), "{line}");
    assert!(line.contains(&format!("system:serviceaccount:{}:agent", account.shop.name)), "{line}");
    let (status, page) = agent.admin_page("/readyz").await;
    assert_eq!(status, 503);
    assert!(page.contains(right), "{page}");
    let (status, said) = account.shop.pick(&agent).await;
    assert_eq!(status, 504);
    assert!(said.contains(right), "who asks hears it, too: {said}");
    account.allow(documented()).await;
    agent.logs("no longer: ");
    until(200, async || account.shop.pick(&agent).await.0).await;
}

#[tokio::test]
async fn line_22_without_slices_a_pick_says_what_is_missing() {
    for verb in ["list", "watch"] {
        let account = Account::with(without("endpointslices", verb)).await;
        cart(&account.shop).await;
        let agent = agent(&account.kubeconfig().await);
        agent.logs("answered");
        let (status, said) = account.shop.pick(&agent).await;
        let right = "resources: [endpointslices], verbs: [list, watch]";
        if verb == "list" {
            assert_eq!(status, 504);
            assert!(said.contains("its endpoints are not known yet"), "{said}");
            assert!(said.contains(right), "{said}");
        } else {
            assert_eq!(status, 200, "what was listed serves: {said}");
        }
        let line = agent.logs(&format!("may not {verb} endpointslices (403)"));
        assert!(line.contains(right), "{line}");
        account.allow(documented()).await;
        until(200, async || account.shop.pick(&agent).await.0).await;
        account.shop.rewrite("cart-1", json!([{ "addresses": ["10.1.0.2"] }])).await;
        account.shop.served(&agent, &[("10.1.0.2:8080", "ready")]).await;
    }
}

#[tokio::test]
async fn line_22_without_nodes_the_zone_is_to_be_said() {
    let account = Account::with(without("nodes", "get")).await;
    cart(&account.shop).await;
    let agent = agent(&account.kubeconfig().await);
    let line = agent.logs("may not get nodes (403)");
    assert!(line.contains("resources: [nodes], verbs: [get]}; or set --zone"), "{line}");
    assert_eq!(account.shop.pick(&agent).await.0, 200);
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_missed_when_a_watch_begins_anew_and_all_serves_meanwhile() {
    let account = Account::with(documented()).await;
    cart(&account.shop).await;
    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&account.kubeconfig().await, folder.path());
    let agent = agent_by(&through, folder, &["--node", "node-a"]);
    agent.logs("answered");
    assert_eq!(account.shop.pick(&agent).await.0, 200);

    account.allow(without("services", "watch")).await;
    proxy.cut();
    agent.logs("no answer from");
    proxy.mend();
    let line = agent.logs("may not watch services (403)");
    let right = r#"{apiGroups: [""], resources: [services], verbs: [list, watch]}"#;
    assert!(line.contains(right), "{line}");
    let (_, page) = agent.admin_page("/").await;
    assert!(page.contains("may not watch services (403)"), "{page}");
    assert_eq!(account.shop.pick(&agent).await.1, "10.1.0.1:8080", "the last good state serves");
    assert_eq!(agent.admin_page("/readyz").await.0, 200, "and the agent is no less ready for it");
    account.shop.rewrite("cart-1", json!([{ "addresses": ["10.1.0.2"] }])).await;
    account.shop.served(&agent, &[("10.1.0.2:8080", "ready")]).await;

    account.allow(documented()).await;
    until(false, async || agent.admin_page("/").await.1.contains("may not watch")).await;
    account.shop.service("pay", json!({ "ports": [{ "name": "http", "port": 80 }] })).await;
    let pay = account.shop.named("pay");
    until(503, async || pick(&agent, &pay).await.0).await;
}

#[tokio::test]
async fn an_api_server_that_has_no_time_is_asked_again_later() {
    let account = Account::with(documented()).await;
    cart(&account.shop).await;
    let client = account.shop.cluster.client.clone();
    let name = account.role.as_str();
    let levels: Api<PriorityLevelConfiguration> = Api::all(client.clone());
    // A priority level without a seat answers 429 with Retry-After, as a busy server does.
    let level = json!({
        "metadata": { "name": name },
        "spec": { "type": "Limited", "limited": {
            "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": { "type": "Reject" }
        } }
    });
    levels.create(&PostParams::default(), &typed(level)).await.unwrap();
    let schemas: Api<FlowSchema> = Api::all(client);
    let schema = json!({
        "metadata": { "name": name },
        "spec": {
            "matchingPrecedence": 2,
            "priorityLevelConfiguration": { "name": name },
            "rules": [{
                "subjects": [{
                    "kind": "ServiceAccount",
                    "serviceAccount": { "name": "agent", "namespace": account.shop.name }
                }],
                "resourceRules": [{
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                    "namespaces": ["*"], "clusterScope": true
                }]
            }]
        }
    });
    schemas.create(&PostParams::default(), &typed(schema)).await.unwrap();
    let kubeconfig = account.kubeconfig().await;
    // The level still serves a caller if no other caller is served.
    let busy: Vec<_> = (0..8).map(|_| tokio::spawn(ask_without_end(kubeconfig.clone()))).collect();
    let refused = "is too busy for \"list services\" (429";
    let mut agent = agent(&kubeconfig);
    until(true, async || agent.has_logged(refused) || agent.has_logged("answered")).await;
    for _ in 0..100 {
        if agent.has_logged(refused) {
            break;
        }
        agent = self::agent(&kubeconfig);
        until(true, async || agent.has_logged(refused) || agent.has_logged("answered")).await;
    }
    assert!(agent.logs("(429").contains("the agent asks again later"));
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    schemas.delete(name, &DeleteParams::default()).await.unwrap();
    levels.delete(name, &DeleteParams::default()).await.unwrap();
    agent.logs("answered");
    let service = account.shop.named("cart");
    until(200, async || pick(&agent, &service).await.0).await;
}

/// Keeps the seat of its account in use.
async fn ask_without_end(kubeconfig: PathBuf) {
    let read = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(read, &Default::default()).await.unwrap();
    config.default_retry = false;
    let services: Api<Service> = Api::all(Client::try_from(config).unwrap());
    loop {
        // The server refuses most of these.
        services.list(&Default::default()).await.ok();
    }
}
