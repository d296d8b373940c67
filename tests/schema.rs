//! The schemas in `schema/`, the examples in `examples/` and in the documentation agree with the
//! code.

use std::{fs, path::Path, sync::Arc};

use pointsman::{config::Config, source};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A committed schema; `POINTSMAN_WRITE_SCHEMAS=1 cargo test --test schema` writes them anew.
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

/// So `helm install` refuses what the agent would refuse, by the name of the field.
#[test]
fn the_value_config_of_the_chart_is_what_the_agents_configuration_may_be() {
    let path = "daemonset/chart/values.schema.json";
    let text = fs::read_to_string(root().join(path)).unwrap();
    let mut values: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut config = Config::schema();
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
        let here = pointsman::plan::Here { node: Some("node-1".into()), ..Default::default() };
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

/// The fenced YAML of the page, by its first word.
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
