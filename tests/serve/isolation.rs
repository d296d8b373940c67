//! The memory that one caller's attacks cost the agent, and that another caller is served meanwhile.
//!
//! `pointsman bench isolation` does the same for a minute per attack, in the DaemonSet's control group.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman::{
    bench::isolation::attacks::{ATTACKS, Target},
    clock,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    sync::mpsc,
};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::{
    quotas::{as_nobody, open_more_files},
    support::{Agent, SHOP, root_is_here},
};

const LASTS: Duration = Duration::from_secs(2);
/// The longest time of another caller's pick. This only checks that the pick is served; the bench
/// judges the time.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most memory that an attack may add, in KiB. With an agent of 15 MiB the sum is below the 96 MiB
/// that the bench requires.
const MOST: u64 = 72 << 10;
/// The bytes of unfinished requests that one caller may have.
const ONE_CALLERS: usize = 87 << 18;

fn peak_kib(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn whatever_one_caller_sends_memory_is_bounded_and_another_is_served() {
    if !root_is_here("attacks by another user") {
        return;
    }
    open_more_files();
    for attack in ATTACKS {
        let agent = Agent::with(SHOP);
        agent.open_folder();
        let mut another = agent.http().await;
        another.pick("cart.shop").await;
        let before = peak_kib(&agent);
        let target = Target { socket: agent.socket(), admin: agent.admin().parse().unwrap() };
        let attacking = std::thread::spawn(move || as_nobody(|| attack.run(target, LASTS)));
        while !attacking.is_finished() {
            let pick = tokio::time::timeout(PATIENCE, another.pick("cart.shop"));
            pick.await.unwrap_or_else(|_| panic!("{}: a pick took too long", attack.name));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        attacking.join().unwrap().unwrap();
        let grown = peak_kib(&agent) - before;
        assert!(grown < MOST, "{}: {grown} KiB more", attack.name);
        agent.still_serves().await;
        assert!(lives(&agent).await, "{}", attack.name);
    }
}

/// Whether the admin address answers a probe from another address, such as the kubelet's, at the first
/// attempt.
async fn lives(agent: &Agent) -> bool {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(agent.admin().parse().unwrap()).await.unwrap();
    let probe = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(probe).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.starts_with("HTTP/1.1 200 ")
}

/// Waits until no unfinished bytes are counted any more.
async fn all_is_given_back(agent: &Agent) {
    for _ in 0..1000 {
        if agent.admin_page("/metrics").await.1.contains("pointsman_unfinished_bytes 0\n") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", agent.admin_page("/metrics").await.1);
}

#[tokio::test]
async fn who_leaves_bodies_unfinished_is_told_so_and_served_again_once_they_are_gone() {
    let agent = Agent::with(SHOP);
    let body = vec![b' '; (1 << 20) - 1];
    let begin = || {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
            .write_all(b"POST /v1/pick HTTP/1.1\r\nhost: x\r\ncontent-length: 1048576\r\n\r\n")
            .unwrap();
        // The agent may have refused it meanwhile.
        stream.write_all(&body).ok();
        stream
    };
    let mut half: Vec<UnixStream> = (0..ONE_CALLERS >> 20).map(|_| begin()).collect();
    let mut refused = begin();
    refused.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 2048];
    let length = refused.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("bytes of unfinished requests are held by this caller"), "{answer}");
    assert!(answer.contains("send each request whole"), "{answer}");
    // A request that comes in one piece needs no such bytes.
    agent.still_serves().await;
    half.truncate(10);
    drop(refused);
    half.push(begin());
    half.last_mut().unwrap().write_all(b" ").unwrap();
    let mut answer = [0; 12];
    half.last_mut().unwrap().read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400", "it was read: there is no JSON in it");
    drop(half);
    all_is_given_back(&agent).await;
}

#[tokio::test]
async fn a_stream_that_is_reset_gives_back_what_it_held() {
    let agent = Agent::with(SHOP);
    let stream = tokio::net::UnixStream::connect(agent.socket()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut calls = Vec::new();
    for _ in 0..20 {
        let (pieces, receiver) = mpsc::channel(1);
        let body = http_body_util::StreamBody::new(ReceiverStream::new(receiver));
        let request = Request::post("http://x/v1/pick").body(body).unwrap();
        let answer = sender.send_request(request);
        let piece = Bytes::from(vec![b' '; 100_000]);
        let piece: Result<_, std::convert::Infallible> = Ok(hyper::body::Frame::data(piece));
        calls.push((tokio::spawn(answer), pieces.clone()));
        pieces.send(piece).await.unwrap();
    }
    for _ in 0..1000 {
        let (_, metrics) = agent.admin_page("/metrics").await;
        let held =
            metrics.lines().find_map(|line| line.strip_prefix("pointsman_unfinished_bytes "));
        if held.unwrap().parse::<u64>().unwrap() >= 2_000_000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for (call, pieces) in calls {
        assert!(!call.is_finished(), "{:?}", call.await);
        call.abort();
        drop(pieces);
    }
    // The connection stays, and keeps its larger buffers.
    for _ in 0..1000 {
        let (_, metrics) = agent.admin_page("/metrics").await;
        let held =
            metrics.lines().find_map(|line| line.strip_prefix("pointsman_unfinished_bytes "));
        if held.unwrap().parse::<u64>().unwrap() < 100_000 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", agent.admin_page("/metrics").await.1);
}

#[tokio::test]
async fn a_head_of_http_1_has_16_kib() {
    let agent = Agent::with(SHOP);
    for (length, status) in
        [(15_000, "HTTP/1.1 200 "), (17_000, "HTTP/1.1 431 "), (100_000, "HTTP/1.1 431 ")]
    {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        let head =
            format!("GET /v1/services HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "a".repeat(length));
        stream.write_all(head.as_bytes()).ok();
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), status, "{length}");
    }
}

/// The number of open connections in the metrics.
async fn connections_open(agent: &Agent) -> u64 {
    let metrics = agent.admin_page("/metrics").await.1;
    let line = metrics.lines().find(|line| line.starts_with("pointsman_connections_open "));
    line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

/// Sends this many times, each time on a new connection, and checks that the answer says it is too
/// long.
fn refused(socket: &Path, too_long: &str, times: u32) {
    for _ in 0..times {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(too_long.as_bytes()).ok();
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431 ");
    }
}

#[tokio::test]
async fn who_is_refused_again_and_again_waits_and_another_does_not() {
    if !root_is_here("refused requests of another user") {
        return;
    }
    let agent = Agent::with(SHOP);
    agent.open_folder();
    let too_long = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "a".repeat(20_000));
    let socket = agent.socket();
    // 100 are free. Each further one adds 5 ms.
    let refused: Vec<_> = (0..8)
        .map(|_| {
            let (socket, too_long) = (socket.clone(), too_long.clone());
            std::thread::spawn(move || as_nobody(|| refused(&socket, &too_long, 100)))
        })
        .collect();
    refused.into_iter().for_each(|each| each.join().unwrap());
    let waiting = connections_open(&agent).await;
    assert!(waiting > 50, "they are closed, and {waiting} still count");
    for _ in 0..20 {
        let begin = clock::now();
        agent.http().await.pick("cart.shop").await;
        assert!(clock::now() - begin < Duration::from_secs(1), "nothing that it waits for");
    }
    agent.metrics_say("pointsman_connections_open 0").await;
}

#[tokio::test]
async fn a_request_of_a_mebibyte_is_read_in_each_protocol() {
    let agent = Agent::with(SHOP);
    let request = format!("{{\"service\": \"cart.shop\"{}}}", " ".repeat(1_000_000));
    assert_eq!(agent.http().await.post("/v1/pick", request.clone()).await.0, 200);
    let request = Request::post("http://x/v1/pick").body(Full::new(Bytes::from(request)));
    let (answer, _) = agent.http2(request.unwrap()).await;
    assert_eq!(answer.status(), 200);
    // A string that no service has: field 1 of a pick, with a million bytes.
    let mut message = vec![0, 0, 0x0f, 0x42, 0x44, 0x0a, 0xc0, 0x84, 0x3d];
    message.extend(vec![b'a'; 1_000_000]);
    let (code, text) = agent.grpc_raw("/pointsman.v1.Agent/Pick", message, &[]).await;
    assert_eq!(code, tonic::Code::InvalidArgument as i32, "{text}");
    all_is_given_back(&agent).await;
}

/// Names so long that a page of them exceeds all buffers on its way.
fn many_services() -> String {
    let service = |n| {
        let name = "x".repeat(50);
        format!("  - name: s{n}{name}.shop\n    endpoints: [{{address: '10.1.2.3:80'}}]\n")
    };
    let all: String = (0..1000).map(service).collect();
    format!("services:\n{all}")
}

#[tokio::test]
async fn a_long_answer_arrives_whole_however_slowly_it_is_read() {
    let agent = Agent::with(&many_services());
    let (status, page) = agent.http().await.get("/v1/services?pageSize=1000").await;
    assert_eq!((status.as_u16(), page["services"].as_array().unwrap().len()), (200, 1000));
    let request = Request::get("http://x/v1/services?pageSize=1000").body(Full::default()).unwrap();
    let (answer, _) = agent.http2(request).await;
    let page: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(page["services"].as_array().unwrap().len(), 1000);
    let mut slow = UnixStream::connect(agent.socket()).unwrap();
    let head = b"GET /v1/services?pageSize=1000 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    slow.write_all(head).unwrap();
    let mut answer = Vec::new();
    let mut room = [0; 4000];
    loop {
        let read = slow.read(&mut room).unwrap();
        if read == 0 {
            break;
        }
        answer.extend(&room[..read]);
        std::thread::sleep(Duration::from_millis(1));
    }
    let body = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let page: serde_json::Value = serde_json::from_slice(&answer[body..]).unwrap();
    assert_eq!(page["services"].as_array().unwrap().len(), 1000);
    all_is_given_back(&agent).await;
}
