use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustix::process::Uid;
use tempfile::TempDir;

use super::{Loaded, Loader};
use crate::catalog::{Catalog, Change, Service, SourceId};

const SLICE: &str = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: '', port: 80}]
endpoints: [{addresses: [ADDRESS]}]
";

fn slice(name: &str, address: &str) -> String {
    SLICE.replace("NAME", name).replace("ADDRESS", address)
}

/// A services file with one endpoint for each of these services.
fn services(names: &[&str], address: &str) -> String {
    let service = |name| format!("  - name: {name}\n    endpoints: [{{address: '{address}'}}]\n");
    format!("services:\n{}", names.iter().map(service).collect::<String>())
}

fn put(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.path().join(name), text).unwrap();
}

fn loader(path: &Path) -> Loader {
    Loader::new(path.to_owned())
}

/// Each service with its first endpoints.
fn read(loaded: &Loaded) -> Vec<String> {
    let addresses = |service: &Service| -> String {
        let endpoints = service.ports.iter().flat_map(|port| port.endpoints.iter());
        endpoints.map(|e| e.address.to_string()).collect::<Vec<_>>().join(" ")
    };
    let services = loaded.services.as_ref().unwrap().iter();
    let mut read: Vec<String> =
        services.map(|service| format!("{} {}", service.name, addresses(service))).collect();
    read.sort();
    read
}

/// The problems, with file names instead of paths.
fn problems(loaded: &Loaded, folder: &TempDir) -> Vec<String> {
    let prefix = format!("{}/", folder.path().display());
    loaded.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

#[test]
fn a_folder_is_all_of_its_files() {
    let folder = TempDir::new().unwrap();
    put(&folder, "a.yaml", services(&["a.shop"], "10.0.0.1:80"));
    put(&folder, "b.yml", services(&["b.shop"], "10.0.0.2:80"));
    put(&folder, "slice-1.yaml", slice("cart-1", "10.0.0.3"));
    put(&folder, "slice-2.json", slice("cart-2", "10.0.0.4"));
    put(&folder, "notes.txt", "{");
    put(&folder, ".b.yml.swp", "{");
    fs::create_dir(folder.path().join("sub.yaml")).unwrap();
    let loaded = loader(folder.path()).load(|_| {});
    assert_eq!(
        read(&loaded),
        ["a.shop 10.0.0.1:80", "b.shop 10.0.0.2:80", "cart.shop 10.0.0.3:80 10.0.0.4:80"]
    );
    assert!(loaded.complete);
    assert!(loaded.problems.is_empty());
}

#[test]
fn a_bad_file_keeps_its_own_last_good_and_others_go_on() {
    let folder = TempDir::new().unwrap();
    put(&folder, "a.yaml", services(&["a.shop"], "10.0.0.1:80"));
    put(&folder, "b.yaml", services(&["b.shop"], "10.0.0.2:80"));
    let mut loader = loader(folder.path());
    loader.load(|_| {});
    put(&folder, "a.yaml", "services:\n  - name: a\n    endpoints: []\n");
    put(&folder, "b.yaml", services(&["b.shop"], "10.0.0.9:80"));
    let loaded = loader.load(|_| {});
    assert_eq!(read(&loaded), ["a.shop 10.0.0.1:80", "b.shop 10.0.0.9:80"]);
    assert!(loaded.complete);
    let problems = problems(&loaded, &folder);
    assert!(problems[0].starts_with("a.yaml:2:11: services[0].name: \"a\": names are"));
    assert!(problems[0].ends_with(" (the last good state stays in force)"));
    // A second look at the same bytes has the same result.
    assert_eq!(self::problems(&loader.load(|_| {}), &folder), problems);
    put(&folder, "a.yaml", services(&["a.shop"], "10.0.0.3:80"));
    let loaded = loader.load(|_| {});
    assert_eq!(read(&loaded), ["a.shop 10.0.0.3:80", "b.shop 10.0.0.9:80"]);
    assert!(loaded.problems.is_empty());
}

#[test]
fn a_folder_is_complete_only_once_every_file_was_good() {
    let folder = TempDir::new().unwrap();
    put(&folder, "a.yaml", services(&["a.shop"], "10.0.0.1:80"));
    put(&folder, "b.yaml", "service: []\n");
    let mut loader = loader(folder.path());
    let loaded = loader.load(|_| {});
    assert_eq!(read(&loaded), ["a.shop 10.0.0.1:80"]);
    assert!(!loaded.complete);
    assert!(problems(&loaded, &folder)[0].contains("did you mean \"services\"?"));
    put(&folder, "b.yaml", "services: []\n");
    assert!(loader.load(|_| {}).complete);
}

#[test]
fn a_file_that_is_removed_from_a_folder_takes_its_services_along() {
    let folder = TempDir::new().unwrap();
    put(&folder, "a.yaml", services(&["a.shop"], "10.0.0.1:80"));
    put(&folder, "b.yaml", services(&["b.shop"], "10.0.0.2:80"));
    let mut loader = loader(folder.path());
    loader.load(|_| {});
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    assert_eq!(read(&loader.load(|_| {})), ["a.shop 10.0.0.1:80"]);
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    let loaded = loader.load(|_| {});
    assert!(read(&loaded).is_empty() && loaded.complete);
}

#[test]
fn of_a_path_that_is_not_there_nothing_can_be_said() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("services.yaml");
    let mut loader = loader(&path);
    let loaded = loader.load(|_| {});
    assert!(loaded.services.is_none() && !loaded.complete);
    assert_eq!(
        problems(&loaded, &folder),
        ["services.yaml: there is no such file or folder (nothing is known of it yet)"]
    );
    put(&folder, "services.yaml", services(&["a.shop"], "10.0.0.1:80"));
    assert_eq!(read(&loader.load(|_| {})), ["a.shop 10.0.0.1:80"]);
    fs::remove_file(&path).unwrap();
    let loaded = loader.load(|_| {});
    assert!(loaded.services.is_none());
    assert_eq!(
        problems(&loaded, &folder),
        ["services.yaml: there is no such file or folder (the last good state stays in force)"]
    );
}

/// On a thread of another user, because root can read everything.
fn as_nobody<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    let as_nobody = || {
        if rustix::process::geteuid().is_root() {
            let nobody = Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        what()
    };
    std::thread::scope(|scope| scope.spawn(as_nobody).join().unwrap())
}

#[test]
fn a_file_that_may_not_be_read_keeps_its_last_good() {
    let folder = TempDir::new().unwrap();
    put(&folder, "a.yaml", services(&["a.shop"], "10.0.0.1:80"));
    let mut loader = loader(folder.path());
    loader.load(|_| {});
    let path = folder.path().join("a.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let loaded = as_nobody(|| loader.load(|_| {}));
    assert_eq!(read(&loaded), ["a.shop 10.0.0.1:80"]);
    assert!(problems(&loaded, &folder)[0].contains("may not read it: give its user permission"));
}

#[test]
fn what_is_no_ordinary_file_is_not_read() {
    let folder = TempDir::new().unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("a.yaml")).unwrap();
    let loaded = loader(folder.path()).load(|_| {});
    assert_eq!(problems(&loaded, &folder), ["a.yaml: this is not a regular file"]);
    assert!(!loaded.complete);
}

#[test]
fn of_two_files_with_one_service_the_first_by_name_counts() {
    let folder = TempDir::new().unwrap();
    put(&folder, "a.yaml", services(&["cart.shop", "a.shop"], "10.0.0.1:80"));
    put(&folder, "b.yaml", services(&["b.shop", "cart.shop"], "10.0.0.2:80"));
    put(&folder, "c.yaml", slice("cart-1", "10.0.0.3"));
    let loaded = loader(folder.path()).load(|_| {});
    assert_eq!(
        read(&loaded),
        ["a.shop 10.0.0.1:80", "b.shop 10.0.0.2:80", "cart.shop 10.0.0.1:80"]
    );
    let problems = problems(&loaded, &folder);
    assert_eq!(
        problems[0],
        "b.yaml:4:11: service \"cart.shop\" is already in a.yaml:2:11, which counts: remove one of \
         them"
    );
    assert!(problems[1].starts_with("c.yaml:1: service \"cart.shop\" is already in a.yaml:2:11"));
}

#[test]
fn of_two_files_with_one_slice_the_first_by_name_counts() {
    let folder = TempDir::new().unwrap();
    put(&folder, "a.yaml", slice("cart-1", "10.0.0.1"));
    put(&folder, "b.yaml", slice("cart-1", "10.0.0.2"));
    let loaded = loader(folder.path()).load(|_| {});
    assert_eq!(read(&loaded), ["cart.shop 10.0.0.1:80"]);
    assert!(
        problems(&loaded, &folder)[0]
            .starts_with("b.yaml:1: EndpointSlice \"cart-1.shop\" is already in a.yaml:1")
    );
}

#[test]
fn a_path_may_turn_from_a_file_into_a_folder() {
    let folder = TempDir::new().unwrap();
    put(&folder, "services.yaml", services(&["a.shop"], "10.0.0.1:80"));
    let path = folder.path().join("services.yaml");
    let mut loader = loader(&path);
    loader.load(|_| {});
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("b.yaml"), services(&["b.shop"], "10.0.0.2:80")).unwrap();
    assert_eq!(read(&loader.load(|_| {})), ["b.shop 10.0.0.2:80"]);
}

#[test]
fn what_is_kept_of_a_file_is_kept_once() {
    let folder = TempDir::new().unwrap();
    let text = "services:\n  - name: a.shop\n    endpoints:\n      - {address: '10.0.0.1:80', zone: \
                a, labels: {v: a}}\n      - {address: '10.0.0.2:80', zone: a, labels: {v: a}}\n";
    put(&folder, "a.yaml", text);
    let mut loader = loader(folder.path());
    let catalog = Catalog::new(["test"]);
    let services = loader.load(|service| catalog.share(service)).services.unwrap();
    let kept = services[0].ports[0].endpoints.clone();
    catalog.apply(SourceId(0), Change::Replace(services), std::time::Duration::ZERO);
    let served = catalog.list(None)[0].ports[0].endpoints.clone();
    assert!(std::sync::Arc::ptr_eq(&kept, &served));
    assert!(std::sync::Arc::ptr_eq(&kept[0].labels, &kept[1].labels));
}
