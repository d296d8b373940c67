//! Compares an agent's answers over its socket with the right ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
};

use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::{
    objects::Objects,
    oracle::{Expected, Question},
    random,
    support::{Agent, Http},
};

/// The picks of one name in each check.
const PICKS: usize = 4;

/// A wrong answer.
#[derive(Clone, Debug)]
pub struct Difference {
    pub asked: String,
    pub expected: String,
    pub seen: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nexpected: {}\nseen:     {}", self.asked, self.expected, self.seen)
    }
}

/// All names to ask for: each service, its ports by name and by number, and a port that it does not
/// have.
pub fn questions(now: &Objects) -> Vec<Question> {
    let mut questions = Vec::new();
    for service in random::SERVICES {
        let mut ask = |port: Option<String>| {
            questions.push(Question { service: (*service).to_owned(), port });
        };
        ask(None);
        let Some(spec) = now.services.get(*service).and_then(|it| it.spec.as_ref()) else {
            continue;
        };
        let ports = spec.ports.as_deref().unwrap_or_default();
        let names: BTreeSet<&str> = ports.iter().filter_map(|port| port.name.as_deref()).collect();
        names.iter().for_each(|name| ask(Some((*name).to_owned())));
        ports.iter().take(1).for_each(|port| ask(Some(port.port.to_string())));
        let other = random::PORTS.iter().find(|name| !names.contains(*name));
        ask(other.map(|name| (*name).to_owned()));
    }
    questions
}

/// The first difference between an agent's answers and the right ones.
pub async fn difference(agent: &Agent, name: &str, expected: &Expected) -> Option<Difference> {
    // If an agent ends or closes the connection, that is a difference, too.
    let asked = AssertUnwindSafe(differs(agent, name, expected)).catch_unwind().await;
    asked.unwrap_or_else(|_| {
        Some(Difference {
            asked: format!("anything of {name}"),
            expected: "an answer".to_owned(),
            seen: "none".to_owned(),
        })
    })
}

async fn differs(agent: &Agent, name: &str, expected: &Expected) -> Option<Difference> {
    let mut http = agent.http().await;
    for _ in 0..PICKS {
        let picked = pick(&mut http, name).await;
        let right = match &picked {
            Ok(address) => expected.picks.contains(address),
            Err((code, _)) => expected.codes.contains(code),
        };
        if !right {
            return Some(Difference {
                asked: format!("a pick of {name}"),
                expected: said(expected),
                seen: match picked {
                    Ok(address) => address.to_string(),
                    Err((code, message)) => format!("{code} {message}"),
                },
            });
        }
        if picked.is_err() {
            break;
        }
    }
    let list = expected.list.as_ref()?;
    let (_, body) = http.get(&format!("/v1/services/{name}")).await;
    let wanted: BTreeMap<SocketAddr, &str> =
        list.iter().map(|(address, health)| (*address, health.word())).collect();
    let endpoints = body["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
    let listed = endpoints.iter().map(|it| (address(it), it["health"].as_str().unwrap()));
    let listed: BTreeMap<SocketAddr, &str> = listed.collect();
    let may = |address: &SocketAddr| {
        expected.may_be_listed.contains(address) && !wanted.contains_key(address)
    };
    let seen: BTreeMap<_, _> =
        listed.iter().filter(|(at, _)| !may(at)).map(|(at, health)| (*at, *health)).collect();
    (seen != wanted).then(|| Difference {
        asked: format!("the endpoints of {name}"),
        expected: format!("{wanted:?}"),
        seen: format!("{listed:?}"),
    })
}

/// Picks, and reports success at once. Returns the endpoint, or the code and message of the error.
async fn pick(http: &mut Http, name: &str) -> Result<SocketAddr, (u16, String)> {
    let (status, body) = http.post("/v1/pick", json!({ "service": name }).to_string()).await;
    if !status.is_success() {
        let message = body["error"]["message"].as_str().unwrap_or_default();
        return Err((status.as_u16(), message.to_owned()));
    }
    let pick = &body["picks"][0];
    http.report(pick["lease"].as_str().unwrap(), "SUCCESS").await;
    Ok(address(pick))
}

fn address(of: &Value) -> SocketAddr {
    let address: IpAddr = of["address"].as_str().unwrap().parse().unwrap();
    SocketAddr::new(address, of["port"].as_u64().unwrap().try_into().unwrap())
}

fn said(expected: &Expected) -> String {
    let picks = expected.picks.iter().map(SocketAddr::to_string);
    let codes = expected.codes.iter().map(u16::to_string);
    picks.chain(codes).collect::<Vec<_>>().join(" or ")
}
