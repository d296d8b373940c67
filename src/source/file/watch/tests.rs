use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::timeout;

use super::Watch;

/// Longer than the time for which a change is held back, shorter than the next poll.
const SOON: Duration = Duration::from_secs(4);

/// The watch must not report anything within this time.
const NEVER: Duration = Duration::from_millis(300);

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn watch(path: &Path) -> Watch {
    let mut watch = Watch::new(path.to_owned());
    watch.aim();
    assert!(!watch.refused);
    watch
}

async fn told(watch: &mut Watch) -> bool {
    let told = timeout(SOON, watch.changed()).await.is_ok();
    watch.aim();
    told
}

async fn quiet(watch: &Watch) -> bool {
    timeout(NEVER, watch.changed()).await.is_err()
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[tokio::test]
async fn at_rest_and_for_readers_and_neighbours_nothing_wakes() {
    let (_guard, folder) = folder();
    let path = folder.join("services.yaml");
    fs::write(&path, "a").unwrap();
    let watch = watch(&path);
    fs::read(&path).unwrap();
    fs::read_dir(&folder).unwrap().count();
    fs::write(folder.join("other.yaml"), "b").unwrap();
    fs::remove_file(folder.join("other.yaml")).unwrap();
    assert!(quiet(&watch).await);
}

#[tokio::test]
async fn a_file_that_is_written_replaced_removed_or_made_is_told_of() {
    let (_guard, folder) = folder();
    let path = folder.join("services.yaml");
    fs::write(&path, "a").unwrap();
    let mut watch = watch(&path);
    fs::write(&path, "b").unwrap();
    assert!(told(&mut watch).await);
    replace(&path, "c");
    assert!(told(&mut watch).await);
    replace(&path, "d");
    assert!(told(&mut watch).await);
    fs::remove_file(&path).unwrap();
    assert!(told(&mut watch).await);
    fs::write(&path, "e").unwrap();
    assert!(told(&mut watch).await);
    assert!(quiet(&watch).await);
}

#[tokio::test]
async fn a_file_that_is_still_open_is_waited_for() {
    let (_guard, folder) = folder();
    let path = folder.join("services.yaml");
    fs::write(&path, "a").unwrap();
    let watch = watch(&path);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let start = tokio::time::Instant::now();
    let writer = async {
        for _ in 0..4 {
            file.write_all(b"b").unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        drop(file);
    };
    let ((), told) = tokio::join!(writer, timeout(SOON, watch.changed()));
    assert!(told.is_ok());
    assert!(start.elapsed() >= Duration::from_millis(800), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_file_that_is_never_closed_is_looked_at_all_the_same() {
    let (_guard, folder) = folder();
    let path = folder.join("services.yaml");
    fs::write(&path, "a").unwrap();
    let mut watch = watch(&path);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"b").unwrap();
    assert!(told(&mut watch).await);
}

#[tokio::test]
async fn a_path_that_is_not_there_is_waited_for_from_its_nearest_parent() {
    let (_guard, folder) = folder();
    let path = folder.join("a/b/services.yaml");
    let mut watch = watch(&path);
    fs::create_dir(folder.join("a")).unwrap();
    assert!(told(&mut watch).await);
    fs::create_dir(folder.join("a/b")).unwrap();
    assert!(told(&mut watch).await);
    fs::write(&path, "a").unwrap();
    assert!(told(&mut watch).await);
    fs::write(&path, "b").unwrap();
    assert!(told(&mut watch).await);
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_followed() {
    let (_guard, folder) = folder();
    let path = folder.join("services.d");
    fs::create_dir(&path).unwrap();
    let mut watch = watch(&path);
    fs::write(path.join("a.yaml"), "a").unwrap();
    assert!(told(&mut watch).await);
    fs::remove_dir_all(&path).unwrap();
    assert!(told(&mut watch).await);
    fs::create_dir(&path).unwrap();
    assert!(told(&mut watch).await);
    fs::write(path.join("a.yaml"), "b").unwrap();
    assert!(told(&mut watch).await);
    fs::rename(&path, folder.join("elsewhere")).unwrap();
    assert!(told(&mut watch).await);
    fs::write(folder.join("elsewhere/a.yaml"), "c").unwrap();
    assert!(quiet(&watch).await);
}

#[tokio::test]
async fn the_folder_of_a_file_may_be_replaced() {
    let (_guard, folder) = folder();
    fs::create_dir(folder.join("d")).unwrap();
    let path = folder.join("d/services.yaml");
    fs::write(&path, "a").unwrap();
    let mut watch = watch(&path);
    fs::create_dir(folder.join("new")).unwrap();
    fs::write(folder.join("new/services.yaml"), "b").unwrap();
    fs::rename(folder.join("d"), folder.join("old")).unwrap();
    fs::rename(folder.join("new"), folder.join("d")).unwrap();
    assert!(told(&mut watch).await);
    fs::write(&path, "c").unwrap();
    assert!(told(&mut watch).await);
}

/// Replaces a whole ConfigMap at once, as the kubelet does.
fn mount(folder: &Path, generation: &str, text: &str) {
    fs::create_dir(folder.join(generation)).unwrap();
    fs::write(folder.join(generation).join("services.yaml"), text).unwrap();
    symlink(generation, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_as_a_file_and_as_a_folder() {
    let (_guard, folder) = folder();
    mount(&folder, "..1", "a");
    let path = folder.join("services.yaml");
    symlink("..data/services.yaml", &path).unwrap();
    let (mut as_file, mut as_folder) = (watch(&path), watch(&folder));
    for (generation, last) in [("..2", "..1"), ("..3", "..2")] {
        mount(&folder, generation, "b");
        fs::remove_dir_all(folder.join(last)).unwrap();
        assert!(told(&mut as_file).await);
        assert!(told(&mut as_folder).await);
    }
    assert!(quiet(&as_file).await);
}

#[tokio::test]
async fn what_a_link_leads_to_is_followed() {
    let (_guard, folder) = folder();
    fs::create_dir(folder.join("targets")).unwrap();
    fs::create_dir(folder.join("d")).unwrap();
    let target = folder.join("targets/one");
    fs::write(&target, "a").unwrap();
    symlink(&target, folder.join("d/services.yaml")).unwrap();
    let mut as_file = watch(&folder.join("d/services.yaml"));
    let mut as_folder = watch(&folder.join("d"));
    fs::write(&target, "b").unwrap();
    assert!(told(&mut as_file).await);
    assert!(told(&mut as_folder).await);
}

#[tokio::test]
async fn where_inotify_is_refused_the_path_is_looked_at_every_so_often() {
    let (_guard, folder) = folder();
    let path = folder.join("services.yaml");
    let mut watch = Watch::new(path.clone());
    let works = watch.start;
    watch.start = |_| Err(notify::Error::new(notify::ErrorKind::MaxFilesWatch));
    watch.poll = Duration::from_millis(50);
    watch.aim();
    assert!(watch.refused);
    let start = tokio::time::Instant::now();
    watch.changed().await;
    watch.aim();
    watch.changed().await;
    assert!(start.elapsed() >= Duration::from_millis(100));
    // And no longer than needed.
    watch.start = works;
    watch.aim();
    assert!(!watch.refused);
    assert!(quiet(&watch).await);
    fs::write(&path, "a").unwrap();
    assert!(told(&mut watch).await);
}
