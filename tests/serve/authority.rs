//! The `:authority` that gRPC clients of the socket send. h2 alone refuses it.

use pointsman::bench::isolation::frames::{
    END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, frame,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::{Agent, SHOP};

/// `:status 200` as an index of the static table, which every HTTP/2 server may send.
const STATUS_200: u8 = 0x88;

/// A text in HPACK, without Huffman's code.
fn literal(text: &str) -> Vec<u8> {
    let mut literal = vec![u8::try_from(text.len()).unwrap()];
    literal.extend(text.as_bytes());
    literal
}

/// `GET /v1/services`, with these octets as the authority's name.
fn get(name: &[u8], authority: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04];
    block.extend(literal("/v1/services"));
    block.extend(name);
    block.extend(literal(authority));
    block
}

/// Sends these requests on one connection. Returns the type and the first octet of each answer's first
/// frame.
async fn answers(agent: &Agent, requests: &[Vec<u8>]) -> Vec<(u8, u8)> {
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut answers = Vec::new();
    for (id, block) in (1..).step_by(2).zip(requests) {
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, id, block)).await.unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            if head[5..] == u32::to_be_bytes(id) {
                answers.push((head[3], payload[0]));
                break;
            }
        }
    }
    answers
}

#[tokio::test]
async fn a_socket_path_as_the_authority_is_served() {
    let agent = Agent::with(SHOP);
    let new_name = [&[0x40][..], &literal(":authority")].concat();
    let requests = [
        // C-core with unix:///run/pointsman/agent.sock, then the same from its dynamic table.
        get(&new_name, "run%2Fpointsman%2Fagent.sock"),
        [&[0x82, 0x86, 0x04][..], &literal("/v1/services"), &[0xbe]].concat(),
        // Java.
        get(&[0x41], "/run/pointsman/agent.sock"),
        // Go, Node, tonic.
        get(&[0x41], "localhost"),
    ];
    assert_eq!(answers(&agent, &requests).await, [(HEADERS, STATUS_200); 4]);
}
