//! A file source at rest wakes no thread. In a process of its own, because it counts the context
//! switches of the process.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use pointsman::{
    catalog::{Catalog, SourceId},
    source::{self, Spec, Status},
};

/// Long enough to notice a poll every two seconds.
const REST: Duration = Duration::from_millis(2500);

#[test]
fn a_file_source_at_rest_wakes_no_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("services.yaml");
    fs::write(&path, "services: []\n").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        // Longer than the test, because a thread that ends has to wake up for that.
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

/// The voluntary context switches of each thread except this one, by its number and name.
fn switches() -> BTreeMap<(String, String), u64> {
    let own = fs::read_link("/proc/thread-self").unwrap();
    let own = own.file_name().unwrap().to_str().unwrap().to_owned();
    let mut switches = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let number = task.file_name().to_str().unwrap().to_owned();
        // The test harness's thread waits for this one, and wakes up by a timer.
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
