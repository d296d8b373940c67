//! Bare servers: they read the same calls and answer the same bytes, without any decision.

use std::{
    convert::Infallible,
    env, fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    process::{self, Child, Command, Stdio},
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue,
    header::{CONTENT_TYPE, SERVER},
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tonic::{
    Status, Streaming,
    codegen::tokio_stream::{Stream, StreamExt},
};

use crate::{
    api::v1::{self, agent_server::AgentServer, session_answer::Answer, session_call::Call},
    clock,
    serve::http::PRODUCT,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of threads with which the agent serves its socket.
const WORKERS: usize = 2;

/// The process of the bare servers. Drop kills it and removes its folder.
pub(super) struct FloorProcess {
    process: Child,
    folder: PathBuf,
}

impl FloorProcess {
    pub(super) fn start() -> io::Result<Self> {
        let folder = env::temp_dir().join(format!("pointsman-floor-{}", process::id()));
        fs::create_dir(&folder)?;
        let process = Command::new(env::current_exe()?)
            .args(["bench", "socket", "--floor"])
            .arg(&folder)
            .stdin(Stdio::null())
            .spawn()
            .inspect_err(|_| _ = fs::remove_dir_all(&folder))?;
        let floor = Self { process, folder };
        let start = clock::now();
        while std::os::unix::net::UnixStream::connect(floor.http()).is_err() {
            if clock::now() - start > TIMEOUT {
                return Err(io::Error::other("the bare server did not start"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(floor)
    }

    pub(super) fn grpc(&self) -> PathBuf {
        grpc_socket(&self.folder)
    }

    pub(super) fn http(&self) -> PathBuf {
        http_socket(&self.folder)
    }
}

impl Drop for FloorProcess {
    fn drop(&mut self) {
        // It may have ended already. There is nothing to do about an error.
        self.process.kill().ok();
        self.process.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn grpc_socket(folder: &Path) -> PathBuf {
    folder.join("grpc.sock")
}

fn http_socket(folder: &Path) -> PathBuf {
    folder.join("http.sock")
}

/// Serves both in this process until it is killed.
pub(super) fn serve(folder: &Path) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let grpc = Connections(UnixListener::bind(grpc_socket(folder))?);
        let grpc = tonic::transport::Server::builder()
            .add_service(AgentServer::new(CannedAgent))
            .serve_with_incoming(grpc);
        let http = UnixListener::bind(http_socket(folder))?;
        tokio::select! {
            ended = grpc => ended.map_err(io::Error::other),
            ended = serve_http(http) => ended,
        }
    })
}

/// Accepted connections, as the stream that tonic needs.
struct Connections(UnixListener);

impl Stream for Connections {
    type Item = io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(context).map_ok(|(stream, _)| stream).map(Some)
    }
}

async fn serve_http(listener: UnixListener) -> io::Result<()> {
    let pick = Bytes::from(format!("{}\n", serde_json::to_string(&pick())?));
    let report = Bytes::from(format!("{}\n", serde_json::to_string(&report())?));
    loop {
        let (stream, _) = listener.accept().await?;
        let (pick, report) = (pick.clone(), report.clone());
        let answer = move |request: Request<Incoming>| {
            let body = if request.uri().path() == "/v1/pick" { &pick } else { &report }.clone();
            async move {
                // Reads the body to its end, as the agent does.
                let read = request.into_body().collect().await;
                let mut response = Response::new(Full::new(body));
                // The agent's headers, so that answers have the same size.
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(SERVER, PRODUCT);
                if read.is_err() {
                    *response.status_mut() = http::StatusCode::BAD_REQUEST;
                }
                Ok::<_, Infallible>(response)
            }
        };
        tokio::spawn(async move {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await
                .ok()
        });
    }
}

/// The answer of the agent in this bench.
fn pick() -> v1::PickResponse {
    let pick = v1::Pick {
        address: "10.0.0.42".into(),
        port: 80,
        zone: "z0".into(),
        node: "n42".into(),
        lease: "AAAAAAAAAAAAAAAAAAAAAA".into(),
        ..v1::Pick::default()
    };
    v1::PickResponse { picks: vec![pick], plan: 1, stale: false }
}

fn report() -> v1::ReportResponse {
    v1::ReportResponse { accepted: 1, unknown: Vec::new() }
}

struct CannedAgent;

type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl v1::agent_server::Agent for CannedAgent {
    type SessionStream = AnswerStream<v1::SessionResponse>;
    type WatchServiceStream = AnswerStream<v1::WatchEvent>;

    async fn pick(
        &self,
        _: tonic::Request<v1::PickRequest>,
    ) -> Result<tonic::Response<v1::PickResponse>, Status> {
        Ok(tonic::Response::new(pick()))
    }

    async fn report(
        &self,
        _: tonic::Request<v1::ReportRequest>,
    ) -> Result<tonic::Response<v1::ReportResponse>, Status> {
        Ok(tonic::Response::new(report()))
    }

    async fn session(
        &self,
        requests: tonic::Request<Streaming<v1::SessionRequest>>,
    ) -> Result<tonic::Response<Self::SessionStream>, Status> {
        let answer = |call: v1::SessionCall| v1::SessionAnswer {
            id: call.id,
            answer: Some(match call.call {
                Some(Call::Report(_)) => Answer::Report(report()),
                _ => Answer::Pick(pick()),
            }),
        };
        let answers = requests.into_inner().map(move |request| {
            let answers = request?.calls.into_iter().map(answer).collect();
            Ok(v1::SessionResponse { answers })
        });
        Ok(tonic::Response::new(Box::pin(answers)))
    }

    async fn list_services(
        &self,
        _: tonic::Request<v1::ListServicesRequest>,
    ) -> Result<tonic::Response<v1::ListServicesResponse>, Status> {
        Err(Status::unimplemented("it answers picks and reports"))
    }

    async fn get_service(
        &self,
        _: tonic::Request<v1::GetServiceRequest>,
    ) -> Result<tonic::Response<v1::GetServiceResponse>, Status> {
        Err(Status::unimplemented("it answers picks and reports"))
    }

    async fn watch_service(
        &self,
        _: tonic::Request<v1::WatchServiceRequest>,
    ) -> Result<tonic::Response<Self::WatchServiceStream>, Status> {
        Err(Status::unimplemented("it answers picks and reports"))
    }

    async fn list_callers(
        &self,
        _: tonic::Request<v1::ListCallersRequest>,
    ) -> Result<tonic::Response<v1::ListCallersResponse>, Status> {
        Err(Status::unimplemented("it answers picks and reports"))
    }

    async fn explain(
        &self,
        _: tonic::Request<v1::ExplainRequest>,
    ) -> Result<tonic::Response<v1::ExplainResponse>, Status> {
        Err(Status::unimplemented("it answers picks and reports"))
    }
}
