//! h2's own server takes every request through the adapter, and refuses the same requests without it.

mod client;

use std::collections::BTreeSet;

use client::{
    accepted,
    cases::cases,
    choppy::Choppy,
    frames::{GOAWAY, HEAD, HEADERS, RST_STREAM, head},
    hpack::Field,
    requests::{Request, connection, requests, stream},
};
use http::{Response, request::Parts};
use mend_authority::Mended;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

/// The result of a connection: the requests that the server took, and the streams that it refused.
struct Outcome {
    taken: Vec<Parts>,
    refused: BTreeSet<u32>,
}

/// Sends the requests to h2's server through the stream that `adapt` makes.
fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    requests: &[Request],
    adapt: impl FnOnce(DuplexStream) -> T,
) -> Outcome {
    let (near, far) = tokio::io::duplex(1 << 20);
    let both = async { tokio::join!(ask(near, requests), answer(adapt(far))) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (refused, taken) = runtime.block_on(both);
    Outcome { taken, refused }
}

/// Waits until each request has an answer or an error. When a connection ends, h2 drops requests that
/// it has not passed on.
async fn ask(mut wire: DuplexStream, requests: &[Request]) -> BTreeSet<u32> {
    wire.write_all(&connection(requests)).await.expect("room for all of it");
    let mut open: BTreeSet<u32> = (0..requests.len()).map(stream).collect();
    let mut refused = BTreeSet::new();
    while !open.is_empty() {
        let mut octets = [0; HEAD];
        wire.read_exact(&mut octets).await.expect("an answer to each request");
        let (kind, stream, length) = head(octets);
        let mut payload = vec![0; length];
        wire.read_exact(&mut payload).await.expect("the rest of a frame");
        match kind {
            HEADERS => _ = open.remove(&stream),
            RST_STREAM if open.remove(&stream) => _ = refused.insert(stream),
            GOAWAY => panic!("the connection was refused: {payload:?}"),
            _ => {}
        }
    }
    refused
}

async fn answer(wire: impl AsyncRead + AsyncWrite + Unpin) -> Vec<Parts> {
    let mut connection = h2::server::handshake(wire).await.expect("a handshake");
    let mut taken = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        taken.push(request.into_parts().0);
        respond.send_response(Response::new(()), true).expect("a response");
    }
    taken
}

fn headers(parts: &Parts) -> Vec<Field> {
    let fields = parts.headers.iter();
    let mut fields: Vec<Field> =
        fields.map(|(name, value)| Field::new(name.as_str(), value.as_bytes())).collect();
    fields.sort();
    fields
}

/// Whether the server got what was sent, except for the refused parts of the authority.
fn check(sent: &Request, got: &Parts) -> Result<(), TestCaseError> {
    let (was, is) = (sent.value(":authority"), got.uri.authority().expect("an authority").as_str());
    prop_assert_eq!(is.len(), was.len());
    if accepted(was) {
        prop_assert_eq!(is.as_bytes(), was);
    }
    prop_assert_eq!(got.uri.path().as_bytes(), sent.value(":path"));
    let mut wanted = sent.headers();
    wanted.sort();
    prop_assert_eq!(headers(got), wanted);
    Ok(())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![usize::MAX]),
        Just(vec![1]),
        prop::collection::vec(0..40_usize, 1..9).prop_map(|sizes| [sizes, vec![3]].concat()),
        prop::collection::vec(100..5000_usize, 1..9),
    ]
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn every_request_is_taken_with_its_other_headers_unchanged(
        requests in requests(),
        sizes in sizes(),
    ) {
        let outcome = serve(&requests, |wire| Mended::new(Choppy::new(wire, &sizes)));
        prop_assert_eq!(outcome.refused, BTreeSet::new());
        prop_assert_eq!(outcome.taken.len(), requests.len());
        for (sent, got) in requests.iter().zip(&outcome.taken) {
            check(sent, got)?;
        }
    }

    #[test]
    fn without_the_adapter_those_with_a_bad_authority_are_refused(requests in requests()) {
        let bad = requests.iter().enumerate().filter(|(_, sent)| !accepted(sent.value(":authority")));
        let bad: BTreeSet<u32> = bad.map(|(nth, _)| stream(nth)).collect();
        let outcome = serve(&requests, |wire| wire);
        prop_assert_eq!(outcome.taken.len(), requests.len() - bad.len());
        prop_assert_eq!(outcome.refused, bad);
    }
}
