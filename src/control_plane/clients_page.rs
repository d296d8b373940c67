//! The page of clients: the open streams, and what each of them holds.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde_json::{Value, json};
use xds::server::{SubscriptionStatus, limits::beginning};

use super::{
    listen::Peer,
    streams::{StreamFacts, StreamStatus},
    type_label::type_label,
};
use crate::{
    printable::printable,
    serve::admin::html::{HEAD, escape, table},
};

/// The most streams of a page. A page of so many has some 100 KB.
const LISTED: usize = 200;
/// The most peers of a page.
const LISTED_PEERS: usize = 50;
/// The most types of a stream that are listed. Clients of ours ask for three or four.
const LISTED_TYPES: usize = 8;
/// The longest texts of a client, in bytes.
const LONGEST_REASON: usize = 200;
const LONGEST_NAME: usize = 100;
/// The names that are listed of a response that was rejected.
const LISTED_NAMES: usize = 3;

/// Some of the open streams.
pub(super) struct Page {
    /// By peer.
    listed: Vec<StreamStatus>,
    /// How many streams there are of this node, or of all.
    all: usize,
    /// How many streams each peer has, the most first.
    peers: Vec<(Peer, usize)>,
    now: Duration,
}

impl Page {
    /// `node`: only the streams of the node of this id.
    pub(super) fn new(all: Vec<StreamStatus>, node: Option<&str>, now: Duration) -> Self {
        let wanted = |stream: &StreamStatus| node.is_none_or(|node| stream.facts.node == node);
        let all: Vec<StreamStatus> = all.into_iter().filter(wanted).collect();
        let mut peers: BTreeMap<Peer, usize> = BTreeMap::new();
        for stream in &all {
            *peers.entry(stream.facts.peer).or_default() += 1;
        }
        let mut peers: Vec<_> = peers.into_iter().collect();
        peers.sort_by_key(|(peer, streams)| (std::cmp::Reverse(*streams), *peer));
        Self { all: all.len(), listed: chosen(all, LISTED), peers, now }
    }

    pub(super) fn html(&self) -> String {
        let mut page = String::from(HEAD);
        page += &format!(
            "<h1>Clients</h1>\n<p>{} streams of {} peers{}. <a href=/clients.json>/clients.json</a> \
             <a href=/>/</a></p>\n",
            self.all,
            self.peers.len(),
            self.omission(),
        );
        let peers = self.peers.iter().take(LISTED_PEERS);
        let peers = peers.map(|(peer, streams)| [shown(*peer), streams.to_string()]);
        page += &table("Peers", ["peer", "streams"], peers);
        page += "<h2>Streams</h2>\n<table><tr><th>peer<th>node<th>client<th>open for<th>type\
                 <th>subscribed<th>held<th>version<th>answered<th>rejected";
        for stream in &self.listed {
            self.rows(stream, &mut page);
        }
        page + "</table>\n"
    }

    fn omission(&self) -> String {
        match self.all - self.listed.len() {
            0 => String::new(),
            omitted => format!(
                ". {omitted} of them are not listed: ?node=ID lists those of a node, and every peer has a part \
                 of the list"
            ),
        }
    }

    fn rows(&self, stream: &StreamStatus, page: &mut String) {
        let StreamFacts { peer, node, client, variant, since } = &*stream.facts;
        let facts = [
            shown(*peer),
            printable(node).into_owned(),
            format!("{client}, {variant}"),
            self.age(*since),
        ];
        let facts: String = facts.iter().map(|cell| format!("<td>{}", escape(cell))).collect();
        if stream.types.is_empty() {
            *page += &format!("\n<tr>{facts}");
        }
        for (n, (type_url, status)) in stream.types.iter().take(LISTED_TYPES).enumerate() {
            let facts = if n == 0 { &*facts } else { "<td><td><td><td>" };
            let cells = [
                shown_type(type_url),
                subscribed(status),
                status.held.to_string(),
                status.version.map(|version| version.to_string()).unwrap_or_default(),
                self.answered(status),
            ];
            let cells: String = cells.iter().map(|cell| format!("<td>{}", escape(cell))).collect();
            let rejected = rejection(status).map(|why| format!("<td class=bad>{}", escape(&why)));
            *page += &format!("\n<tr>{facts}{cells}{}", rejected.unwrap_or_default());
        }
        match stream.types.len().saturating_sub(LISTED_TYPES) {
            0 => {}
            more => *page += &format!("\n<tr><td><td><td><td><td>and {more} more types"),
        }
    }

    fn answered(&self, status: &SubscriptionStatus) -> String {
        match status.unanswered_since {
            None => "all".to_owned(),
            Some(since) => format!("{} open, for {}", status.unanswered, self.age(since)),
        }
    }

    fn age(&self, since: Duration) -> String {
        let age = self.now.saturating_sub(since);
        humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
    }

    pub(super) fn json(&self) -> Value {
        let seconds = |since: Duration| self.now.saturating_sub(since).as_secs_f64();
        let of_type = |(type_url, status): &(String, SubscriptionStatus)| {
            json!({
                "type": shown_type(type_url),
                "wildcard": status.wildcard,
                "named": status.named,
                "held": status.held,
                "version": status.version.map(|version| version.to_string()),
                "unanswered": status.unanswered,
                "unansweredSeconds": status.unanswered_since.map(seconds),
                "rejected": status.rejected.as_ref().map(|rejected| json!({
                    "message": beginning(&rejected.message, LONGEST_REASON),
                    "resources": names(status),
                })),
            })
        };
        let stream = |stream: &StreamStatus| {
            let StreamFacts { peer, node, client, variant, since } = &*stream.facts;
            let types = stream.types.iter().take(LISTED_TYPES).map(of_type);
            json!({
                "peer": shown(*peer),
                "node": node,
                "client": client,
                "variant": variant,
                "openSeconds": seconds(*since),
                "types": types.collect::<Vec<_>>(),
            })
        };
        let peers = self.peers.iter().take(LISTED_PEERS);
        let peers =
            peers.map(|(peer, streams)| json!({ "peer": shown(*peer), "streams": streams }));
        json!({
            "all": self.all,
            "peers": peers.collect::<Vec<_>>(),
            "streams": self.listed.iter().map(stream).collect::<Vec<_>>(),
        })
    }
}

/// At most so many of these streams: first one of each peer, then a second of each, and so on, so that a peer with
/// many does not displace others. Of a peer's streams those in trouble come first.
fn chosen(mut all: Vec<StreamStatus>, most: usize) -> Vec<StreamStatus> {
    let trouble = |stream: &StreamStatus| {
        let rejects = stream.types.iter().any(|(_, status)| status.rejected.is_some());
        let waits = stream.types.iter().filter_map(|(_, status)| status.unanswered_since).min();
        (!rejects, waits.unwrap_or(Duration::MAX), stream.id)
    };
    all.sort_by_key(trouble);
    let mut taken: BTreeMap<Peer, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, StreamStatus)> = Vec::with_capacity(all.len());
    for stream in all {
        let rank = taken.entry(stream.facts.peer).or_default();
        *rank += 1;
        ranked.push((*rank, stream));
    }
    // Stable: of one rank, those in trouble stay first.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut chosen: Vec<StreamStatus> =
        ranked.into_iter().take(most).map(|(_, stream)| stream).collect();
    chosen.sort_by_key(|stream| stream.facts.peer);
    chosen
}

fn shown(peer: Peer) -> String {
    match peer {
        Peer::Uid(uid) => format!("uid {uid}"),
        Peer::Address(IpAddr::V6(network)) => format!("{network}/64"),
        Peer::Address(address) => address.to_string(),
    }
}

/// A client chooses the text of a type that is not known.
fn shown_type(type_url: &str) -> String {
    match type_label(type_url) {
        Some(label) => label.to_owned(),
        None => printable(&beginning(type_url, LONGEST_NAME)).into_owned(),
    }
}

fn subscribed(status: &SubscriptionStatus) -> String {
    match (status.wildcard, status.named) {
        (true, 0) => "all".to_owned(),
        (true, named) => format!("all, and {named} by name"),
        (false, named) => named.to_string(),
    }
}

fn names(status: &SubscriptionStatus) -> Vec<String> {
    let names = status.rejected.iter().flat_map(|rejected| &rejected.names).take(LISTED_NAMES);
    names.map(|name| beginning(name, LONGEST_NAME)).collect()
}

/// What the client rejected last, if it has accepted nothing since.
fn rejection(status: &SubscriptionStatus) -> Option<String> {
    let rejected = status.rejected.as_ref()?;
    let reason = beginning(&rejected.message, LONGEST_REASON);
    Some(printable(&format!("{}: {reason}", names(status).join(", "))).into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xds::{resource_type::CLUSTER, server::Rejection};

    use super::*;

    fn status() -> SubscriptionStatus {
        SubscriptionStatus {
            wildcard: false,
            named: 2,
            held: 1,
            version: None,
            unanswered: 0,
            unanswered_since: None,
            rejected: None,
        }
    }

    fn stream(id: u64, last: u8, status: SubscriptionStatus) -> StreamStatus {
        let facts = StreamFacts {
            peer: Peer::Address([10, 0, 0, last].into()),
            node: format!("node-{last}"),
            client: "grpc",
            variant: "sotw",
            since: Duration::from_secs(10),
        };
        StreamStatus { id, facts: Arc::new(facts), types: vec![(CLUSTER.to_owned(), status)] }
    }

    fn rejected(message: &str) -> SubscriptionStatus {
        let names = ["<a>", "b", "c", "d"].map(Into::into).into();
        let rejection = Rejection { nonce: "1".to_owned(), names, message: message.to_owned() };
        SubscriptionStatus { rejected: Some(rejection), ..status() }
    }

    fn ids(streams: &[StreamStatus]) -> Vec<u64> {
        streams.iter().map(|stream| stream.id).collect()
    }

    #[test]
    fn a_peer_with_many_streams_displaces_nobody_and_trouble_comes_first() {
        let mut all: Vec<_> = (1..=1000).map(|id| stream(id, 1, status())).collect();
        let waiting = SubscriptionStatus {
            unanswered: 1,
            unanswered_since: Some(Duration::from_secs(1)),
            ..status()
        };
        all.push(stream(1001, 1, waiting));
        all.push(stream(1002, 1, rejected("bad")));
        all.extend((1003..=1005).map(|id| stream(id, 2, status())));
        all.push(stream(1006, 3, status()));
        assert_eq!(ids(&chosen(all.clone(), 7)), [1002, 1001, 1, 1003, 1004, 1005, 1006]);
        assert_eq!(ids(&chosen(all.clone(), 2)), [1002, 1003], "one of each, before a second");
        let page = Page::new(all.clone(), None, Duration::from_secs(30));
        assert_eq!((page.all, page.listed.len()), (1006, LISTED));
        let html = page.html();
        assert!(html.contains("1006 streams of 3 peers. 806 of them are not listed"), "{html}");
        assert!(html.contains("<td>10.0.0.3<td>node-3<td>grpc, sotw<td>20s<td>cluster<td>2<td>1"));
        let of_one = Page::new(all, Some("node-3"), Duration::from_secs(30));
        assert_eq!(ids(&of_one.listed), [1006]);
    }

    #[test]
    fn what_clients_write_is_escaped_and_has_a_bound() {
        let mut hostile = stream(1, 1, rejected(&format!("<script>{}", "x".repeat(1000))));
        Arc::get_mut(&mut hostile.facts).unwrap().node = "<b>\u{202e}".to_owned();
        let types = (0..20).map(|n| (format!("<i>{n}"), status()));
        hostile.types.extend(types);
        let page = Page::new(vec![hostile], None, Duration::from_secs(30));
        let html = page.html();
        for text in ["<b>", "<script>", "<i>", "<a>", "\u{202e}", &"x".repeat(200)] {
            assert!(!html.contains(text), "{text}: {html}");
        }
        assert!(
            html.contains("&lt;b&gt;\\u{202e}")
                && html.contains("&lt;a&gt;, b, c: &lt;script&gt;xx")
        );
        assert!(html.contains("and 13 more types"), "{html}");
        let json = page.json();
        let first = &json["streams"][0]["types"][0];
        assert_eq!(first["rejected"]["message"].as_str().unwrap().len(), LONGEST_REASON);
        assert_eq!(json["streams"][0]["types"].as_array().unwrap().len(), LISTED_TYPES);
    }

    #[test]
    fn what_is_not_answered_is_shown_with_its_age() {
        let waiting = SubscriptionStatus {
            wildcard: true,
            unanswered: 2,
            unanswered_since: Some(Duration::from_secs(25)),
            ..status()
        };
        let page = Page::new(vec![stream(1, 1, waiting)], None, Duration::from_secs(30));
        let html = page.html();
        assert!(html.contains("<td>all, and 2 by name<td>1<td><td>2 open, for 5s"), "{html}");
        let of_type = &page.json()["streams"][0]["types"][0];
        assert_eq!(of_type["unansweredSeconds"], 5.0);
        assert_eq!((&of_type["type"], &of_type["unanswered"]), (&json!("cluster"), &json!(2)));
    }
}
