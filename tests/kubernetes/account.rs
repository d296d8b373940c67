//! The agent's identity at the API server: a service account with one role.

use std::path::PathBuf;

use k8s_openapi::api::{
    authentication::v1::TokenRequest,
    authorization::v1::SubjectAccessReview,
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, Shop, typed, until};

/// A service account that has only this role.
pub struct Account {
    pub shop: Shop,
    pub role: String,
    folder: TempDir,
}

impl Account {
    pub async fn with(mut role: ClusterRole) -> Self {
        let shop = Cluster::shared().await.namespace().await;
        let client = shop.cluster.client.clone();
        let name = format!("pointsman-{}", shop.name);
        role.metadata = Default::default();
        role.metadata.name = Some(name.clone());
        Api::all(client.clone()).create(&PostParams::default(), &role).await.unwrap();
        let account: ServiceAccount = typed(json!({ "metadata": { "name": "agent" } }));
        shop.api().create(&PostParams::default(), &account).await.unwrap();
        let binding: ClusterRoleBinding = typed(json!({
            "metadata": { "name": name },
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name
            },
            "subjects": [{ "kind": "ServiceAccount", "name": "agent", "namespace": shop.name }]
        }));
        Api::all(client).create(&PostParams::default(), &binding).await.unwrap();
        let account = Self { shop, role: name, folder: tempfile::tempdir().unwrap() };
        let rule = &role.rules.unwrap()[0];
        until(true, async || account.may(rule).await).await;
        account
    }

    /// The API server applies a role a moment after it was written.
    async fn may(&self, rule: &PolicyRule) -> bool {
        let first = |of: &Option<Vec<String>>| of.as_ref().map(|all| all[0].clone());
        let review: SubjectAccessReview = typed(json!({ "spec": {
            "user": format!("system:serviceaccount:{}:agent", self.shop.name),
            "resourceAttributes": {
                "group": first(&rule.api_groups),
                "resource": first(&rule.resources),
                "verb": rule.verbs[0]
            }
        } }));
        let reviews = Api::all(self.shop.cluster.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await.unwrap();
        review.status.unwrap().allowed
    }

    /// A token. If it is bound to an object, it ends with the object.
    pub async fn token(&self, bound_to: Value) -> String {
        let accounts: Api<ServiceAccount> = self.shop.api();
        let spec = json!({ "audiences": [], "boundObjectRef": bound_to });
        let request: TokenRequest = typed(json!({ "spec": spec }));
        let issued = accounts.create_token_request("agent", &PostParams::default(), &request).await;
        issued.unwrap().status.unwrap().token
    }

    /// A kubeconfig with a token.
    pub async fn kubeconfig(&self) -> PathBuf {
        let token = self.token(Value::Null).await;
        let administrator = std::fs::read_to_string(&self.shop.cluster.kubeconfig).unwrap();
        let certificate = administrator.split("user: {client-certificate-data").nth(1).unwrap();
        let user = certificate.split('}').next().unwrap();
        let text = administrator.replace(
            &format!("user: {{client-certificate-data{user}}}"),
            &format!("user: {{token: {token}}}"),
        );
        assert!(text.contains("token: "));
        let path = self.folder.path().join("agent.kubeconfig");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Sets the role.
    pub async fn allow(&self, role: ClusterRole) {
        let roles: Api<ClusterRole> = Api::all(self.shop.cluster.client.clone());
        let rules = Patch::Merge(json!({ "rules": role.rules }));
        roles.patch(&self.role, &PatchParams::default(), &rules).await.unwrap();
    }
}
