//! A real agent on its own socket, and real clients for it.

#![allow(dead_code, reason = "each test binary uses its part of it")]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

use std::{
    fs::Permissions,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::api::v1::agent_client::AgentClient;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// The program under test.
pub const POINTSMAN: &str = env!("CARGO_BIN_EXE_pointsman");

/// Two services: one with one port and three endpoints, one with two ports.
pub const SHOP: &str = "
services:
  - name: cart.shop
    endpoints:
      - {address: '10.1.2.3:8080', zone: a, labels: {shard: '1'}}
      - {address: '10.1.2.4:8080', zone: b, labels: {shard: '2'}}
      - {address: '10.1.2.5:8080', zone: a, labels: {shard: '1'}}
  - name: pay.shop
    ports: [{name: grpc, port: 9090}, {name: http, port: 80}]
    endpoints: [{address: 10.2.0.1}, {address: 10.2.0.2}]
";

/// The limit for waits that take milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent. Drop kills it.
pub struct Agent {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// The folder of its socket and files. A later agent may use it again.
    pub folder: Arc<TempDir>,
}

/// A gRPC client that connects with its first call.
pub fn grpc_client(socket: std::path::PathBuf) -> AgentClient<Channel> {
    let endpoint = Endpoint::from_static("http://localhost");
    AgentClient::new(endpoint.connect_with_connector_lazy(connector(socket)))
}

fn connector(
    socket: std::path::PathBuf,
) -> impl tower::Service<
    http::Uri,
    Response = TokioIo<UnixStream>,
    Error = std::io::Error,
    Future = impl Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send,
> + Send
+ 'static {
    tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    })
}

impl Agent {
    /// Starts an agent with these services.
    pub fn with(services: &str) -> Self {
        Self::with_arguments(services, &[])
    }

    /// Starts an agent with these services and arguments.
    pub fn with_arguments(services: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("services.yaml"), services).unwrap();
        let agent = Self::in_folder(folder, arguments);
        agent.logs("answered");
        agent
    }

    /// An agent whose only source never answers.
    pub fn with_silent_source() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), &[])
    }

    /// Starts an agent with these arguments. Its services are `services.yaml` in the folder.
    pub fn in_folder(folder: impl Into<Arc<TempDir>>, arguments: &[&str]) -> Self {
        let folder = folder.into();
        let mut command = command(folder.path());
        command.args(arguments);
        Self::run(folder, command)
    }

    /// Starts an agent by another program, whose arguments end with the agent's command line.
    pub fn in_folder_by(folder: TempDir, starter: &[&str]) -> Self {
        let started = command(folder.path());
        let mut command = Command::new(starter[0]);
        command.args(&starter[1..]).arg(started.get_program()).args(started.get_args());
        command.stdin(Stdio::null());
        Self::run(folder, command)
    }

    fn run(folder: impl Into<Arc<TempDir>>, command: Command) -> Self {
        let agent = Self::spawn(folder, command);
        agent.logs("listening");
        agent
    }

    /// Starts an agent by this command, which may fail.
    pub fn spawn(folder: impl Into<Arc<TempDir>>, mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let keep = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                keep.lock().unwrap().push(line);
            }
        });
        Self { process, log, folder: folder.into() }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line in its log.
    pub fn logs(&self, part: &str) -> String {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if let Some(line) = self.log.lock().unwrap().iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no {part:?} in the log: {:#?}", self.log.lock().unwrap());
    }

    /// The effective value of this setting of `cart.shop`.
    pub async fn setting(&self, name: &str) -> serde_json::Value {
        let (_, explained) = self.http().await.get("/v1/services/cart.shop/explain").await;
        let policy = explained["policy"].as_array().unwrap();
        policy.iter().find(|it| it["name"] == name).unwrap()["value"].clone()
    }

    /// The address of its admin pages.
    pub fn admin(&self) -> String {
        let line = self.logs("listening");
        line.split("admin=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    /// The status and text of one of its admin pages.
    pub async fn admin_page(&self, path: &str) -> (StatusCode, String) {
        let stream = tokio::net::TcpStream::connect(self.admin()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "x").body(Full::<Bytes>::default());
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Whether its log has a line with this part.
    pub fn has_logged(&self, part: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(part))
    }

    /// The lines of its log that contain all of these parts.
    pub fn logged(&self, parts: &[&str]) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it has not ended: {:#?}", self.log.lock().unwrap());
    }

    /// Kills it and returns its folder, for the next agent.
    pub fn kill(mut self) -> Arc<TempDir> {
        self.process.kill().unwrap();
        assert_eq!(self.process.wait().unwrap().signal(), Some(9));
        self.folder.clone()
    }

    /// Runs a `pointsman` command against it.
    pub fn cli(&self, arguments: &[&str]) -> Ran {
        Command::new(POINTSMAN)
            .args(arguments)
            .env("POINTSMAN_SOCKET", self.socket())
            .output()
            .unwrap()
            .into()
    }

    /// Runs a `pointsman` command against it as user 65534. Needs [`root_is_here`].
    pub fn cli_as_nobody(&self, arguments: &[&str]) -> Ran {
        self.open_folder();
        let program = self.folder.path().join("pointsman");
        std::fs::copy(POINTSMAN, &program).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).env("POINTSMAN_SOCKET", self.socket());
        command.uid(65534).output().unwrap().into()
    }

    /// Lets other users reach its socket.
    pub fn open_folder(&self) {
        let open = Permissions::from_mode(0o755);
        std::fs::set_permissions(self.folder.path(), open).unwrap();
    }

    /// A gRPC client on a connection of its own.
    pub async fn grpc(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel().await)
    }

    /// A connection for gRPC clients.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_static("http://localhost");
        endpoint.connect_with_connector(connector(self.socket())).await.unwrap()
    }

    /// An HTTP/1.1 client on a connection of its own.
    pub async fn http(&self) -> Http {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Http(sender)
    }

    /// Sends one HTTP/2 request, by prior knowledge, on a connection of its own. Returns the whole answer.
    pub async fn http2(&self, request: Request<Full<Bytes>>) -> (Response<Bytes>, HeaderMap) {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        (Response::from_parts(head, body.to_bytes()), trailers)
    }

    /// Makes one gRPC call of raw bytes. Returns the code and the message of the answer.
    pub async fn grpc_raw(
        &self,
        path: &str,
        body: Vec<u8>,
        headers: &[(&str, &str)],
    ) -> (i32, String) {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (response, trailers) =
            self.http2(request.body(Full::new(Bytes::from(body))).unwrap()).await;
        assert_eq!(response.status(), 200, "gRPC has its own codes");
        let field = |name: &str| {
            let value = trailers.get(name).or_else(|| response.headers().get(name));
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let code = field("grpc-status").unwrap().parse().unwrap();
        (code, field("grpc-message").unwrap_or_default())
    }

    /// The agent's count of requests in flight to all endpoints of a service.
    pub async fn in_flight(&self, service: &str) -> u64 {
        let (_, body) = self.http().await.get(&format!("/v1/services/{service}")).await;
        let endpoints = body["endpoints"].as_array().unwrap().iter();
        endpoints.map(|endpoint| endpoint["inFlight"].as_u64().unwrap_or(0)).sum()
    }

    /// Waits until this many requests are in flight.
    pub async fn in_flight_is(&self, service: &str, expected: u64) {
        let mut seen = 0;
        for _ in 0..PATIENCE.as_millis() / 10 {
            seen = self.in_flight(service).await;
            if seen == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{seen} in flight, not {expected}");
    }

    /// Waits until its metrics have this line.
    pub async fn metrics_say(&self, line: &str) {
        let mut metrics = String::new();
        for _ in 0..PATIENCE.as_millis() / 10 {
            metrics = self.admin_page("/metrics").await.1;
            if metrics.lines().any(|each| each == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no line {line}: {metrics}");
    }

    /// Waits until the agent has found what this name probably means. It searches beside its calls: on a
    /// busy machine the first answers may come without a suggestion.
    pub async fn finds_a_suggestion_for(&self, name: &str) {
        let mut http = self.http().await;
        let body = serde_json::json!({ "service": name }).to_string();
        let mut answer = serde_json::Value::Null;
        for _ in 0..20 {
            answer = http.post("/v1/pick", body.clone()).await.1;
            if answer["error"]["message"].as_str().is_some_and(|said| said.contains("did you mean"))
            {
                return;
            }
        }
        panic!("no suggestion: {answer}");
    }

    /// Checks that it still serves.
    pub async fn still_serves(&self) {
        let pick = serde_json::json!({ "service": "cart.shop" });
        let (status, body) = self.http().await.post("/v1/pick", pick.to_string()).await;
        assert_eq!(status, 200, "{body}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Whether this process may become another user. If not, the test fails, unless `POINTSMAN_WITHOUT_ROOT`
/// is set: then it prints what is not tested, and scripts/test counts that.
pub fn root_is_here(what: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("POINTSMAN_WITHOUT_ROOT").is_some(),
        "{what} needs root; POINTSMAN_WITHOUT_ROOT=1 leaves out what does"
    );
    // Not with eprintln!, whose output a test that passes does not show.
    let said = format!("not here: {what} needs root\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    false
}

/// The command line of an agent in a folder.
pub fn command(folder: &Path) -> Command {
    command_at(&folder.join("agent.sock"), "127.0.0.1:0")
}

/// The command line of an agent, with its services file beside the socket.
pub fn command_at(socket: &Path, admin: &str) -> Command {
    let services = socket.with_file_name("services.yaml");
    let mut command = Command::new(POINTSMAN);
    command
        .arg("agent")
        .arg("--source")
        .arg(format!("file:{}", services.display()))
        .arg("--socket")
        .arg(socket)
        .args(["--admin", admin])
        .stdin(Stdio::null());
    command
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// An HTTP/1.1 connection.
pub struct Http(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Http {
    pub async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        let (status, _, body) = self.send(Method::GET, path, Vec::new()).await;
        (status, body)
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Vec<u8>>) -> (StatusCode, Value) {
        let (status, _, body) = self.send(Method::POST, path, body.into()).await;
        (status, body)
    }

    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> (StatusCode, HeaderMap, Value) {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        // After the answer before was read, its connection may not be ready for a moment.
        self.0.ready().await.unwrap();
        let (head, body) = self.0.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_else(|error| {
            panic!("{error}: {:?}", String::from_utf8_lossy(&body));
        });
        (head.status, head.headers, body)
    }

    /// On a connection of its own.
    pub async fn connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// On a given connection.
    pub async fn over(stream: std::os::unix::net::UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        let stream = UnixStream::from_std(stream).unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Like [`Self::post`], for a connection that may end. Also returns whether it ends with this answer.
    pub async fn try_post(
        &mut self,
        path: &str,
        body: String,
    ) -> hyper::Result<(StatusCode, bool, Value)> {
        self.0.ready().await?;
        let request = Request::post(path).header("host", "localhost");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let (head, body) = self.0.send_request(request).await?.into_parts();
        let close = head.headers.get("connection").is_some_and(|value| value == "close");
        let body = body.collect().await?.to_bytes();
        Ok((head.status, close, serde_json::from_slice(&body).unwrap()))
    }

    /// Picks from a service; returns the address and the lease.
    pub async fn pick(&mut self, service: &str) -> (String, String) {
        let request = serde_json::json!({ "service": service }).to_string();
        let (status, body) = self.post("/v1/pick", request).await;
        assert_eq!(status, 200, "{body}");
        let pick = &body["picks"][0];
        let text = |name: &str| pick[name].as_str().unwrap().to_owned();
        (format!("{}:{}", text("address"), pick["port"]), text("lease"))
    }

    /// Reports one lease. Returns whether it was known.
    pub async fn report(&mut self, lease: &str, outcome: &str) -> bool {
        let report = serde_json::json!({ "reports": [{ "lease": lease, "outcome": outcome }] });
        let (status, body) = self.post("/v1/report", report.to_string()).await;
        assert_eq!(status, 200, "{body}");
        body["accepted"] == 1
    }
}

/// Reports failures of one endpoint, and successes of all others, until it is ejected.
pub async fn eject(agent: &Agent, service: &str, bad: &str) {
    let mut http = agent.http().await;
    for _ in 0..2000 {
        let (address, lease) = http.pick(service).await;
        let outcome = if address == bad { "FAILURE" } else { "SUCCESS" };
        http.report(&lease, outcome).await;
        if state_of(agent, service, bad).await == "ejected" {
            return;
        }
    }
    panic!("{bad} is {}", state_of(agent, service, bad).await);
}

/// An endpoint's state.
pub async fn state_of(agent: &Agent, service: &str, address: &str) -> String {
    let (_, body) = agent.http().await.get(&format!("/v1/services/{service}")).await;
    let endpoints = body["endpoints"].as_array().unwrap_or_else(|| panic!("{body}"));
    let is_it = |it: &&Value| {
        format!("{}:{}", it["address"].as_str().unwrap_or_default(), it["port"]) == address
    };
    let found = endpoints.iter().find(is_it).unwrap_or_else(|| panic!("{address}: {body}"));
    found["state"].as_str().unwrap_or_else(|| panic!("{found}")).to_owned()
}
