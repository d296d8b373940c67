//! How the API server is reached: as the pod that this is, or as a kubeconfig file says.

use std::{env, path::Path};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{cluster::Cluster, error_chain::with_causes};

/// Files of a pod's service account; Kubernetes mounts them here.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Reads how the cluster is reached. Explicit settings win: a kubeconfig that was named, then
/// `$KUBECONFIG`; then the pod's own account; then `~/.kube/config`.
pub(super) async fn config(cluster: &Cluster) -> Result<Config, String> {
    let options =
        KubeConfigOptions { context: cluster.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &cluster.kubeconfig {
        let read = Kubeconfig::read_from(path).map_err(|error| with_causes(&error))?;
        let config = Config::from_custom_kubeconfig(read, &options).await;
        return config.map_err(|error| format!("{}: {}", path.display(), with_causes(&error)));
    }
    let named = env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty());
    let pod = env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(POD_TOKEN).exists();
    if pod && !named && cluster.context.is_none() {
        return Config::incluster()
            .map_err(|error| format!("this pod's service account: {}", with_causes(&error)));
    }
    Config::from_kubeconfig(&options).await.map_err(|error| {
        format!(
            "{}: name a file with kubernetes:/PATH or $KUBECONFIG, or run the agent in a pod with \
             a service account",
            with_causes(&error)
        )
    })
}
