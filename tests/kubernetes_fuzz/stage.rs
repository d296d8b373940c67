//! A namespace of a real API server, and agents in two zones that watch it.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    ask::{self, Difference},
    cluster::{Cluster, agent_by},
    objects::{History, Objects, Place},
    operation::{Kind, Operation},
    oracle::Oracle,
    proxy::Proxy,
    support::Agent,
};

/// The places of the agents. The first gets its zone from its Node, and keeps its state across
/// restarts. The second gets its zone as an argument, and keeps nothing.
pub const PLACES: [Place; 2] =
    [Place { node: "node-a", zone: "zone-a" }, Place { node: "node-b", zone: "zone-b" }];

/// After an interruption an agent asks its API server again within ten seconds.
const BACK: Duration = Duration::from_secs(15);
/// How long an API server may take to start.
const AWAY: Duration = Duration::from_secs(60);
/// The time between two checks of a condition.
const LOOK: Duration = Duration::from_millis(40);

/// The changes that an agent may know that was killed during an interruption.
const NOTHING_KNOWN: usize = usize::MAX;

pub struct Stage<'a> {
    cluster: &'a Cluster,
    oracle: Oracle,
    patience: Duration,
    namespace: String,
    history: History,
    seats: Vec<Seat>,
    /// The last objects on which all agents agreed.
    settled: Option<usize>,
    pub checks: usize,
}

/// A wrong answer of an agent.
#[derive(Clone)]
pub struct Mismatch {
    pub agent: usize,
    difference: Difference,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { node, zone } = PLACES[self.agent];
        write!(f, "agent {} ({node}, {zone}) is asked for {}", self.agent, self.difference)
    }
}

/// The agent's place, whether it runs or not.
struct Seat {
    number: usize,
    folder: Arc<TempDir>,
    kubeconfig: PathBuf,
    proxy: Proxy,
    agent: Option<Agent>,
    /// Set while its connection is interrupted: the number of changes that it may know.
    cut: Option<usize>,
    /// Whether something happened to it since the last check.
    troubled: bool,
}

impl<'a> Stage<'a> {
    /// Agents with these numbers. Each check waits this long for them to agree.
    pub async fn new(
        cluster: &'a Cluster,
        agents: &[usize],
        oracle: Oracle,
        patience: Duration,
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("fuzz-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let body = json!({ "metadata": { "name": namespace } });
        call(&cluster.client, Method::POST, "/api/v1/namespaces", Some(&body)).await.unwrap();
        let seats = agents.iter().map(|number| Seat::new(*number, &cluster.kubeconfig)).collect();
        let mut history = History::default();
        history.note(Objects::default());
        let (settled, checks) = (None, 0);
        Self { cluster, oracle, patience, namespace, history, seats, settled, checks }
    }

    /// Runs a step. For a check it returns what the agents answer wrongly.
    pub async fn perform(&mut self, operation: &Operation) -> Option<Mismatch> {
        match operation {
            Operation::Create(kind, name, object) => {
                self.write(*kind, name, Method::POST, &kind.path(&self.namespace), Some(object))
                    .await;
            }
            Operation::Patch(kind, name, patch) => {
                let path = format!("{}/{name}", kind.path(&self.namespace));
                self.write(*kind, name, Method::PATCH, &path, Some(patch)).await;
            }
            Operation::Delete(kind, name) => {
                let path = format!("{}/{name}", kind.path(&self.namespace));
                self.write(*kind, name, Method::DELETE, &path, None).await;
            }
            Operation::Restart => {
                restart_api_server(&self.cluster.kubeconfig);
                self.seats.iter_mut().for_each(|seat| seat.troubled = true);
            }
            Operation::Check => return self.check().await,
            Operation::Kill(number)
            | Operation::Start(number)
            | Operation::Cut(number)
            | Operation::Mend(number) => {
                let now = self.history.0.len();
                if let Some(seat) = self.seats.iter_mut().find(|seat| seat.number == *number) {
                    seat.perform(operation, now);
                }
            }
        }
        None
    }

    async fn write(
        &mut self,
        kind: Kind,
        name: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) {
        let delete = method == Method::DELETE;
        if let Some(answer) = call(&self.cluster.client, method, path, body).await {
            let mut now = self.history.now();
            if delete {
                now.remove(kind, name)
            } else {
                now.put(kind, name, answer)
            }
            self.history.note(now);
        }
    }

    async fn check(&mut self) -> Option<Mismatch> {
        self.checks += 1;
        for seat in &self.seats {
            // While the API server is away, the agent serves what it knew last.
            let since = seat.cut.filter(|_| seat.cut == self.settled);
            if let Some(known) = since {
                let known = History(self.history.0[..known].to_vec());
                if let Some(mut found) = self.look(seat, &known).await {
                    found.difference.asked += ", cut off";
                    return Some(found);
                }
            }
        }
        let mut patience = self.patience;
        for seat in &mut self.seats {
            seat.perform(&Operation::Mend(seat.number), 0);
            seat.perform(&Operation::Start(seat.number), 0);
            if std::mem::take(&mut seat.troubled) {
                patience = self.patience + BACK;
            }
        }
        let until = Instant::now() + patience;
        for seat in &self.seats {
            while let Some(found) = self.look(seat, &self.history).await {
                if Instant::now() > until {
                    return Some(found);
                }
                sleep(LOOK).await;
            }
        }
        self.settled = Some(self.history.0.len());
        None
    }

    /// The first wrong answer of an agent, given this history.
    async fn look(&self, seat: &Seat, history: &History) -> Option<Mismatch> {
        let agent = seat.agent.as_ref()?;
        let place = PLACES[seat.number];
        for question in ask::questions(&history.now()) {
            let expected = self.oracle.expected(history, &question, place);
            let name = question.name(&self.namespace);
            if let Some(Difference { asked, expected, seen }) =
                ask::difference(agent, &name, &expected).await
            {
                // Each run has another namespace.
                let said = |text: String| text.replace(&self.namespace, "NAMESPACE");
                let difference =
                    Difference { asked: said(asked), expected: said(expected), seen: said(seen) };
                return Some(Mismatch { agent: seat.number, difference });
            }
        }
        None
    }

    pub async fn end(self) {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        call(&self.cluster.client, Method::DELETE, &path, None).await;
    }
}

impl Seat {
    fn new(number: usize, kubeconfig: &Path) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let (proxy, through) = Proxy::before(kubeconfig, folder.path());
        let mut seat = Self {
            number,
            folder,
            kubeconfig: through,
            proxy,
            agent: None,
            cut: None,
            troubled: false,
        };
        seat.start();
        seat
    }

    fn start(&mut self) {
        let place = PLACES[self.number];
        let state = self.folder.path().join("state").display().to_string();
        let arguments: &[&str] = match self.number {
            0 => &["--node", place.node, "--state", &state],
            _ => &["--node", place.node, "--zone", place.zone],
        };
        self.agent = Some(agent_by(&self.kubeconfig, self.folder.clone(), arguments));
    }

    /// A change of an agent. `now` is the number of changes so far.
    fn perform(&mut self, operation: &Operation, now: usize) {
        match operation {
            Operation::Kill(_) => {
                if let Some(agent) = self.agent.take() {
                    agent.kill();
                    self.troubled = true;
                    self.cut = self.cut.map(|_| NOTHING_KNOWN);
                }
            }
            Operation::Start(_) if self.agent.is_none() => self.start(),
            Operation::Cut(_) if self.cut.is_none() => {
                self.proxy.cut();
                self.cut = Some(now);
                self.troubled = true;
            }
            Operation::Mend(_) => {
                self.proxy.mend();
                self.cut = None;
            }
            _ => {}
        }
    }
}

/// The API server's answer. `None` if it refuses. While the server is away, this asks again.
async fn call(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Option<Value> {
    let begin = Instant::now();
    loop {
        let kind = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder().method(&method).uri(path).header("content-type", kind);
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        match client.request(request.body(body).unwrap()).await {
            Ok(answer) => return Some(answer),
            Err(kube::Error::Api(status)) if (400..500).contains(&status.code) => return None,
            Err(error) => assert!(begin.elapsed() < AWAY, "{method} {path}: {error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Restarts the API server of this kubeconfig's folder.
fn restart_api_server(kubeconfig: &Path) {
    let folder = kubeconfig.parent().unwrap().parent().unwrap();
    for action in ["stop", "start"] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/control-plane");
        let ran = Command::new(script).arg(action).arg(folder).arg("kube-apiserver").output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}
