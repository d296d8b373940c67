//! The schemas in `schema/`, and the examples in `examples/` and in the documentation, agree with the
//! code.

use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use pointsman::{config::Config, source};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares with a committed schema. `POINTSMAN_WRITE_SCHEMAS=1 cargo test --test schema` writes the
/// schemas.
fn committed(path: &str, current: &serde_json::Value) {
    let path = root().join(path);
    let current = format!("{current:#}\n");
    if std::env::var_os("POINTSMAN_WRITE_SCHEMAS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == current,
        "{} is not what the code says: run POINTSMAN_WRITE_SCHEMAS=1 cargo test --test schema",
        path.display()
    );
}

#[test]
fn the_committed_schemas_are_what_the_code_says() {
    committed("schema/services.schema.json", &source::file::schema());
    committed("schema/agent.schema.json", &Config::schema());
}

/// The schema of the chart's value `config`: a configuration that fits the chart's DaemonSet.
fn chart_config() -> serde_json::Value {
    let mut config = Config::schema();
    // The DaemonSet sets these on the command line, which takes precedence. tests/daemonset checks
    // this.
    for said in ["admin", "events", "node", "pods", "remove_taint"] {
        config["properties"].as_object_mut().unwrap().remove(said).unwrap();
    }
    // The DaemonSet sets this too, but earlier charts had it as a value.
    config["properties"]["state"]["const"] = "/var/lib/pointsman".into();
    // It mounts only this folder for its socket.
    config["properties"]["socket"]["pattern"] = "^(unix://)?/run/pointsman/.".into();
    // It sets no source.
    config["properties"]["sources"]["minItems"] = 1.into();
    config["required"] = ["sources"].into();
    config
}

/// So `helm install` refuses what the agent would refuse, and names the field.
#[test]
fn the_value_config_of_the_chart_is_what_the_agents_configuration_may_be() {
    let path = "daemonset/chart/values.schema.json";
    let text = fs::read_to_string(root().join(path)).unwrap();
    let mut values: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut config = chart_config();
    values["$defs"] = config["$defs"].take();
    for not_here in ["$defs", "$schema"] {
        config.as_object_mut().unwrap().remove(not_here);
    }
    values["properties"]["config"] = config;
    committed(path, &values);
}

fn valid(schema: &serde_json::Value, text: &str, what: &str) {
    let value: serde_json::Value =
        serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

fn loads_as_services(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = runtime.block_on(async {
        let catalog = Arc::new(pointsman::catalog::Catalog::new(["test"]));
        let status = source::Status::default();
        let source = pointsman::catalog::SourceId(0);
        let spec = source::Spec::File(path.to_owned());
        let here = pointsman::catalog::Locality { node: Some("node-1".into()), ..Default::default() };
        let run = source::run(
            spec,
            tokio::sync::watch::Sender::new(here),
            source,
            catalog.clone(),
            status.clone(),
            std::future::pending(),
        );
        tokio::select! {
            () = run => unreachable!(),
            read = status.first_read() => read.map(|()| (catalog.list(None).len(), status.problems())),
        }
    });
    let (services, problems) = read.unwrap_or_else(|error| panic!("{error:#?}"));
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(services > 0, "{}", path.display());
}

#[test]
fn every_example_is_read_and_follows_its_schema() {
    let mut seen = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            loads_as_services(&path);
        } else if name.starts_with("agent") {
            Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            valid(&Config::schema(), &fs::read_to_string(&path).unwrap(), &name);
        } else if name.ends_with(".yaml") {
            loads_as_services(&path);
            valid(&source::file::schema(), &fs::read_to_string(&path).unwrap(), &name);
        } else {
            continue;
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} examples");
}

/// The page's fenced YAML blocks that begin with this word.
fn blocks(page: &str, first: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.starts_with(first)).map(str::to_owned).collect()
}

#[test]
fn every_example_of_the_documentation_is_read() {
    let page = fs::read_to_string(root().join("docs/services-file.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let services = blocks(&page, "services:");
    assert!(services.len() >= 2);
    for (nth, block) in services.iter().enumerate() {
        let path = folder.path().join(format!("{nth}.yaml"));
        fs::write(&path, block).unwrap();
        loads_as_services(&path);
        valid(&source::file::schema(), block, block);
    }
    let configurations = blocks(&page, "policies:");
    assert!(!configurations.is_empty());
    for block in configurations {
        Config::parse(&"docs".into(), &block).unwrap_or_else(|error| panic!("{error}"));
        valid(&Config::schema(), &block, &block);
    }
}

#[test]
fn the_documentation_has_every_setting_with_its_default() {
    let page = fs::read_to_string(root().join("docs/services-file.md")).unwrap();
    let policy = pointsman::policy::Policy::default();
    for key in pointsman::policy::settings::KEYS {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name)));
        let row = row.unwrap_or_else(|| panic!("{} has no row", key.name));
        let default = format!("| `{}` |", key.get(&policy));
        assert!(row.contains(&default), "{row} lacks {default}");
    }
}

#[test]
fn what_the_schema_refuses_the_agent_refuses_too() {
    let schema = source::file::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for text in [
        "services: [{name: cart.shop, endpoints: [], colour: red}]",
        "services: [{name: cart.shop}]",
        "services: [{name: cart.shop, endpoints: [{address: a, weight: 4294967296}]}]",
        "services: [{name: cart.shop, ports: [{port: 0}], endpoints: []}]",
        "services: [{name: cart.shop, endpoints: [{address: a, health: fine}]}]",
        "services: [{name: cart.shop, endpoints: [], policy: {choices: 9}}]",
        "services: [{name: cart.shop, endpoints: [], policy: {zoen: off}}]",
    ] {
        let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        assert!(!validator.is_valid(&value), "{text}");
    }
}

static CONFIG: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::validator_for(&Config::schema()).unwrap());

/// Whether a configuration is valid, by the schema and by the agent.
fn judged(text: &str) -> (bool, bool) {
    let value: serde_json::Value =
        serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
            .unwrap_or_else(|error| panic!("{text}: {error}"));
    (CONFIG.is_valid(&value), Config::parse(&"agent.yaml".into(), text).is_ok())
}

/// Tests wrong values of one setting, and leaves the others out.
const WRONG_SETTINGS: [&str; 34] = [
    "mode: 5percent",
    "mode: 0.5%",
    "mode: 150%",
    "mode: -1%",
    "mode: 5",
    "mode: disabled",
    "mode: ''",
    "mode: '%'",
    "virtual_ip: cart.shop",
    "virtual_ip: 10.96.0",
    "strategy: round_robin",
    "strategy: leastrequest",
    "strategy: ''",
    "choices: 0",
    "choices: 9",
    "choices:",
    "zone: own",
    "zone: true",
    "zone: 'true'",
    "zone: preferred",
    "panic_below: 1.5",
    "outlier: sometimes",
    "outlier: {enabled: maybe}",
    "outlier: ''",
    "outlier:",
    "outlier: {enabled: }",
    "outlier: {enabled: 1}",
    "outlier: {min_requests: 0}",
    "outlier: {base_ejection: soon}",
    "outlier: {max_ejection: 5}",
    "outlier: {max_ejected: 2}",
    "retry:",
    "retry: {ratio: -1}",
    "retry: {per_second: 10001}",
];

#[test]
fn a_wrong_configuration_is_refused_by_the_schema_and_by_the_agent() {
    let settings = WRONG_SETTINGS.map(|wrong| format!("policies: {{default: {{{wrong}}}}}"));
    let others = [
        "policies: {services: {cart: {}}}",
        "policies: {services: {cart.shop.eu: {}}}",
        "policies: {services: {'cart.shop:80': {}}}",
        "policies: {services: {Cart.shop: {}}}",
        "policies: {services: {cart.shop: {choices: 9}}}",
        "policies: {namespaces: {cart.shop: {}}}",
        "policies: {namespaces: {Shop: {}}}",
        "policies: {defaults: {}}",
        "sources: [/etc/services.yaml]",
        "sources: ['file:']",
        "sources: [kubernets]",
        "sources: [file:/a, file:/a]",
        "socket: agent.sock",
        "socket_mode: '0999'",
        "socket_mode: '1777'",
        "admin: localhost",
        "admin: '127.0.0.1'",
        "remove_taint: mine.dev/one:NoSchedule",
        "access: [{uids: me}]",
        "access: [{uids: '1000-'}]",
        "access: [{uids: -1}]",
        "access: [{uids: 4294967296}]",
        "access: [{namespaces: [shop]}]",
        "access: [{uids: 0, pods: {}}]",
        "access: [{uids: 0, own_namespace: true}]",
        "access: [{pods: {}, namespaces: [Shop]}]",
        "access: [{pods: {namespaces: [shop.svc]}}]",
    ];
    for text in settings.iter().map(String::as_str).chain(others) {
        assert_eq!(judged(text), (false, false), "{text}: right by the schema, by the agent");
    }
}

#[test]
fn a_right_configuration_is_right_by_the_schema_and_by_the_agent() {
    let settings = [
        "mode: on",
        "mode: shadow",
        "mode: 0%",
        "mode: 10 %",
        "mode: 100%",
        "mode: true",
        "virtual_ip: none",
        "virtual_ip: 10.96.0.10",
        "virtual_ip: 'fd00::ffff:10.96.0.10'",
        "mode: 'FALSE'",
        "strategy: random",
        "strategy: Random",
        "strategy: least-request",
        "strategy: ' LEAST_REQUEST '",
        "zone: off",
        "zone: false",
        "zone: Strict",
        "zone: PREFER",
        "zone: 'false'",
        "outlier: on",
        "outlier: false",
        "outlier: 'Off'",
        "outlier: 'TRUE'",
        "outlier: Disabled",
        "outlier: {enabled: enabled}",
        "outlier: {enabled: off, base_ejection: 100ms, max_ejection: 1h}",
        "outlier: {enabled: true, base_ejection: 1m 30s, max_ejection: 2 minutes 5sec}",
        "retry: {ratio: 0, per_second: 0.5}",
    ]
    .map(|right| format!("policies: {{default: {{{right}}}}}"));
    let others = [
        "{}",
        "policies: {services: {cart.shop: {}, 'cart.shop@east': {}, c.s.svc.cluster.local.: {}}}",
        "policies: {namespaces: {shop: {}, kube-system: {}, '0': {}}}",
        "sources: [kubernetes, 'kubernetes:everything,context=a', file:/a]",
        "sources: ['kubernetes:']",
        "{socket: 'unix:///run/a.sock', socket_mode: '0660', state: /a}",
        "socket_mode: '0o7'",
        "admin: '[::1]:9901'",
        "admin: 0.0.0.0:80",
        "remove_taint: pointsman.dev/agent-not-ready",
        "access: [{uids: 1000}, {uids: 1000-1999, namespaces: [shop]}, {uids: any}]",
        "access: [{pods: {}}, {pods: {namespaces: [shop]}, own_namespace: true}]",
    ];
    for text in settings.iter().map(String::as_str).chain(others) {
        assert_eq!(judged(text), (true, true), "{text}: right by the schema, by the agent");
    }
}

proptest::proptest! {
    #[test]
    fn a_name_is_right_by_the_schema_where_it_is_for_the_agent(
        name in r"[a-zA-Z0-9-]{0,3}(\.[a-z-]{0,3}){0,2}(\.svc(\.cluster\.local)?)?\.?(@[a-z.]{0,2})?|[a-z]{62,64}(\.[a-z]{62,64}){1,4}"
    ) {
        for key in ["services", "namespaces"] {
            let text = format!("policies: {{{key}: {{'{name}': {{}}}}}}");
            let (schema, agent) = judged(&text);
            // A pattern of names cannot check the total length.
            let long = name.len() > pointsman::catalog::name::MAX_NAME;
            proptest::prop_assert_eq!(schema && !long, agent, "{}", text);
        }
    }
}

/// Impossible names are refused wherever policies stand by name.
#[test]
fn every_block_of_policies_by_name_checks_its_names() {
    let schema = Config::schema();
    let mut found = Vec::new();
    for (block, shape) in schema["$defs"].as_object().unwrap() {
        let fields = shape["properties"].as_object().into_iter().flatten();
        let by_name = |it: &serde_json::Value| {
            !it["additionalProperties"].is_null() && it["properties"].is_null()
        };
        for (field, shape) in fields.filter(|(_, it)| by_name(it)) {
            assert!(shape["patternProperties"].is_object(), "{block}.{field} takes any name");
            assert_eq!(shape["additionalProperties"], false, "{block}.{field}");
            found.push(field.as_str());
        }
    }
    assert!(found.contains(&"services") && found.contains(&"namespaces"), "{found:?}");
}
