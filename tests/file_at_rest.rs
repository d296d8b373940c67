//! A file source at rest wakes no thread. In a process of its own, since it counts the process's
//! context switches.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use pointsman::{
    catalog::{Catalog, SourceId},
    source::{self, Spec, Status},
};

/// Long enough for a poll of two seconds to show.
const REST: Duration = Duration::from_millis(2500);

#[test]
fn a_file_source_at_rest_wakes_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("services.yaml");
    fs::write(&path, "services: []\n").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        // Longer than the test: a thread that ends has to wake for it.
        .thread_keep_alive(Duration::from_secs(60))
        .build()
        .unwrap();
    let catalog = Arc::new(Catalog::new(["test"]));
    let status = Status::default();
    let holds = catalog.clone();
    runtime.spawn(async move { holds.end_holds().await });
    runtime.spawn(source::run(
        Spec::File(path),
        Default::default(),
        SourceId(0),
        catalog,
        status.clone(),
        std::future::pending(),
    ));
    runtime.block_on(status.first_read()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let before = switches();
    std::thread::sleep(REST);
    let after = switches();
    let woken: Vec<String> = after
        .iter()
        .filter(|(thread, count)| before.get(*thread) != Some(count))
        .map(|((_, name), count)| format!("{name}: {count}"))
        .collect();
    assert!(woken.is_empty(), "{woken:?}");
    assert!(after.len() >= 3, "{after:?}");
    runtime.shutdown_background();
}

/// Voluntary context switches of every thread but this one, by its number and name.
fn switches() -> BTreeMap<(String, String), u64> {
    let own = fs::read_link("/proc/thread-self").unwrap();
    let own = own.file_name().unwrap().to_str().unwrap().to_owned();
    let mut switches = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let number = task.file_name().to_str().unwrap().to_owned();
        // The harness's thread waits for this one, with a clock.
        if number == own || number == std::process::id().to_string() {
            continue;
        }
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim_start_matches(':').trim().to_owned()
        };
        let count = field("voluntary_ctxt_switches").parse().unwrap();
        switches.insert((number, field("Name")), count);
    }
    switches
}
