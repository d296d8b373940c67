//! The objects that kubectl and helm render from `daemonset/`.

use std::{collections::BTreeMap, env, path::Path, process::Command};

use serde_json::Value;

/// Objects by kind, namespace and name.
pub type Objects = BTreeMap<String, Value>;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/daemonset/chart");

/// Renders the kustomization with these components, and more lines of an overlay.
pub fn kustomized(components: &[&str], overlay: &str) -> Objects {
    // kustomize reads other folders by relative paths only.
    let folder = tempfile::tempdir_in(Path::new(ROOT).join("tests")).unwrap();
    let mut text = format!("resources: [../../daemonset]\n{overlay}\n");
    if !components.is_empty() {
        let paths: Vec<_> =
            components.iter().map(|name| format!("../../daemonset/components/{name}")).collect();
        text += &format!("components: [{}]\n", paths.join(", "));
    }
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    let made = run("KUBECTL", &["kustomize", folder.path().to_str().unwrap()]);
    objects(&made.unwrap_or_else(|why| panic!("{why}")))
}

/// Renders the chart as a release in the namespace `pointsman`.
pub fn templated(arguments: &[&str]) -> Result<Objects, String> {
    templated_of(CHART, arguments)
}

/// Like [`templated`], for a chart in another folder.
pub fn templated_of(chart: &str, arguments: &[&str]) -> Result<Objects, String> {
    let all = [&["template", "pointsman", chart, "--namespace", "pointsman"], arguments].concat();
    run("HELM", &all).map(|text| objects(&text))
}

/// Runs the program whose path is in this variable.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let path = env::var_os(program)
        .unwrap_or_else(|| panic!("${program} is not set: run scripts/daemonset, which sets it"));
    let ran = Command::new(path).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
}

pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|why| panic!("{why}:\n{text}"))
}

fn objects(text: &str) -> Objects {
    let mut objects = Objects::new();
    for document in format!("\n{text}").split("\n---\n").map(yaml).filter(|it| !it.is_null()) {
        let field = |pointer| document.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        let key = format!(
            "{} {} {}",
            field("/kind"),
            field("/metadata/namespace"),
            field("/metadata/name")
        );
        assert!(objects.insert(key.clone(), document).is_none(), "{key} twice");
    }
    objects
}
