//! The control plane under test: namespaces, objects, and agents that watch it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Namespace, Node, Pod, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
    },
};
use kube::{
    Api, Client, Config, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Agent, POINTSMAN};

/// The limit for waits that take milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A control plane.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// The control plane that all tests share.
    pub async fn shared() -> Self {
        let folder = std::env::var_os("POINTSMAN_CONTROL_PLANE")
            .expect("no control plane is named: run scripts/kubernetes, which starts one");
        Self::at(&PathBuf::from(folder).join("identities/administrator.kubeconfig")).await
    }

    pub async fn at(kubeconfig: &Path) -> Self {
        let read = Kubeconfig::read_from(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(read, &options).await.unwrap();
        Self { client: Client::try_from(config).unwrap(), kubeconfig: kubeconfig.to_owned() }
    }

    /// Two nodes, each in its own zone, in one region.
    pub async fn nodes(&self) {
        for (name, zone) in [("node-a", "zone-a"), ("node-b", "zone-b")] {
            let labels = json!({
                "topology.kubernetes.io/zone": zone,
                "topology.kubernetes.io/region": "region-1"
            });
            let node: Node = typed(json!({ "metadata": { "name": name, "labels": labels } }));
            let created = Api::all(self.client.clone()).create(&PostParams::default(), &node).await;
            match created {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                created => drop(created.unwrap()),
            }
        }
    }

    /// A new namespace in which pods can be made.
    pub async fn namespace(&self) -> Shop {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.nodes().await;
        let name = format!("shop-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let namespace: Namespace = typed(json!({ "metadata": { "name": name } }));
        let namespaces = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let shop = Shop { cluster: self.clone(), name };
        let accounts: Api<ServiceAccount> = shop.api();
        until(true, async || accounts.get_opt("default").await.unwrap().is_some()).await;
        shop
    }

    /// Starts an agent that watches the control plane, with these further arguments.
    pub fn agent(&self, arguments: &[&str]) -> Agent {
        agent_by(&self.kubeconfig, tempfile::tempdir().unwrap(), arguments)
    }
}

/// Starts an agent whose source uses this kubeconfig.
pub fn agent_by(kubeconfig: &Path, folder: impl Into<Arc<TempDir>>, arguments: &[&str]) -> Agent {
    let source = format!("kubernetes:kubeconfig={}", kubeconfig.display());
    agent_with(&[&source], folder, arguments)
}

/// Starts an agent with these sources.
pub fn agent_with(sources: &[&str], folder: impl Into<Arc<TempDir>>, arguments: &[&str]) -> Agent {
    let folder = folder.into();
    let mut command = Command::new(POINTSMAN);
    command.arg("agent");
    for source in sources {
        command.args(["--source", source]);
    }
    command.arg("--socket").arg(folder.path().join("agent.sock"));
    command.args(["--admin", "127.0.0.1:0"]).args(arguments);
    let agent = Agent::spawn(folder, command);
    agent.logs("listening");
    agent
}

/// A namespace with objects.
pub struct Shop {
    pub cluster: Cluster,
    pub name: String,
}

impl Shop {
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    /// The name of `cart`, as callers write it.
    pub fn named(&self, service: &str) -> String {
        format!("{service}.{}", self.name)
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Serialize,
        K::DynamicType: Default,
    {
        self.api().create(&PostParams::default(), &typed::<K>(object)).await.unwrap()
    }

    /// Makes a Service with this spec.
    pub async fn service(&self, name: &str, spec: Value) -> Service {
        self.create(json!({ "metadata": { "name": name }, "spec": spec })).await
    }

    /// Makes the Service `cart` without a selector. The tests write its slices.
    pub async fn by_hand(&self, spec: Value) {
        let mut whole = json!({ "ports": [{ "name": "http", "port": 80 }] });
        merge(&mut whole, spec);
        self.service("cart", whole).await;
    }

    /// Makes the Service `cart` whose pods have the label `app: cart`, with these further fields in its
    /// spec.
    pub async fn selecting(&self, spec: Value) {
        let mut whole = json!({
            "selector": { "app": "cart" },
            "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }]
        });
        merge(&mut whole, spec);
        self.service("cart", whole).await;
    }

    /// Makes a slice of `cart`, as a controller other than Kubernetes' own does.
    pub async fn slice(&self, name: &str, endpoints: Value) {
        self.slice_with(name, endpoints, json!({})).await;
    }

    /// Like [`Self::slice`], with other fields.
    pub async fn slice_with(&self, name: &str, endpoints: Value, fields: Value) {
        let mut slice = json!({
            "metadata": { "name": name, "labels": {
                "kubernetes.io/service-name": "cart",
                "endpointslice.kubernetes.io/managed-by": "tests.example.com"
            } },
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 8080 }],
            "endpoints": endpoints
        });
        merge(&mut slice, fields);
        self.create::<EndpointSlice>(slice).await;
    }

    /// Makes this many Services `s0`, `s1` and so on, each with one endpoint.
    pub async fn many(&self, count: usize) {
        let make = async |n: usize| {
            let name = format!("s{n}");
            let ports = json!([{ "name": "http", "port": 80 }]);
            self.service(&name, json!({ "clusterIP": "None", "ports": ports })).await;
            let of = json!({ "metadata": { "labels": { "kubernetes.io/service-name": name } } });
            self.slice_with(&name, json!([{ "addresses": [an_address(n)] }]), of).await;
        };
        let made = futures_util::stream::iter(0..count).map(make).buffer_unordered(4);
        made.collect::<Vec<()>>().await;
    }

    /// Replaces the endpoints of an existing slice.
    pub async fn rewrite(&self, name: &str, endpoints: Value) {
        self.patch::<EndpointSlice>(name, json!({ "endpoints": endpoints })).await;
    }

    /// The resource version of a slice.
    pub async fn version_of_slice(&self, name: &str) -> u64 {
        let slice = self.api::<EndpointSlice>().get(name).await.unwrap();
        slice.metadata.resource_version.unwrap().parse().unwrap()
    }

    /// Makes a pod of `cart` that its kubelet calls ready.
    pub async fn pod(&self, name: &str, ip: &str, node: &str) {
        self.create::<Pod>(json!({
            "metadata": { "name": name, "labels": { "app": "cart" } },
            "spec": { "nodeName": node, "containers": [{ "name": "cart", "image": "cart" }] }
        }))
        .await;
        let status = json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] });
        self.pod_status(name, status).await;
        self.ready(name, true).await;
    }

    /// Sets the status of a pod, as its kubelet would.
    pub async fn pod_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        let pods: Api<Pod> = self.api();
        pods.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn ready(&self, name: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let conditions = json!([{ "type": "Ready", "status": status }]);
        self.pod_status(name, json!({ "conditions": conditions })).await;
    }

    pub async fn patch<K>(&self, name: &str, patch: Value)
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let patch = Patch::Merge(patch);
        self.api::<K>().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Removes a pod completely, as its kubelet does at its end.
    pub async fn pod_gone(&self, name: &str) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.api::<Pod>().delete(name, &now).await.unwrap();
    }

    /// Starts an agent, and waits until it has the names of this namespace.
    pub async fn agent(&self, arguments: &[&str]) -> Agent {
        let agent = self.cluster.agent(arguments);
        agent.logs("answered");
        agent
    }

    /// Waits until the agent has these endpoints of `cart`: addresses and health.
    pub async fn served(&self, agent: &Agent, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(at, health)| ((*at).to_owned(), (*health).to_owned())).collect();
        until(expected, async || endpoints(agent, &self.named("cart")).await).await;
    }

    /// The addresses of this many picks of `cart`.
    pub async fn picked(&self, agent: &Agent, picks: usize) -> BTreeMap<String, usize> {
        let mut http = agent.http().await;
        let mut picked = BTreeMap::new();
        for _ in 0..picks {
            let (address, lease) = http.pick(&self.named("cart")).await;
            http.report(&lease, "SUCCESS").await;
            *picked.entry(address).or_default() += 1;
        }
        picked
    }

    /// The status and message of one pick of `cart`.
    pub async fn pick(&self, agent: &Agent) -> (u16, String) {
        pick(agent, &self.named("cart")).await
    }

    /// The agent's notes on `cart`.
    pub async fn notes(&self, agent: &Agent) -> String {
        let path = format!("/v1/services/{}/explain", self.named("cart"));
        agent.http().await.get(&path).await.1["notes"].to_string()
    }
}

/// The answer to a pick of the service of [`Shop::many`] with this number.
pub fn an_address(n: usize) -> String {
    format!("10.1.{}.{}", n / 250, n % 250 + 1)
}

/// The status and message of one pick.
pub async fn pick(agent: &Agent, service: &str) -> (u16, String) {
    let body = json!({ "service": service }).to_string();
    let (status, body) = agent.http().await.post("/v1/pick", body).await;
    let address = &body["picks"][0];
    let said = match status.is_success() {
        true => format!("{}:{}", address["address"].as_str().unwrap(), address["port"]),
        false => body["error"]["message"].as_str().unwrap().to_owned(),
    };
    (status.as_u16(), said)
}

/// The addresses and health of a service's endpoints. Empty if the agent does not know the service.
pub async fn endpoints(agent: &Agent, service: &str) -> BTreeMap<String, String> {
    let (_, body) = agent.http().await.get(&format!("/v1/services/{service}")).await;
    let endpoints = body["endpoints"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    endpoints
        .iter()
        .map(|it| (format!("{}:{}", text(&it["address"]), it["port"]), text(&it["health"])))
        .collect()
}

/// Waits until the condition is true.
pub async fn until<T: PartialEq + Debug>(expected: T, look: impl AsyncFn() -> T) {
    let begin = tokio::time::Instant::now();
    let mut seen = look().await;
    while seen != expected {
        assert!(begin.elapsed() < PATIENCE, "{seen:#?}\nis not\n{expected:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen = look().await;
    }
}

pub fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

/// Merges two values. `with` takes precedence.
fn merge(into: &mut Value, with: Value) {
    let (Value::Object(into), Value::Object(with)) = (into, with) else { panic!("no object") };
    for (key, value) in with {
        match into.get_mut(&key) {
            Some(known) if known.is_object() => merge(known, value),
            _ => drop(into.insert(key, value)),
        }
    }
}
