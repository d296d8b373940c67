use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

const UID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

fn uid() -> PodUid {
    PodUid::parse(UID).unwrap()
}

fn cart() -> Pod {
    Pod { namespace: "shop".into(), name: "cart-7f".into(), service_account: "cart".into() }
}

fn folders() -> (TempDir, PodFolders) {
    let parent = tempfile::tempdir().unwrap();
    let folders = PodFolders::at(parent.path().join("pods"));
    (parent, folders)
}

fn mode_of(path: &Path) -> u32 {
    mode(&fs::symlink_metadata(path).unwrap())
}

#[test]
fn a_folder_says_who_it_is_for_and_only_the_mounted_part_is_for_others() {
    let (_parent, folders) = folders();
    for _ in 0..2 {
        folders.make(uid(), &cart()).unwrap();
        assert_eq!(folders.read(uid()).unwrap(), cart());
    }
    let pod = folders.path().join(UID);
    assert_eq!(mode_of(folders.path()), 0o700);
    assert_eq!(mode_of(&pod), 0o700);
    assert_eq!(mode_of(&pod.join(RECORD)), 0o600);
    assert_eq!(mode_of(&folders.path().join(mounted(uid()))), 0o755);
    assert_eq!(folders.list().unwrap().0, [uid()]);
    assert_eq!(
        fs::read_dir(folders.path().join(mounted(uid()))).unwrap().count(),
        0,
        "a pod sees no record"
    );
}

#[test]
fn whatever_step_a_plugin_dies_after_the_next_call_completes_the_folder() {
    let (_parent, folders) = folders();
    let (hidden, pod) = (folders.path().join(format!(".{UID}.new")), folders.path().join(UID));
    let steps: [&dyn Fn(); 5] = [
        &|| fs::create_dir(&hidden).unwrap(),
        &|| fs::write(hidden.join(format!(".{RECORD}")), "{\"vers").unwrap(),
        &|| fs::write(hidden.join(RECORD), "{\"vers").unwrap(),
        &|| fs::create_dir(hidden.join(MOUNTED)).unwrap(),
        &|| fs::rename(&hidden, &pod).unwrap(),
    ];
    for died_after in 0..=steps.len() {
        folders.prepare().unwrap();
        steps[..died_after].iter().for_each(|step| step());
        folders.make(uid(), &cart()).unwrap();
        assert_eq!(folders.read(uid()).unwrap(), cart(), "after step {died_after}");
        folders.remove(uid()).unwrap();
        assert_eq!(fs::read_dir(folders.path()).unwrap().count(), 0, "after step {died_after}");
    }
}

#[test]
fn a_record_that_is_damaged_is_written_anew_and_what_is_mounted_stays() {
    let (_parent, folders) = folders();
    folders.make(uid(), &cart()).unwrap();
    fs::write(folders.socket(uid()), "").unwrap();
    fs::write(folders.path().join(UID).join(RECORD), "{}").unwrap();
    assert!(folders.read(uid()).is_err());
    folders.make(uid(), &cart()).unwrap();
    assert_eq!(folders.read(uid()).unwrap(), cart());
    assert!(folders.socket(uid()).exists(), "the pod has that folder open");
}

#[test]
fn what_is_left_half_made_or_half_removed_is_tidied_and_nothing_else() {
    let (_parent, folders) = folders();
    folders.make(uid(), &cart()).unwrap();
    for name in [format!(".{UID}.new"), format!(".{UID}.old"), ".read-only".to_owned()] {
        fs::create_dir(folders.path().join(name)).unwrap();
    }
    assert_eq!(folders.list().unwrap().0, [uid()], "what is hidden is nobody's");
    folders.tidy().unwrap();
    let names = fs::read_dir(folders.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, [".read-only", UID]);
}

#[test]
fn a_record_that_others_could_have_written_is_refused_with_what_would_be_right() {
    let (parent, folders) = folders();
    folders.make(uid(), &cart()).unwrap();
    let pod = folders.path().join(UID);
    let refused = || folders.read(uid()).unwrap_err().to_string();
    for (path, right) in [
        (pod.join(RECORD), 0o600),
        (pod.clone(), 0o700),
        (folders.path().join(mounted(uid())), 0o755),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(right | 0o020)).unwrap();
        let said = refused();
        assert!(
            said.contains(&format!("mode {:04o}: it must be {right:04o}", right | 0o020)),
            "{said}"
        );
        fs::set_permissions(&path, Permissions::from_mode(right)).unwrap();
    }
    folders.read(uid()).unwrap();

    let elsewhere = parent.path().join("elsewhere");
    fs::rename(pod.join(RECORD), &elsewhere).unwrap();
    symlink(&elsewhere, pod.join(RECORD)).unwrap();
    refused();
    fs::remove_file(pod.join(RECORD)).unwrap();
    fs::create_dir(pod.join(RECORD)).unwrap();
    assert!(refused().contains("is not a file"));
    fs::rename(&pod, parent.path().join("moved")).unwrap();
    symlink(parent.path().join("moved"), &pod).unwrap();
    assert!(refused().contains("is not a folder"));
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // As in `support::root_is_here`: a run without root sets this variable.
        let known = std::env::var_os("POINTSMAN_WITHOUT_ROOT").is_some();
        assert!(known, "needs root, to make another user's folder");
        return;
    }
    let (_parent, folders) = folders();
    folders.make(uid(), &cart()).unwrap();
    for path in [folders.path().join(UID).join(RECORD), folders.path().join(mounted(uid()))] {
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let said = folders.read(uid()).unwrap_err().to_string();
        assert!(said.contains("belongs to uid 65534: it must belong to root"), "{said}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    std::os::unix::fs::chown(folders.path(), Some(65534), None).unwrap();
    assert!(matches!(folders.prepare(), Err(FolderError::Owner { uid: 65534, .. })));
}

#[test]
fn the_folder_of_the_folders_becomes_its_owners_alone() {
    let (_parent, folders) = folders();
    DirBuilder::new().mode(0o755).create(folders.path()).unwrap();
    folders.prepare().unwrap();
    assert_eq!(mode_of(folders.path()), 0o700);
    fs::remove_dir(folders.path()).unwrap();
    fs::write(folders.path(), "").unwrap();
    assert!(folders.prepare().unwrap_err().to_string().ends_with("pods is not a folder"));
}

#[test]
fn a_malformed_record_says_what_is_wrong() {
    let record = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut record = serde_json::json!({
            "version": 1, "uid": UID, "namespace": "shop", "name": "cart-7f",
            "serviceAccount": "cart", "a field to come": true,
        });
        change(&mut record);
        parse(&record.to_string(), uid())
    };
    assert_eq!(record(&|_| ()), Ok(cart()));
    let wrong = |change: &dyn Fn(&mut serde_json::Value), why: &str| {
        let said = record(change).unwrap_err();
        assert!(said.contains(why), "{said} lacks {why}");
    };
    wrong(&|it| it["version"] = 2.into(), "it is of version 2, and this agent reads version 1");
    wrong(&|it| it["uid"] = "".into(), "its uid is \"\", which is not that of the folder");
    wrong(&|it| it["namespace"] = "shop\n".into(), "its namespace \"shop\\n\" is not a valid name");
    wrong(&|it| it["name"] = "<b>".into(), "its name \"<b>\" is not a valid name");
    wrong(&|it| it["serviceAccount"] = "".into(), "its serviceAccount \"\" is not a valid name");
    wrong(&|it| it["name"] = "a".repeat(254).into(), "is not a valid name");
    wrong(&|it| drop(it.as_object_mut().unwrap().remove("name")), "missing field `name`");
    assert!(parse("", uid()).is_err());
}

#[test]
fn what_is_named_after_no_pod_is_refused_by_its_name() {
    let (_parent, folders) = folders();
    folders.prepare().unwrap();
    for name in ["shop", &UID.to_uppercase(), &UID.replace('-', "")] {
        fs::create_dir(folders.path().join(name)).unwrap();
    }
    let (pods, others) = folders.list().unwrap();
    assert_eq!((pods.len(), others.len()), (0, 3));
    assert!(others[0].to_string().contains("is not named after a pod's uid, such as"));
}
