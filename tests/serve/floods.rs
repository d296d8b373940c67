//! HTTP/2 byte by byte: what no client library sends. No other caller is affected.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use pointsman::bench::isolation::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, LIST, PING, PREFACE, RST_STREAM, SETTINGS,
    frame,
};

use crate::support::{Agent, SHOP};

/// The most memory that one connection may cost the agent, in KiB: 256 requests, its buffers, and what
/// the allocator keeps afterwards.
const MOST: u64 = 6 << 10;

fn connect(agent: &Agent) -> UnixStream {
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

pub(super) fn resident_kib(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends frames without reading, until the agent stops reading them or there are enough. Then checks
/// the agent's memory, and that it still serves.
async fn flood(frames: impl Iterator<Item = Vec<u8>>) {
    let agent = Agent::with(SHOP);
    agent.still_serves().await;
    let before = resident_kib(&agent);
    let mut stream = connect(&agent);
    let mut taken = 0;
    for frame in frames {
        if stream.write_all(&frame).is_err() {
            break;
        }
        taken += 1;
    }
    let served = tokio::time::timeout(Duration::from_secs(5), agent.still_serves()).await;
    assert!(served.is_ok(), "another waited too long, after {taken} frames");
    let grown = resident_kib(&agent).saturating_sub(before);
    assert!(grown < MOST, "{grown} KiB more after {taken} frames");
}

#[tokio::test]
async fn streams_that_are_reset_at_once() {
    let both = |n: u32| {
        let stream = 2 * n + 1;
        let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, LIST);
        both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        both
    };
    flood((0..100_000).map(both)).await;
}

#[tokio::test]
async fn pings_that_nobody_waits_for() {
    flood((0..200_000_u64).map(|n| frame(PING, 0, 0, &n.to_be_bytes()))).await;
}

#[tokio::test]
async fn settings_without_end() {
    // Changes the initial window size again and again.
    flood((0..200_000).map(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]))).await;
}

#[tokio::test]
async fn a_head_that_never_ends() {
    let first = frame(HEADERS, 0, 1, LIST);
    let more = || frame(CONTINUATION, 0, 1, &b"\x00\x01a\x01b".repeat(1000));
    flood(std::iter::once(first).chain((0..20_000).map(|_| more()))).await;
}

#[tokio::test]
async fn a_small_head_that_unpacks_to_a_large_one() {
    // Puts one long field into the dynamic table, then refers to it thousands of times with one byte
    // each.
    let mut block = LIST.to_vec();
    block.extend(b"\x40\x01a\x7f\x81\x1e");
    block.extend([b'x'; 4000]);
    block.extend([0xbe; 8000]);
    flood(
        (0..2_000).map(move |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block)),
    )
    .await;
}

#[tokio::test]
async fn requests_whose_answers_are_never_read() {
    let request = |n: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, LIST);
    flood((0..100_000).map(request)).await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused_alone() {
    let agent = Agent::with(SHOP);
    let mut stream = connect(&agent);
    let mut block = LIST.to_vec();
    block.extend(b"\x00\x01a\x7f\x81\x7e"); // 16,256 bytes follow
    block.extend([b'x'; 16_256]);
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &block[..16_000])).unwrap();
    stream.write_all(&frame(CONTINUATION, END_HEADERS, 1, &block[16_000..])).unwrap();
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 3, LIST)).unwrap();
    let mut answers: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while !answers.windows(9).any(|part| part == b"cart.shop") {
        let read = stream.read(&mut buffer).expect("the second request's answer");
        assert_ne!(read, 0, "hung up");
        answers.extend(&buffer[..read]);
    }
}

#[tokio::test]
async fn requests_in_http_1_whose_answers_are_never_read() {
    let agent = Agent::with(SHOP);
    agent.still_serves().await;
    let before = resident_kib(&agent);
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = b"GET /v1/services HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let mut taken = 0;
    while taken < 100_000 && stream.write_all(&requests).is_ok() {
        taken += 1;
    }
    assert!(taken < 100_000, "all were taken");
    agent.still_serves().await;
    let grown = resident_kib(&agent).saturating_sub(before);
    assert!(grown < MOST, "{grown} KiB more");
}
