//! Requests, and the octets of a connection that carries them.

use proptest::prelude::*;

use super::{
    accepted,
    frames::{DATA, END_STREAM, Framing, aside, frame, framing, opening},
    hpack::{Encoder, Field, How, LARGEST_TABLE, how, huffman},
};

#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// A new size of the dynamic table, from here on.
    resized: Option<usize>,
    pub(crate) fields: Vec<(Field, How)>,
    framing: Framing,
    body: Option<Vec<u8>>,
    /// Frames before the request.
    asides: Vec<Vec<u8>>,
}

impl Request {
    pub(crate) fn value(&self, name: &str) -> &[u8] {
        let mut fields = self.fields.iter().map(|(field, _)| field);
        &fields.find(|field| field.name == name.as_bytes()).expect("a field").value
    }

    /// The fields besides the pseudo-headers.
    pub(crate) fn headers(&self) -> Vec<Field> {
        let fields = self.fields.iter().map(|(field, _)| field);
        fields.filter(|field| !field.name.starts_with(b":")).cloned().collect()
    }
}

/// The stream of the nth request.
pub(crate) fn stream(nth: usize) -> u32 {
    2 * u32::try_from(nth).expect("few requests") + 1
}

pub(crate) fn connection(requests: &[Request]) -> Vec<u8> {
    let (mut out, mut encoder) = (opening(), Encoder::new());
    for (nth, request) in requests.iter().enumerate() {
        out.extend(request.asides.concat());
        let mut block = Vec::new();
        if let Some(size) = request.resized {
            encoder.resize(size, &mut block);
        }
        for (field, how) in &request.fields {
            encoder.encode(field, *how, &mut block);
        }
        request.framing.write(&mut out, stream(nth), request.body.is_none(), &block);
        if let Some(body) = &request.body {
            frame(&mut out, DATA, END_STREAM, stream(nth), body);
        }
    }
    out
}

pub(crate) fn requests() -> impl Strategy<Value = Vec<Request>> {
    // Few authorities, so that an index refers to most of them sooner or later.
    let authorities = prop::collection::vec(authority(), 1..4);
    authorities.prop_flat_map(|authorities| {
        let authority = prop::sample::select(authorities);
        prop::collection::vec(request(authority), 1..12)
    })
}

/// A valid authority, or an invalid one. It is always UTF-8: otherwise h2 ends the whole connection.
fn authority() -> impl Strategy<Value = String> {
    let real = prop::sample::select(vec![
        "localhost",
        "localhost:50051",
        "[::1]:80",
        "run%2Fagent%2Fagent.sock",
        "/run/agent/agent.sock",
    ]);
    prop_oneof![
        2 => real.prop_map(str::to_owned),
        1 => "[a-zA-Z0-9/%:@.~_ -]{1,60}",
        1 => "[!-~]{1,30}|.{1,20}",
    ]
}

fn request(authority: impl Strategy<Value = String>) -> impl Strategy<Value = Request> {
    let size = prop::sample::select(vec![0, 60, 200, 1000, LARGEST_TABLE]);
    let body = prop::option::weighted(0.2, Just(b"\0\0\x05\x01\x04\0\0\0\x01\x41\x03a/b".to_vec()));
    (
        prop::option::weighted(0.1, size),
        fields(authority),
        framing(),
        body,
        prop::collection::vec(aside(), 0..2),
    )
        .prop_map(|(resized, fields, framing, body, asides)| Request {
            resized,
            fields,
            framing,
            body,
            asides,
        })
}

/// The pseudo-headers in any order, then the other fields.
fn fields(authority: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<(Field, How)>> {
    let path = prop::sample::select(vec!["/", "/a.B/C", "/a%2Fb", "/:authority"]);
    let pseudo = (authority, path).prop_map(|(authority, path)| {
        vec![
            Field::new(":method", "POST"),
            Field::new(":scheme", "http"),
            Field::new(":path", path),
            Field::new(":authority", authority),
        ]
    });
    let name = prop::sample::select(vec!["accept", "user-agent", "x-a", "x-b", "authority"]);
    let value = prop_oneof![
        4 => prop::sample::select(vec!["", "/tmp/a%2Fb", ":authority"]).prop_map(str::to_owned),
        4 => "[!-~]{1,50}",
        1 => "[a-z]{500,900}",
    ];
    let others = (name, value).prop_map(|(name, value)| Field::new(name, value));
    (pseudo.prop_shuffle(), prop::collection::vec(others, 0..6))
        .prop_flat_map(|(pseudo, others)| {
            let fields = [pseudo, others].concat();
            let hows = prop::collection::vec(how(), fields.len());
            (Just(fields), hows)
        })
        .prop_map(|(fields, hows)| {
            let hows = fields.iter().zip(hows).map(|(field, how)| possible(field, how));
            let hows: Vec<How> = hows.collect();
            fields.into_iter().zip(hows).collect()
        })
}

/// If no authority fits the number of bits, this one is sent without the Huffman code.
fn possible(field: &Field, how: How) -> How {
    let impossible =
        !accepted(&field.value) && huffman(&field.value).len() * 8 >= 13 * field.value.len() + 8;
    let value_huffman = how.value_huffman && !(field.name == b":authority" && impossible);
    How { value_huffman, ..how }
}
