//! A real agent as a child process, with generated services, used over its socket.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::{http_client::post, temporary_folder::TemporaryFolder};
use crate::{
    api::v1::{Outcome, PickRequest, Report, ReportRequest, agent_client::AgentClient},
    clock,
};

/// How long the agent may take to read its services and to answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The number of endpoints of a service.
pub(super) const ENDPOINTS: usize = 100;

/// A running agent. Drop kills it and removes its folder.
pub(super) struct AgentProcess {
    process: Child,
    folder: TemporaryFolder,
}

impl AgentProcess {
    /// Starts an agent with this many services of [`ENDPOINTS`] endpoints each.
    pub(super) fn start(services: usize) -> io::Result<Self> {
        Self::start_in(services, None)
    }

    /// The same, in a control group.
    pub(super) fn start_in(services: usize, group: Option<&Path>) -> io::Result<Self> {
        Self::start_on(&services_file(services), group)
    }

    /// Starts an agent with this services file.
    pub(super) fn start_on(services: &str, group: Option<&Path>) -> io::Result<Self> {
        let folder = TemporaryFolder::new()?;
        fs::write(folder.join("services.yaml"), services)?;
        let source = file_source(&folder);
        Self::start_from(folder, &source, group)
    }

    /// Starts an agent with this source.
    pub(super) fn start_from(
        folder: TemporaryFolder,
        source: &str,
        group: Option<&Path>,
    ) -> io::Result<Self> {
        let process = spawn(&folder, source, &[], group)?;
        let mut agent = Self { process, folder };
        agent.wait_for_socket()?;
        Ok(agent)
    }

    /// Like [`start`](Self::start), with a state in its folder.
    pub(super) fn start_with_state(services: usize) -> io::Result<Self> {
        let mut agent = Self::start(services)?;
        agent.end()?;
        agent.process = spawn(&agent.folder, &file_source(&agent.folder), &[agent.state()], None)?;
        agent.wait_for_socket()?;
        Ok(agent)
    }

    /// Ends the agent and starts it again with only its state. Returns the time to its first pick.
    pub(super) fn restart_without_source(&mut self) -> io::Result<Duration> {
        self.end()?;
        match fs::remove_file(self.folder.join("services.yaml")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let start = clock::now();
        self.process = spawn(&self.folder, &file_source(&self.folder), &[self.state()], None)?;
        while !self.picks()? {
            if clock::now() - start > TIMEOUT {
                return Err(io::Error::other("it never picked"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(clock::now() - start)
    }

    fn state(&self) -> String {
        format!("--state={}", self.folder.join("state").display())
    }

    /// Ends it with SIGTERM, so that it writes its state.
    fn end(&mut self) -> io::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.process.wait().map(drop)
    }

    /// Whether it runs and answers a pick.
    fn picks(&self) -> io::Result<bool> {
        let Ok(mut socket) = std::os::unix::net::UnixStream::connect(self.socket()) else {
            return Ok(false);
        };
        let body = format!("{{\"service\":\"{}\"}}", service_name(0));
        Ok(post(&mut socket, "/v1/pick", &body)?.starts_with("HTTP/1.1 200 "))
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub(super) fn runs(&mut self) -> io::Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// The address of its admin pages, from its log.
    pub(super) fn admin(&self) -> io::Result<SocketAddr> {
        let log = fs::read_to_string(self.folder.join("agent.log"))?;
        let said = log.split("admin=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = said.and_then(|address| address.parse().ok());
        address.ok_or_else(|| io::Error::other(format!("no admin address in its log:\n{log}")))
    }

    /// Lets other users reach its socket.
    pub(super) fn open_folder(&self) -> io::Result<()> {
        fs::set_permissions(&*self.folder, fs::Permissions::from_mode(0o755))
    }

    fn wait_for_socket(&mut self) -> io::Result<()> {
        let start = clock::now();
        while std::os::unix::net::UnixStream::connect(self.folder.join("agent.sock")).is_err() {
            if clock::now() - start > TIMEOUT || self.process.try_wait()?.is_some() {
                let log = fs::read_to_string(self.folder.join("agent.log"))?;
                return Err(io::Error::other(format!("the agent did not start:\n{log}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }

    /// A gRPC client on a connection of its own.
    pub(super) async fn connect(&self) -> io::Result<AgentClient<Channel>> {
        let socket = self.folder.join("agent.sock");
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(TIMEOUT);
        let channel = endpoint.connect_with_connector(connect).await.map_err(io::Error::other)?;
        Ok(AgentClient::new(channel))
    }

    /// Picks once from each of the first `services` services, and reports each pick.
    pub(super) fn pick_from(&self, services: usize) -> io::Result<()> {
        self.pick_of((0..services).map(service_name))
    }

    /// Picks once from each of these services, and reports each pick.
    pub(super) fn pick_of(&self, services: impl IntoIterator<Item = String>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut client = self.connect().await?;
            for service in services {
                pick_and_report(&mut client, service).await?;
            }
            Ok(())
        })
    }
}

fn file_source(folder: &Path) -> String {
    format!("file:{}", folder.join("services.yaml").display())
}

fn spawn(
    folder: &Path,
    source: &str,
    arguments: &[String],
    group: Option<&Path>,
) -> io::Result<Child> {
    let log = fs::File::create(folder.join("agent.log"))?;
    let mut command = match group {
        // The process enters the group by itself, so that all of its memory counts there.
        Some(group) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", "echo $$ >\"$0\"; exec \"$@\""]).arg(group.join("cgroup.procs"));
            shell.arg(env::current_exe()?);
            // As the DaemonSet sets it, whose limit the group has.
            shell.env("MALLOC_ARENA_MAX", "2");
            shell
        }
        None => Command::new(env::current_exe()?),
    };
    command
        .arg("agent")
        .arg(format!("--source={source}"))
        .arg(format!("--socket={}", folder.join("agent.sock").display()))
        .arg("--admin=127.0.0.1:0")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
}

async fn pick_and_report(client: &mut AgentClient<Channel>, service: String) -> io::Result<()> {
    // The agent may still read its source.
    let wait = Some(Duration::from_secs(5).into());
    let request = PickRequest { service, wait, ..PickRequest::default() };
    let answer = client.pick(request).await.map_err(io::Error::other)?.into_inner();
    let outcome = Outcome::Success.into();
    let ended = |lease| Report { lease, outcome, ..Report::default() };
    let reports = answer.picks.into_iter().map(|pick| ended(pick.lease)).collect();
    client.report(ReportRequest { reports }).await.map_err(io::Error::other)?;
    Ok(())
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // It may have ended already. There is nothing to do about an error.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub(super) fn service_name(service: usize) -> String {
    format!("s{service}.bench")
}

/// A services file in which each endpoint has a zone and a node, as in a cluster.
fn services_file(services: usize) -> String {
    let mut yaml = String::from("services:\n");
    if services == 0 {
        return "services: []\n".to_owned();
    }
    for service in 0..services {
        let name = service_name(service);
        writeln!(yaml, "  - name: {name}\n    endpoints:").expect("a string takes it");
        for endpoint in 0..ENDPOINTS {
            let (high, low, zone) = (service / 256, service % 256, endpoint % 3);
            writeln!(
                yaml,
                "      - {{address: '10.{high}.{low}.{endpoint}:80', zone: z{zone}, node: n{endpoint}}}"
            )
            .expect("a string takes it");
        }
    }
    yaml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_file_names_every_service_and_endpoint_once() {
        let yaml = services_file(300);
        assert_eq!(yaml.matches("name: ").count(), 300);
        let mut addresses: Vec<&str> =
            yaml.lines().filter_map(|line| line.split('\'').nth(1)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 300 * ENDPOINTS);
    }
}
