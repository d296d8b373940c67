use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::{
    captured_log::capture,
    catalog::{Catalog, LookupError, SourceId},
    source::{self, Spec, Status},
};

/// Long enough for a slow machine. What the tests wait for takes a tenth of a second.
const AT_MOST: Duration = Duration::from_secs(10);

struct Running {
    catalog: Arc<Catalog>,
    status: Status,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(path: &Path) -> Self {
        let spec = Spec::File(path.to_owned());
        let catalog = Arc::new(Catalog::new([spec.to_string()]));
        let status = Status::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let cancelled = async move { drop(stopped.await) };
        let (catalog_too, status_too) = (catalog.clone(), status.clone());
        let task = tokio::spawn(async move {
            source::run(spec, Default::default(), SourceId(0), catalog_too, status_too, cancelled)
                .await;
        });
        Self { catalog, status, stop: Some(stop), task }
    }

    /// All services with their endpoints' addresses.
    fn read(&self) -> Vec<String> {
        let services = self.catalog.list(None);
        let read = services.iter().map(|service| {
            let endpoints = service.ports.iter().flat_map(|port| port.endpoints.iter());
            let addresses: Vec<_> = endpoints.map(|e| e.address.to_string()).collect();
            format!("{} {}", service.name, addresses.join(" "))
        });
        read.collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = tokio::time::Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < AT_MOST, "{what}: {:?} {:?}", self.read(), self.status);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_read(&self, services: &[&str]) {
        self.until("until_read", |it| it.read() == services).await;
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("services.yaml");
    (folder, path)
}

fn cart(address: &str) -> String {
    format!("services:\n  - name: cart.shop\n    endpoints: [{{address: '{address}'}}]\n")
}

#[tokio::test]
async fn the_first_good_read_makes_the_source_synced() {
    let (_guard, path) = folder();
    fs::write(&path, cart("10.0.0.1:80")).unwrap();
    let running = Running::start(&path);
    assert_eq!(running.status.first_read().await, Ok(()));
    assert!(running.catalog.synced());
    assert_eq!(running.read(), ["cart.shop 10.0.0.1:80"]);
    assert!(running.status.problems().is_empty());
}

#[tokio::test]
async fn a_bad_first_read_says_why_and_is_mended_without_a_restart() {
    let (_guard, path) = folder();
    fs::write(&path, "services:\n  - name: cart\n").unwrap();
    let running = Running::start(&path);
    let problems = running.status.first_read().await.unwrap_err();
    assert!(problems[0].to_string().contains("services.yaml:2:11: services[0].name"));
    assert!(!running.catalog.synced());
    let asked = "cart.shop".parse().unwrap();
    assert!(matches!(running.catalog.lookup(&asked), Err(LookupError::NotSynced { .. })));
    fs::write(&path, cart("10.0.0.1:80")).unwrap();
    running.until_read(&["cart.shop 10.0.0.1:80"]).await;
    running.until("synced", |it| it.status.synced() && it.catalog.synced()).await;
    assert!(running.status.problems().is_empty());
}

#[tokio::test]
async fn a_file_that_appears_later_is_read_then() {
    let (_guard, path) = folder();
    let running = Running::start(&path);
    let problems = running.status.first_read().await.unwrap_err();
    assert!(problems[0].what.contains("there is no such file or folder"));
    fs::write(&path, cart("10.0.0.1:80")).unwrap();
    running.until_read(&["cart.shop 10.0.0.1:80"]).await;
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_a_bad_one_keeps_the_last_good() {
    let (_guard, path) = folder();
    fs::write(&path, cart("10.0.0.1:80")).unwrap();
    let running = Running::start(&path);
    running.until_read(&["cart.shop 10.0.0.1:80"]).await;
    fs::write(&path, cart("10.0.0.2:80")).unwrap();
    running.until_read(&["cart.shop 10.0.0.2:80"]).await;

    fs::write(&path, "services:\n  - name: cart.shop\n    endpoints: [{adress: 10.0.0.3}]\n")
        .unwrap();
    running.until("a problem", |it| !it.status.problems().is_empty()).await;
    let problem = running.status.problems()[0].to_string();
    assert!(problem.contains("services.yaml:3:18: services[0].endpoints[0]: unknown field \"adress\"; did you mean \"address\"?"), "{problem}");
    assert!(problem.ends_with(" (the last good state stays in force)"), "{problem}");
    assert_eq!(running.read(), ["cart.shop 10.0.0.2:80"]);

    fs::write(&path, cart("10.0.0.4:80")).unwrap();
    running.until_read(&["cart.shop 10.0.0.4:80"]).await;
    running.until("no problem", |it| it.status.problems().is_empty()).await;
}

#[tokio::test]
async fn a_path_that_vanishes_keeps_the_last_good_and_recovers() {
    let (guard, _) = folder();
    let path = guard.path().join("services.d");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), cart("10.0.0.1:80")).unwrap();
    let running = Running::start(&path);
    running.until_read(&["cart.shop 10.0.0.1:80"]).await;
    fs::rename(&path, guard.path().join("away")).unwrap();
    running.until("a problem", |it| !it.status.problems().is_empty()).await;
    assert_eq!(running.read(), ["cart.shop 10.0.0.1:80"]);
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), cart("10.0.0.2:80")).unwrap();
    running.until("recovery", |it| it.read() == ["cart.shop 10.0.0.2:80"]).await;
    running.until("no problem", |it| it.status.problems().is_empty()).await;
}

#[tokio::test]
async fn a_line_that_empties_a_service_is_braked() {
    let (_guard, path) = folder();
    fs::write(&path, cart("10.0.0.1:80")).unwrap();
    let running = Running::start(&path);
    running.until_read(&["cart.shop 10.0.0.1:80"]).await;
    fs::write(&path, "services: [{name: cart.shop, endpoints: []}]\n").unwrap();
    running.until("the brake", |it| it.catalog.brake_counts().held == 1).await;
    assert_eq!(running.read(), ["cart.shop 10.0.0.1:80"]);
    fs::write(&path, "services: []\n").unwrap();
    running.until_read(&[]).await;
}

#[tokio::test]
async fn cancelling_ends_the_source() {
    let (_guard, path) = folder();
    let mut running = Running::start(&path);
    assert!(running.status.first_read().await.is_err());
    running.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(AT_MOST, running.task).await.unwrap().unwrap();
}

#[test]
fn each_problem_is_logged_once_and_so_is_its_end() {
    let problem = |what: &str| source::Problem::of_file(&"a.yaml".into(), what);
    let (logged, guard) = capture();
    let told = super::log_changes(BTreeSet::new(), vec![problem("one"), problem("two")]);
    let told = super::log_changes(told, vec![problem("two"), problem("one")]);
    super::log_changes(told, vec![problem("two")]);
    drop(guard);
    let logged = String::from_utf8(logged.lock().unwrap().clone()).unwrap();
    assert_eq!(
        logged.lines().map(str::trim).collect::<Vec<_>>(),
        ["WARN a.yaml: one", "WARN a.yaml: two", "INFO no longer: a.yaml: one"]
    );
}
