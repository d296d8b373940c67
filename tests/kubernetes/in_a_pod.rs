//! The agent in a pod: the address of the API server is in the environment, and the agent's identity is
//! in files.

use std::{fs, process::Command};

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::{
    account::Account,
    cluster::{pick, until},
    proxy::Proxy,
    rights::documented,
    support::{Agent, POINTSMAN, root_is_here},
};

/// The agent reads a renewed token within a minute. The test waits for that.
#[tokio::test]
async fn a_pods_account_is_found_and_a_token_that_was_renewed_is_taken_up() {
    if !root_is_here("mounting a folder where pods have their account") {
        return;
    }
    let account = Account::with(documented()).await;
    let shop = &account.shop;
    shop.by_hand(json!({})).await;
    shop.slice("cart-1", json!([{ "addresses": ["10.1.0.1"] }])).await;
    let secret = Secret { metadata: name("first"), ..Secret::default() };
    let secret = shop.api().create(&Default::default(), &secret).await.unwrap();
    let bound = json!({
        "apiVersion": "v1", "kind": "Secret", "name": "first", "uid": secret.metadata.uid
    });

    let folder = tempfile::tempdir().unwrap();
    let (proxy, through) = Proxy::before(&shop.cluster.kubeconfig, folder.path());
    let identity = folder.path().join("serviceaccount");
    fs::create_dir(&identity).unwrap();
    let identities = shop.cluster.kubeconfig.parent().unwrap();
    fs::copy(identities.join("authority.crt"), identity.join("ca.crt")).unwrap();
    fs::write(identity.join("namespace"), &shop.name).unwrap();
    fs::write(identity.join("token"), account.token(bound).await).unwrap();
    let text = fs::read_to_string(through).unwrap();
    let port = text.split("https://127.0.0.1:").nth(1).unwrap().split('"').next().unwrap();

    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MOUNT, "sh"]).arg(&identity).arg(POINTSMAN);
    command.args(["agent", "--source", "kubernetes", "--admin", "127.0.0.1:0", "--node", "node-a"]);
    command.arg("--socket").arg(folder.path().join("agent.sock"));
    command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", port);
    command.env_remove("KUBECONFIG");
    let agent = Agent::spawn(folder, command);
    agent.logs("answered");
    agent.logs("this node's zone and region");
    assert_eq!(shop.pick(&agent).await, (200, "10.1.0.1:8080".to_owned()));

    shop.delete::<Secret>("first").await;
    // The API server caches the result of checking a token for some seconds.
    until(true, async || {
        proxy.cut();
        proxy.mend();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        agent.has_logged("does not accept the credentials (401")
    })
    .await;
    // A watch that began just before continues, and would need no other token.
    proxy.cut();
    proxy.mend();
    assert_eq!(shop.pick(&agent).await.0, 200, "the last good state serves");
    // Replaces the file, as the kubelet does.
    fs::write(identity.join("next"), account.token(json!(null)).await).unwrap();
    fs::rename(identity.join("next"), identity.join("token")).unwrap();
    shop.rewrite("cart-1", json!([{ "addresses": ["10.1.0.2"] }])).await;
    let begin = tokio::time::Instant::now();
    while shop.pick(&agent).await.1 != "10.1.0.2:8080" {
        assert!(begin.elapsed().as_secs() < 75, "the new token was not read");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    shop.service("pay", json!({ "ports": [{ "name": "http", "port": 80 }] })).await;
    until(503, async || pick(&agent, &shop.named("pay")).await.0).await;
}

/// Where pods have the files. The mount is visible to this process only.
const MOUNT: &str =
    "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount &&
    mount --bind \"$1\" /run/secrets/kubernetes.io/serviceaccount && shift && exec \"$@\"";

fn name(name: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    serde_json::from_value(json!({ "name": name })).unwrap()
}
