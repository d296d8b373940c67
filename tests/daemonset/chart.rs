//! The chart renders the same objects as the kustomization, except for the differences below.

use std::{collections::BTreeMap, fs};

use pointsman::{
    catalog::Service,
    config::Config,
    policy::{Policy, resolve},
};
use serde_json::{Value, json};

use crate::render::{CHART, Objects, ROOT, kustomized, run, templated, templated_of, yaml};

/// The allowed differences. All else is equal.
fn without_what_may_differ(mut objects: Objects) -> Objects {
    // Helm keeps its records in the namespace, so the namespace exists before the chart.
    objects.remove("Namespace - pointsman");
    let mut same = Objects::new();
    for (key, mut object) in objects {
        // Helm's own labels, by which it finds the objects of a chart.
        for label in ["app.kubernetes.io/managed-by", "helm.sh/chart"] {
            remove(&mut object, "/metadata/labels", label);
        }
        // A changed configuration has a new name, with a hash that kustomize and Helm compute
        // differently.
        let named = object.pointer_mut("/spec/template/spec/volumes/0/configMap/name");
        named.into_iter().for_each(strip_hash);
        let mut key = key;
        if key.starts_with("ConfigMap pointsman pointsman-agent") {
            strip_hash(&mut object["metadata"]["name"]);
            key = "ConfigMap pointsman pointsman-agent".to_owned();
            // The configuration is the same, whatever the order of its keys.
            let text = object["data"]["agent.yaml"].as_str().unwrap();
            object["data"]["agent.yaml"] = yaml(text);
        }
        same.insert(key, object);
    }
    same
}

fn remove(object: &mut Value, at: &str, key: &str) {
    let Some(Value::Object(all)) = object.pointer_mut(at) else { return };
    all.remove(key);
    if all.is_empty() {
        let (parent, name) = at.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    }
}

/// `pointsman-agent-8h2t5m9k6f` is `pointsman-agent`.
fn strip_hash(name: &mut Value) {
    let text = name.as_str().unwrap();
    if let Some((stem, hash)) = text.rsplit_once('-')
        && hash.len() == 10
        && stem == "pointsman-agent"
    {
        *name = json!(stem);
    }
}

fn assert_same(kustomized: Objects, templated: Objects) {
    let (kustomized, templated) =
        (without_what_may_differ(kustomized), without_what_may_differ(templated));
    let keys = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&kustomized), keys(&templated), "objects by kustomize, and by helm");
    for (key, object) in kustomized {
        assert_eq!(object, templated[&key], "{key}, by kustomize and by helm");
    }
}

#[test]
fn the_chart_is_what_the_kustomization_is() {
    assert_same(kustomized(&[], ""), templated(&[]).unwrap());
}

/// Components, and the chart's values for the same.
const PARTS: [(&str, &str); 6] = [
    ("alerts", "alerts.enabled=true"),
    ("dashboards", "dashboards.enabled=true"),
    ("pod-monitor", "podMonitor.enabled=true"),
    ("startup-taint", "startupTaint.enabled=true"),
    ("events", "events.enabled=true"),
    ("without-csi", "csi.enabled=false"),
];

#[test]
fn every_part_by_choice_is_a_component_and_a_value() {
    let all = fs::read_dir(format!("{ROOT}/daemonset/components")).unwrap().count();
    assert_eq!(all, PARTS.len(), "a component without a value");
    let plain = kustomized(&[], "");
    for (component, value) in PARTS {
        let chosen = kustomized(&[component], "");
        assert_ne!(chosen, plain, "{component} changes something");
        assert_same(chosen, templated(&["--set", value]).unwrap());
    }
    let (components, values): (Vec<_>, Vec<_>) = PARTS.into_iter().unzip();
    assert_same(kustomized(&components, ""), templated(&["--set", &values.join(",")]).unwrap());
}

#[test]
fn a_packaged_chart_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    run("HELM", &["package", CHART, "--destination", to]).unwrap();
    let package = format!("{to}/pointsman-{}.tgz", env!("CARGO_PKG_VERSION"));
    let all = PARTS.map(|(_, value)| ["--set", value]).concat();
    assert_eq!(templated_of(&package, &all).unwrap(), templated(&all).unwrap());
}

#[test]
fn an_image_of_ones_own_is_that_of_both() {
    let overlay = "images: [{name: pointsman, newName: registry.test/mine, newTag: '7'}]";
    let values = ["--set", "image.repository=registry.test/mine", "--set-string", "image.tag=7"];
    assert_same(kustomized(&[], overlay), templated(&values).unwrap());
}

#[test]
fn values_are_where_they_belong() {
    let values = r#"
        image: {pullPolicy: Always}
        imagePullSecrets: [{name: mine}]
        nodeSelector: {pool: apps}
        tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}]
        priorityClassName: mine
        resources: {limits: {memory: 1Gi}}
        csi: {resources: {limits: {memory: 2Gi}}}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("values.yaml");
    fs::write(&path, values).unwrap();
    let objects = templated(&["--values", path.to_str().unwrap()]).unwrap();
    for (name, memory) in [("pointsman-agent", "1Gi"), ("pointsman-csi", "2Gi")] {
        let pod = &objects[&format!("DaemonSet pointsman {name}")]["spec"]["template"]["spec"];
        assert_eq!(pod["imagePullSecrets"], json!([{ "name": "mine" }]));
        assert_eq!(pod["nodeSelector"]["pool"], "apps");
        assert_eq!(pod["tolerations"][0]["key"], "gpu");
        assert_eq!(pod["priorityClassName"], "mine");
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["containers"][0]["resources"]["limits"]["memory"], memory);
    }
}

/// The agent's pod templates in the DaemonSets.
fn agents(objects: &Objects) -> &Value {
    &objects["DaemonSet pointsman pointsman-agent"]["spec"]["template"]
}

#[test]
fn a_changed_configuration_rolls_the_agents_and_nothing_else_does() {
    let changed = "sources: [\"kubernetes:\"]\nlog: debug\n";
    let literal = json!(format!("agent.yaml={changed}"));
    let overlay = format!(
        "configMapGenerator: [{{name: pointsman-agent, namespace: pointsman, behavior: replace, \
         options: {{immutable: true}}, literals: [{literal}]}}]"
    );
    let (kustomize, helm) =
        (kustomized(&[], &overlay), templated(&["--set", "config.log=debug"]).unwrap());
    assert_ne!(agents(&kustomize), agents(&kustomized(&[], "")));
    assert_ne!(agents(&helm), agents(&templated(&[]).unwrap()));
    assert_eq!(agents(&helm), agents(&templated(&["--set", "config.log=debug"]).unwrap()));
    assert_same(kustomize, helm);
}

/// The ConfigMaps with the agents' configuration, by name.
fn configurations(objects: &Objects) -> Vec<&str> {
    let of_agents =
        objects.iter().filter(|(key, _)| key.starts_with("ConfigMap pointsman pointsman-agent"));
    of_agents.map(|(_, object)| object["metadata"]["name"].as_str().unwrap()).collect()
}

/// A running agent keeps the configuration that it started with, and a new one gets the new one.
#[test]
fn a_configuration_has_its_name_by_what_is_in_it_and_never_changes() {
    let overlay = "configMapGenerator: [{name: pointsman-agent, namespace: pointsman, \
                   behavior: merge, \
                   options: {immutable: true}, literals: ['more=']}]";
    let ways = [
        [kustomized(&[], ""), kustomized(&["alerts"], ""), kustomized(&[], overlay)],
        [
            templated(&[]).unwrap(),
            templated(&["--set", "image.repository=mine,priorityClassName=mine"]).unwrap(),
            templated(&["--set", "config.policies.default.choices=3"]).unwrap(),
        ],
    ];
    for [plain, other, changed] in &ways {
        for objects in [plain, other, changed] {
            let [name] = configurations(objects)[..] else { panic!("one configuration") };
            let mounted = &agents(objects)["spec"]["volumes"][0];
            assert_eq!(*mounted, json!({ "name": "config", "configMap": { "name": name } }));
            assert_eq!(objects[&format!("ConfigMap pointsman {name}")]["immutable"], true);
        }
        assert_eq!(configurations(plain), configurations(other));
        assert_ne!(configurations(plain), configurations(changed));
    }
}

#[test]
fn a_wrong_value_is_refused_by_its_name() {
    for (value, at, why) in [
        ("imag.tag=1", "at ''", "'imag' not allowed"),
        ("csi.enabled=maybe", "at '/csi/enabled'", "want boolean"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy'", "must be one of"),
        ("tolerations[0].efect=NoSchedule", "at '/tolerations/0'", "'efect' not allowed"),
        ("config.sorces=a", "at '/config'", "'sorces' not allowed"),
        ("config=null", "at ''", "missing property 'config'"),
        ("config.sources=null", "at '/config'", "missing property 'sources'"),
        ("config.state=/data", "at '/config/state'", "must be '/var/lib/pointsman'"),
        ("config.socket=/tmp/agent.sock", "at '/config/socket'", "does not match pattern"),
        (
            "config.policies.default.zoen=strict",
            "at '/config/policies/default",
            "'zoen' not allowed",
        ),
        (
            "config.policies.services.cart.mode=off",
            "at '/config/policies/services'",
            "'cart' not allowed",
        ),
        (
            r"config.policies.services.cart\.shop.mode=5percent",
            "at '/config/policies/services/cart.shop/mode'",
            "'5percent' does not match pattern",
        ),
        (
            r"config.policies.services.cart\.shop.choices=9",
            "at '/config/policies/services/cart.shop/choices'",
            "maximum: got 9, want 8",
        ),
    ] {
        let said = templated(&["--set", value]).expect_err(value);
        assert!(said.contains(at) && said.contains(why), "{value}: {said}");
    }
}

/// Otherwise an agent with a wrong configuration would not find the last good one.
#[test]
fn an_agent_knows_where_its_state_is_without_its_configuration() {
    for objects in [kustomized(&[], ""), templated(&[]).unwrap()] {
        let agent = &agents(&objects)["spec"]["containers"][0];
        assert!(agent["args"].as_array().unwrap().contains(&json!("--state=/var/lib/pointsman")));
        let mounted = json!({ "name": "state", "mountPath": "/var/lib/pointsman" });
        assert!(agent["volumeMounts"].as_array().unwrap().contains(&mounted));
    }
    templated(&["--set", "config.state=/var/lib/pointsman"]).unwrap();
}

/// The DaemonSet's command line takes precedence, so such a value would have no effect.
#[test]
fn what_the_chart_says_to_the_agent_itself_is_no_value() {
    let all = templated(&["--set", "startupTaint.enabled=true,events.enabled=true"]).unwrap();
    let arguments = agents(&all)["spec"]["containers"][0]["args"].as_array().unwrap().iter();
    let options = arguments.filter_map(|it| it.as_str()?.strip_prefix("--")?.split('=').next());
    let said: Vec<_> = options.map(|name| name.replace('-', "_")).collect();
    assert!(
        ["admin", "remove_taint", "events"].iter().all(|name| said.contains(&name.to_string()))
    );
    for name in said.into_iter().filter(|name| name != "state") {
        let refused = templated(&["--set", &format!("config.{name}=a")]).unwrap_err();
        assert!(refused.contains(&format!("'{name}' not allowed")), "{name}: {refused}");
    }
}

/// A configuration with settings of some services.
fn policies(text: &str) -> [Policy; 3] {
    let config = Config::parse(&"agent.yaml".into(), text).unwrap();
    ["cart.shop", "users.shop", "job.batch"].map(|name| {
        let service = Service::new(name.parse().unwrap(), "test", Vec::new());
        resolve(&config.policies, &service).policy
    })
}

/// Helm reads a file of values as YAML 1.1, where off is false.
#[test]
fn an_example_of_the_documentation_is_a_value_too() {
    let page = fs::read_to_string(format!("{ROOT}/docs/services-file.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut examples = 0;
    for block in blocks.filter(|block| block.starts_with("policies:")) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.yaml");
        fs::write(&path, format!("config:\n  {}\n", block.replace('\n', "\n  "))).unwrap();
        let objects = templated(&["--values", path.to_str().unwrap()]);
        let objects = objects.unwrap_or_else(|said| panic!("{block}\n{said}"));
        let [name] = configurations(&objects)[..] else { panic!("one configuration") };
        let text = objects[&format!("ConfigMap pointsman {name}")]["data"]["agent.yaml"].as_str();
        assert_eq!(policies(text.unwrap()), policies(block), "{block}");
        examples += 1;
    }
    assert!(examples > 0);
}

#[test]
fn a_cluster_that_is_too_old_for_a_part_is_told_so() {
    let old = ["--kube-version", "1.29.3", "--set"];
    let said = templated(&[&old[..], &["startupTaint.enabled=true"]].concat()).unwrap_err();
    assert!(said.contains("startupTaint.enabled: Kubernetes v1.29.3 has no"), "{said}");
    templated(&[&old[..], &["startupTaint.enabled=false"]].concat()).unwrap();
}

#[test]
fn helm_finds_nothing_wrong() {
    let said = run("HELM", &["lint", "--strict", CHART]);
    assert!(said.is_ok(), "{said:?}");
}

#[test]
fn the_chart_is_of_the_version_that_the_program_is() {
    let chart = yaml(&fs::read_to_string(format!("{CHART}/Chart.yaml")).unwrap());
    let versions: BTreeMap<_, _> =
        ["version", "appVersion"].map(|key| (key, chart[key].clone())).into();
    assert!(versions.values().all(|it| it == env!("CARGO_PKG_VERSION")), "{versions:?}");
}
