//! The order of requests to an API server, and how many are sent at the same time. A fake server
//! records them.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{
    catalog::{
        Catalog, LastGood, SourceId,
        sample::{endpoint, service},
    },
    identity::Identity,
    source::kubernetes::{request_queue::WIDTH, sample::source},
};

/// The time of each answer.
const ANSWER: Duration = Duration::from_millis(50);
const SERVICES: usize = 200;

/// The requests, by the names of services. Each list of objects counts once.
type SharedLog = Arc<Mutex<RequestLog>>;

#[derive(Default)]
struct RequestLog {
    names: Vec<String>,
    open: usize,
    most_open: usize,
}

fn called(n: usize) -> ServiceName {
    format!("s{n}.shop").parse().unwrap()
}

fn list(items: Vec<Value>) -> String {
    json!({ "metadata": { "resourceVersion": "1" }, "items": items }).to_string()
}

fn metadata(name: &str) -> Value {
    json!({ "name": name, "namespace": "shop" })
}

/// The answer to a list, and the service that it is for. `None`: all names.
fn answer(path: &str, query: &str) -> (Option<String>, String) {
    let name = query.split('&').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.ends_with("Selector").then(|| value.rsplit("%3D").next().unwrap().to_owned())
    });
    let Some(name) = name else {
        let names = (0..=SERVICES).map(|n| json!({ "metadata": metadata(&format!("s{n}")) }));
        return (None, list(names.collect()));
    };
    let item = match path.ends_with("endpointslices") {
        true => {
            let labels = json!({ "kubernetes.io/service-name": name });
            let mut metadata = metadata(&name);
            metadata["labels"] = labels;
            json!({
                "metadata": metadata,
                "addressType": "IPv4",
                "ports": [{ "name": "http", "port": 8080 }],
                "endpoints": [{ "addresses": ["10.1.0.1"] }]
            })
        }
        false => {
            let ports = json!([{ "name": "http", "port": 80 }]);
            json!({ "metadata": metadata(&name), "spec": { "ports": ports } })
        }
    };
    (Some(name), list(vec![item]))
}

/// A fake API server, and the requests that it got.
async fn api_server() -> (String, SharedLog) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = SharedLog::default();
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let log = log.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let log = log.clone();
                async move { Ok::<_, Infallible>(respond(&request, &log).await) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, asked)
}

async fn respond(
    request: &Request<Incoming>,
    log: &SharedLog,
) -> Response<BoxBody<Bytes, Infallible>> {
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch=true") {
        // Watches never get a change.
        let silence = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
        return Response::new(BodyExt::boxed(StreamBody::new(silence)));
    }
    let (of, body) = answer(request.uri().path(), query);
    {
        let mut log = log.lock().unwrap();
        log.names.extend(of);
        log.open += 1;
        log.most_open = log.most_open.max(log.open);
    }
    tokio::time::sleep(ANSWER).await;
    log.lock().unwrap().open -= 1;
    Response::new(Full::from(body).boxed())
}

async fn until_known(catalog: &Catalog, name: &ServiceName) {
    let mut changes = catalog.changes();
    while catalog.get(name).is_none() {
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn what_somebody_waits_for_goes_before_what_served_before() {
    let (url, asked) = api_server().await;
    let shared = source(&url);
    let catalog = shared.catalog.clone();
    let before = (0..SERVICES).map(|n| LastGood {
        service: Arc::new(service(&called(n).to_string(), [endpoint(1)])),
        source: SourceId(0),
        confirmed: Some(SystemTime::UNIX_EPOCH),
    });
    catalog.restore(before.collect(), SystemTime::UNIX_EPOCH, clock::now());
    let run = tokio::spawn({
        let shared = shared.clone();
        async move { run(&shared).await }
    });
    // By then all requests have been sent.
    while asked.lock().unwrap().names.len() < WIDTH {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let wanted = called(SERVICES);
    let already = asked.lock().unwrap().names.len();
    catalog.interests().ask(Some(Identity::Uid(1)), &wanted).unwrap();
    until_known(&catalog, &wanted).await;
    let of_others = asked.lock().unwrap().names.len() - already;
    assert!(of_others <= 2 * WIDTH, "{of_others} of {} before it", 2 * SERVICES);
    run.abort();
}

#[tokio::test]
async fn of_many_asked_for_at_once_no_more_are_open_than_the_width_and_all_are_answered() {
    let (url, asked) = api_server().await;
    let shared = source(&url);
    let catalog = shared.catalog.clone();
    for n in 0..SERVICES {
        catalog.interests().ask(Some(Identity::Uid(1)), &called(n)).unwrap();
    }
    let run = tokio::spawn(async move { run(&shared).await });
    for n in 0..SERVICES {
        until_known(&catalog, &called(n)).await;
    }
    let most = asked.lock().unwrap().most_open;
    assert!((WIDTH / 2..=WIDTH).contains(&most), "{most}");
    run.abort();
}
