//! Watchers over a catalog that the tests change, on tokio's paused time.

use super::*;
use crate::{
    catalog::{
        Catalog, Change, Health, Locality, Port, SourceId,
        sample::{endpoint, port, service, with_ports},
    },
    policy::ConfigPolicies,
    publish::Tables,
    serve::{calls::version::RunId, resolver::access::Access},
};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    agent: Arc<Agent>,
    catalog: Arc<Catalog>,
    tables: Tables,
}

impl World {
    fn with(services: Vec<Service>) -> Self {
        let catalog = Arc::new(Catalog::new(["test"]));
        catalog.apply(SourceId(0), Change::Replace(services), Duration::ZERO);
        catalog.apply(SourceId(0), Change::Synced, Duration::ZERO);
        let tables =
            Tables::start(catalog.clone(), ConfigPolicies::default(), Locality::default(), 1)
                .unwrap();
        let agent = Arc::new(Agent::new(catalog.clone(), tables.clone(), Access::default()));
        Self { agent, catalog, tables }
    }

    fn upsert(&self, service: Service) {
        self.catalog.apply(SourceId(0), Change::Upsert(service), Duration::ZERO);
    }

    async fn watch(&self, service: &str, since: &str) -> Result<Watcher, Error> {
        let (service, since) = (service.to_owned(), since.to_owned());
        self.agent
            .watch_service(Identity::Uid(0), v1::WatchServiceRequest { service, since }, None)
            .await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tables.stop();
    }
}

fn of(event: &v1::WatchEvent) -> (Type, Vec<&str>, Vec<&str>) {
    let upserted = event.upserted.iter().map(|endpoint| endpoint.address.as_str()).collect();
    (event.r#type(), upserted, event.removed.iter().map(String::as_str).collect())
}

#[tokio::test(start_paused = true)]
async fn a_watcher_is_told_everything_and_then_what_differs() {
    let world = World::with(vec![service("cart.shop", [1, 2, 3].map(endpoint))]);
    let mut watcher = world.watch("cart.shop", "").await.unwrap();
    let first = watcher.next().await.unwrap();
    assert_eq!(of(&first), (Type::Snapshot, vec!["10.0.0.1", "10.0.0.2", "10.0.0.3"], vec![]));
    assert_eq!(first.service, "cart.shop");
    let draining = Endpoint { health: Health::Draining, ..endpoint(2) };
    world.upsert(service("cart.shop", [endpoint(1), draining, endpoint(4)]));
    let second = watcher.next().await.unwrap();
    assert_eq!(of(&second), (Type::Delta, vec!["10.0.0.2", "10.0.0.4"], vec!["10.0.0.3:80"]));
    assert_ne!(first.version, second.version);
}

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_hears_of_many_changes_at_once() {
    let world = World::with(vec![service("cart.shop", [endpoint(1)])]);
    let mut watcher = world.watch("cart.shop", "").await.unwrap();
    watcher.next().await.unwrap();
    for weight in 2..=200 {
        world.upsert(service("cart.shop", [Endpoint { weight, ..endpoint(1) }]));
    }
    let event = watcher.next().await.unwrap();
    assert_eq!(of(&event), (Type::Delta, vec!["10.0.0.1"], vec![]));
    assert_eq!(event.upserted[0].weight, 200.0);
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_comes_every_thirty_seconds_while_nothing_changes() {
    let world = World::with(vec![service("cart.shop", [endpoint(1)])]);
    let mut watcher = world.watch("cart.shop", "").await.unwrap();
    let first = watcher.next().await.unwrap();
    for _ in 0..3 {
        let begin = Instant::now();
        let event = watcher.next().await.unwrap();
        assert_eq!((of(&event), begin.elapsed()), ((Type::Bookmark, vec![], vec![]), BOOKMARK));
        assert_eq!(event.version, first.version);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_of_other_services_put_no_bookmark_off() {
    let world = World::with(vec![service("cart.shop", [endpoint(1)])]);
    let mut watcher = world.watch("cart.shop", "").await.unwrap();
    watcher.next().await.unwrap();
    let begin = Instant::now();
    let others = async {
        for last in 1..60 {
            world.upsert(service("pay.shop", [endpoint(last)]));
            tokio::time::sleep(SECOND).await;
        }
    };
    tokio::select! {
        event = watcher.next() => assert_eq!(event.unwrap().r#type(), Type::Bookmark),
        () = others => panic!("no bookmark in 60 s"),
    }
    assert_eq!(begin.elapsed(), BOOKMARK);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_shown_is_a_new_version_and_no_more() {
    let world = World::with(vec![service("cart.shop", [endpoint(1)])]);
    let mut watcher = world.watch("cart.shop", "").await.unwrap();
    let first = watcher.next().await.unwrap();
    let noted = Service { notes: vec!["noted".into()], ..service("cart.shop", [endpoint(1)]) };
    world.upsert(noted);
    let event = watcher.next().await.unwrap();
    assert_eq!(of(&event), (Type::Bookmark, vec![], vec![]));
    assert_ne!(event.version, first.version);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_of_a_port_hears_of_no_other_and_one_of_all_hears_of_each_endpoint_once() {
    let ports = |grpc: Vec<Endpoint>| vec![port("grpc", 90, grpc), port("http", 80, [endpoint(9)])];
    let world = World::with(vec![with_ports("cart.shop", ports(vec![endpoint(1), endpoint(9)]))]);
    let mut all = world.watch("cart.shop", "").await.unwrap();
    let event = all.next().await.unwrap();
    assert_eq!(of(&event).1, ["10.0.0.1", "10.0.0.9"]);
    let mut http = world.watch("cart.shop:http", "").await.unwrap();
    assert_eq!(of(&http.next().await.unwrap()).1, ["10.0.0.9"]);
    world.upsert(with_ports("cart.shop", ports(vec![endpoint(2)])));
    assert_eq!(
        of(&all.next().await.unwrap()),
        (Type::Delta, vec!["10.0.0.2"], vec!["10.0.0.1:80"])
    );
    assert_eq!(of(&http.next().await.unwrap()), (Type::Bookmark, vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_service_or_port_that_goes_away_ends_its_watch() {
    let ports: Vec<Port> = vec![port("grpc", 90, [endpoint(1)]), port("http", 80, [endpoint(1)])];
    let world = World::with(vec![with_ports("cart.shop", ports.clone())]);
    let mut port = world.watch("cart.shop:http", "").await.unwrap();
    let mut whole = world.watch("cart.shop", "").await.unwrap();
    port.next().await.unwrap();
    whole.next().await.unwrap();
    world.upsert(with_ports("cart.shop", ports[..1].to_vec()));
    assert_eq!(port.next().await.unwrap_err().reason(), "NO_SUCH_PORT");
    whole.next().await.unwrap();
    let gone = Change::Remove("cart.shop".parse().unwrap());
    world.catalog.apply(SourceId(0), gone, Duration::ZERO);
    assert_eq!(whole.next().await.unwrap_err().reason(), "NO_SUCH_SERVICE");
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_resumed_where_it_was_and_begins_anew_where_it_can_not_be() {
    let world = World::with(vec![service("cart.shop", [endpoint(1)])]);
    let mut watcher = world.watch("cart.shop", "").await.unwrap();
    let old = watcher.next().await.unwrap().version;
    world.upsert(service("cart.shop", [endpoint(2)]));
    let newest = watcher.next().await.unwrap().version;

    let mut resumed = world.watch("cart.shop", &newest).await.unwrap();
    assert_eq!(of(&resumed.next().await.unwrap()), (Type::Bookmark, vec![], vec![]));
    world.upsert(service("cart.shop", [endpoint(2), endpoint(3)]));
    assert_eq!(of(&resumed.next().await.unwrap()), (Type::Delta, vec!["10.0.0.3"], vec![]));

    let future = world.agent.run_id.version(1 << 40);
    let of_another_life = RunId(!world.agent.run_id.0).version(3);
    for since in [old, future, of_another_life] {
        let mut watcher = world.watch("cart.shop", &since).await.unwrap();
        let event = watcher.next().await.unwrap();
        assert_eq!(of(&event).0, Type::Snapshot, "{since}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_version_is_refused_by_field() {
    let world = World::with(vec![service("cart.shop", [endpoint(1)])]);
    for since in ["7", ".", "0000000g.1", "00000000.", "0.1", "00000000.-1", "+0000000.1", "ä.1"] {
        match world.watch("cart.shop", since).await.map(|_| ()) {
            Err(Error::Invalid(violations)) => assert_eq!(violations[0].field, "since", "{since}"),
            other => panic!("{since}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_agent_ends_every_watch() {
    let world = World::with(vec![service("cart.shop", [endpoint(1)])]);
    let mut watcher = world.watch("cart.shop", "").await.unwrap();
    watcher.next().await.unwrap();
    world.agent.shutdown.begin();
    assert_eq!(watcher.next().await.unwrap_err().reason(), "AGENT_ENDING");
}
