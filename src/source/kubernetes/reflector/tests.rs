//! With an API server that answers from memory.

use std::{
    convert::Infallible,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::{catalog::Service as Known, source::kubernetes::sample::source};

const ALL: Scope = Scope::All { pods_and_nodes: true };
const MINUTE: Duration = Duration::from_secs(60);

/// The answer to a list, from the item of this number on.
type Answer = Arc<dyn Fn(&str, usize) -> Result<Page, StatusCode> + Send + Sync>;

struct Page {
    items: Vec<Value>,
    /// The number of the first item after it.
    next: Option<usize>,
}

/// An API server that answers lists so, and whose watches say nothing.
fn server(answer: Answer) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(respond(&request, &answer)) }
    });
    Client::new(service, "default")
}

fn respond(request: &Request<Body>, answer: &Answer) -> Response<BoxBody<Bytes, Infallible>> {
    let query = request.uri().query().unwrap_or_default();
    if query.contains("watch=true") {
        let silence = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        return Response::new(BodyExt::boxed(StreamBody::new(silence)));
    }
    let parameter = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let kind = request.uri().path().rsplit('/').next().unwrap();
    let from = parameter("continue").map_or(0, |from| from.parse().unwrap());
    let (status, body) = match answer(kind, from) {
        Ok(Page { items, next }) => {
            let next = next.map(|next| next.to_string()).unwrap_or_default();
            let metadata = json!({ "resourceVersion": "1", "continue": next });
            (StatusCode::OK, json!({ "metadata": metadata, "items": items }))
        }
        Err(status) => {
            let message = format!("{kind} is forbidden: User \"plane\" cannot list {kind}");
            let code = status.as_u16();
            (status, json!({ "status": "Failure", "message": message, "code": code }))
        }
    };
    let body = Full::from(body.to_string()).boxed();
    Response::builder().status(status).body(body).unwrap()
}

fn whole_list(items: Vec<Value>) -> Result<Page, StatusCode> {
    Ok(Page { items, next: None })
}

fn cart(labels: &str) -> Value {
    let annotations = json!({ "pointsman.dev/pod-labels": labels });
    json!({
        "metadata": { "name": "cart", "namespace": "shop", "annotations": annotations },
        "spec": { "ports": [{ "name": "http", "port": 80 }] }
    })
}

fn slice(last: u8) -> Value {
    json!({
        "metadata": {
            "name": "cart-1", "namespace": "shop",
            "labels": { "kubernetes.io/service-name": "cart" }
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": [{
            "addresses": [format!("10.0.0.{last}")], "nodeName": "node-a",
            "targetRef": { "kind": "Pod", "uid": "uid-1" }
        }]
    })
}

fn pod(n: usize) -> Value {
    json!({
        "metadata": {
            "name": format!("pod-{n}"), "namespace": "shop", "uid": format!("uid-{n}"),
            "labels": { "shard": n.to_string(), "app": "cart" }
        },
        "status": { "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }
        ] }
    })
}

fn node() -> Value {
    json!({ "metadata": {
        "name": "node-a", "labels": { "topology.kubernetes.io/region": "north" }
    } })
}

fn answers(kind: &str) -> Result<Page, StatusCode> {
    whole_list(match kind {
        "services" => vec![cart("shard")],
        "endpointslices" => vec![slice(1)],
        "pods" => vec![pod(1)],
        "nodes" => vec![node()],
        kind => panic!("nobody needs {kind}"),
    })
}

/// The catalog's service once a source with this API server has synced.
async fn synced(shared: &Context, client: &Client) -> Arc<Known> {
    let labels = Sender::new(Labels::None);
    let all =
        stream::select(events(&ALL, client, None, shared), facts(&ALL, client, shared, &labels));
    tokio::select! {
        () = apply(&ALL, all.boxed(), &labels, None, shared) => panic!("it follows forever"),
        synced = shared.catalog.wait_synced(MINUTE) => assert!(synced),
    }
    shared.catalog.get(&"cart.shop".parse().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_pods_and_nodes_say_is_there_from_the_first_moment() {
    let shared = source("http://127.0.0.1:1");
    let client = server(Arc::new(|kind, _| answers(kind)));
    let service = synced(&shared, &client).await;
    let endpoint = &service.ports[0].endpoints[0];
    assert_eq!(endpoint.region.as_deref(), Some("north"));
    assert_eq!(endpoint.labels.get("shard").map(|it| &**it), Some("1"));
    assert_eq!(endpoint.labels.len(), 1, "those that the Service names");
    assert!(endpoint.ready_since.is_some());
    assert!(shared.problems.shown().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_pods_and_nodes_services_are_told_without_what_these_say() {
    let shared = source("http://127.0.0.1:1");
    let client = server(Arc::new(|kind, _| match kind {
        "pods" | "nodes" => Err(StatusCode::FORBIDDEN),
        kind => answers(kind),
    }));
    let service = synced(&shared, &client).await;
    let endpoint = &service.ports[0].endpoints[0];
    assert!(endpoint.region.is_none() && endpoint.labels.is_empty());
    let problems: Vec<String> = shared.problems.shown().iter().map(ToString::to_string).collect();
    let expected = [("nodes", "no region"), ("pods", "no labels and no ready time")];
    for (problem, (resource, lacks)) in problems.iter().zip(expected) {
        let rule = format!("resources: [{resource}], verbs: [list, watch]");
        assert!(problem.contains(&rule) && problem.contains(lacks), "{problem}");
    }
    assert_eq!(problems.len(), expected.len());
}

#[tokio::test(start_paused = true)]
async fn pods_that_cannot_be_had_for_now_are_waited_for() {
    let (shared, failures) = (source("http://127.0.0.1:1"), Arc::new(AtomicUsize::new(0)));
    let failed = failures.clone();
    let client = server(Arc::new(move |kind, _| match kind {
        "pods" if failed.fetch_add(1, Relaxed) < 3 => Err(StatusCode::INTERNAL_SERVER_ERROR),
        kind => answers(kind),
    }));
    let service = synced(&shared, &client).await;
    assert!(failures.load(Relaxed) >= 3);
    assert!(service.ports[0].endpoints[0].ready_since.is_some());
}

/// An object that knows how many there are.
#[derive(Clone, Debug)]
struct Counted {
    pod: Pod,
    _one: Arc<()>,
}

thread_local! {
    static OBJECTS: Arc<()> = Arc::new(());
}

impl<'de> serde::Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { pod: Pod::deserialize(deserializer)?, _one: OBJECTS.with(Arc::clone) })
    }
}

impl kube::Resource for Counted {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind(of: &()) -> std::borrow::Cow<'_, str> {
        Pod::kind(of)
    }

    fn group(of: &()) -> std::borrow::Cow<'_, str> {
        Pod::group(of)
    }

    fn version(of: &()) -> std::borrow::Cow<'_, str> {
        Pod::version(of)
    }

    fn plural(of: &()) -> std::borrow::Cow<'_, str> {
        Pod::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.pod.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.pod.meta_mut()
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_long_list_no_more_than_a_page_is_held_as_whole_objects() {
    const PAGE: usize = 5;
    const PAGES: usize = 20;
    let shared = source("http://127.0.0.1:1");
    let client = server(Arc::new(|_, from| {
        let next = Some(from + PAGE).filter(|next| *next < PAGE * PAGES);
        Ok(Page { items: (from..from + PAGE).map(pod).collect(), next })
    }));
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let reduce = move |counted: Counted| {
        let held = OBJECTS.with(Arc::strong_count) - 1;
        seen.fetch_max(held, Relaxed);
        kube::Resource::meta(&counted).uid.clone().unwrap()
    };
    let subject = shared.subject(Resource::Pods, "all");
    let (problems, pace) = (shared.problems.clone(), shared.pace_of_all());
    let updates =
        watch(Api::<Counted>::all(client), reduce, Selector::default(), subject, problems, pace);
    let Some(Update::Listed(listed)) = Box::pin(updates).next().await else { panic!("no list") };
    let expected: Vec<String> = (0..PAGE * PAGES).map(|n| format!("uid-{n}")).collect();
    assert_eq!(listed, expected);
    assert_eq!(most.load(Relaxed), PAGE);
}

fn object<K: serde::de::DeserializeOwned>(fields: Value) -> K {
    serde_json::from_value(fields).unwrap()
}

#[tokio::test]
async fn events_that_are_ready_are_one_change_for_the_catalog() {
    let shared = source("http://127.0.0.1:1");
    let scope = Scope::All { pods_and_nodes: false };
    let told: Arc<Mutex<Vec<usize>>> = Arc::default();
    let log = told.clone();
    shared.catalog.on_change(Box::new(move |names| log.lock().unwrap().push(names.len())));
    let service = |n: usize| {
        let mut fields = cart("");
        fields["metadata"]["name"] = format!("s{n}").into();
        object::<Service>(fields)
    };
    let (first, second) = (AT_ONCE, 10);
    let lists = [
        Event::Service(Update::Listed(vec![object(cart(""))])),
        Event::Slice(Update::Listed(vec![object(slice(1))])),
    ];
    let later = (0..first + second).map(|n| Event::Service(Update::Applied(Box::new(service(n)))));
    let twice = [2, 3].map(|last| Event::Slice(Update::Applied(Box::new(object(slice(last))))));
    // Each pause ends what is ready.
    let pause = || stream::once(tokio::task::yield_now()).filter_map(|()| async { None });
    let events = stream::iter(lists)
        .chain(pause())
        .chain(stream::iter(twice))
        .chain(pause())
        .chain(stream::iter(later));
    apply(&scope, events.boxed(), &Sender::new(Labels::None), None, &shared).await;
    let bounded = [1, 1, first, second];
    assert_eq!(*told.lock().unwrap(), bounded, "changes of the catalog, and the services of each");
    let known = shared.catalog.get(&"cart.shop".parse().unwrap()).unwrap();
    assert_eq!(known.ports[0].endpoints[0].address.to_string(), "10.0.0.3:8080");
}
