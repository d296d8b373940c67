//! A copy of `daemonset/` may lack links or files, or have empty ones. Then nothing must be rendered: a
//! part of it could give a right without the policy that limits it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::render::{CHART, ROOT, run, templated_of};

/// All files below a folder, and links, which it does not follow.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let inside = |path: PathBuf| match !path.is_symlink() && path.is_dir() {
        true => below(&path),
        false => vec![path],
    };
    entries.flat_map(inside).collect()
}

/// A copy of `daemonset/`, to damage.
fn copy() -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let from = Path::new(ROOT).join("daemonset");
    for path in below(&from) {
        let copy = to.path().join("daemonset").join(path.strip_prefix(&from).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(&path, copy).unwrap();
    }
    to
}

#[test]
fn nothing_is_a_link() {
    let all = below(&Path::new(ROOT).join("daemonset"));
    let links: Vec<_> = all.iter().filter(|path| path.is_symlink()).collect();
    assert!(links.is_empty(), "some tools drop them: {links:?}");
    assert!(all.len() > 20, "{all:?}");
}

/// The chart's files that an optional part renders, with the value that enables it, and its component.
const FILES: [(&str, &str, &str); 3] = [
    ("files/alerts/alerts.yaml", "alerts.enabled=true", "alerts"),
    ("files/dashboard/pointsman.json", "dashboards.enabled=true", "dashboards"),
    ("files/startup-taint/policy.yaml", "startupTaint.enabled=true", "startup-taint"),
];

#[test]
fn every_file_is_one_of_those_that_are_held_here() {
    let chart = Path::new(CHART);
    let mut found: Vec<_> = below(&chart.join("files"))
        .into_iter()
        .filter(|path| !path.ends_with("kustomization.yaml"))
        .map(|path| path.strip_prefix(chart).unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, FILES.map(|(file, ..)| file));
}

/// The damage to a file: it is missing, empty, or what Git writes for a link on a system without links.
const BROKEN: [Option<&str>; 4] = [None, Some(""), Some(" \n"), Some("../../elsewhere/file.yaml")];

fn break_it(path: &Path, content: Option<&str>) {
    match content {
        None => fs::remove_file(path),
        Some(text) => fs::write(path, text),
    }
    .unwrap();
}

#[test]
fn helm_renders_no_part_whose_file_is_missing_or_empty_and_names_it() {
    for (file, value, _) in FILES {
        for content in BROKEN {
            let copy = copy();
            let chart = copy.path().join("daemonset/chart");
            let template = |arguments: &[&str]| templated_of(chart.to_str().unwrap(), arguments);
            template(&["--set", value]).unwrap();
            break_it(&chart.join(file), content);
            let said = template(&["--set", value]).expect_err(file);
            assert!(said.contains(&format!("{file} is ")), "{file} {content:?}: {said}");
            assert!(said.contains("copy the chart again"), "{file} {content:?}: {said}");
            template(&[]).unwrap_or_else(|said| panic!("not chosen, {file} is not needed: {said}"));
        }
    }
}

#[test]
fn kustomize_renders_no_part_whose_file_is_missing_or_empty() {
    // The content of a dashboard is not known here. An empty one is missing.
    for (file, _, component) in FILES.into_iter().filter(|it| it.2 != "dashboards") {
        for content in BROKEN {
            let copy = copy();
            let overlay = copy.path().join("overlay");
            fs::create_dir(&overlay).unwrap();
            let components = format!("components: [../daemonset/components/{component}]");
            let text = format!("resources: [../daemonset]\n{components}\n");
            fs::write(overlay.join("kustomization.yaml"), text).unwrap();
            let build = || run("KUBECTL", &["kustomize", overlay.to_str().unwrap()]);
            build().unwrap();
            break_it(&copy.path().join("daemonset/chart").join(file), content);
            assert!(build().is_err(), "{file} {content:?}");
        }
    }
}
