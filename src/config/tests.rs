use std::{path::PathBuf, sync::Arc};

use super::{AccessEntry, Callers, Config};
use crate::{
    catalog::{Setting, sample::service},
    policy::{Mode, Resolved, ZoneMode, resolve},
};

fn config(text: &str) -> Config {
    Config::parse(&"agent.yaml".into(), text).unwrap()
}

fn error(text: &str) -> String {
    Config::parse(&"agent.yaml".into(), text).unwrap_err().to_string()
}

#[test]
fn every_key_is_read() {
    let config = config(
        "sources: ['file:/etc/pointsman/services.yaml', 'file:/etc/pointsman/services.d']\n\
         socket: unix:///run/pointsman/agent.sock\nsocket_mode: 0660\nsocket_group: apps\n\
         admin: 127.0.0.1:9901\nzone: a\nregion: r\nnode: n\nstate: /var/lib/pointsman\n\
         log: info,pointsman::source=debug\n\
         policies:\n  default: {zone: strict}\n",
    );
    assert_eq!(config.sources[1].to_string(), "file:/etc/pointsman/services.d");
    assert_eq!(config.socket, Some(PathBuf::from("/run/pointsman/agent.sock")));
    assert_eq!(config.socket_mode, Some(0o660));
    assert_eq!(config.socket_group.as_deref(), Some("apps"));
    assert_eq!(config.admin, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!(config.zone.as_deref(), Some("a"));
    assert_eq!(config.region.as_deref(), Some("r"));
    assert_eq!(config.node.as_deref(), Some("n"));
    assert_eq!(config.state, Some(PathBuf::from("/var/lib/pointsman")));
    assert_eq!(config.log.as_deref(), Some("info,pointsman::source=debug"));
    assert_eq!(config.policies.base.all[0].origin, "configuration agent.yaml:12");
}

#[test]
fn a_configuration_that_says_nothing_is_valid() {
    for text in ["{}", "# all defaults\n", "---\n{}\n"] {
        assert_eq!(config(text), Config::default(), "{text:?}");
    }
}

#[test]
fn policies_reach_the_services_they_name() {
    let config = config(
        "policies:\n  default: {choices: 3}\n  namespaces:\n    shop: {zone: off}\n  services:\n    \
         cart.shop: {zone: strict, outlier: off}\n",
    );
    let zone = |name| resolve(&config.policies, &service(name, [])).policy.zone;
    assert_eq!(zone("cart.shop"), ZoneMode::Strict);
    assert_eq!(zone("users.shop"), ZoneMode::Off);
    assert_eq!(zone("users.bank"), ZoneMode::Prefer);
    let resolved = resolve(&config.policies, &service("cart.shop", []));
    assert_eq!(resolved.policy.choices, 3);
    assert!(!resolved.policy.outlier.enabled);
}

#[test]
fn an_override_says_what_it_is() {
    let config = config(
        "policies:\n  default: {mode: off}\n  override:\n    all: {mode: shadow}\n    namespaces:\n      \
         shop: {choices: 3}\n    services:\n      cart.shop: {zone: strict}\n",
    );
    let mut cart = service("cart.shop", []);
    cart.settings = vec![Setting::new("mode", "on", "annotation pointsman.dev/mode")];
    let Resolved { policy, origins, .. } = resolve(&config.policies, &cart);
    assert_eq!((policy.mode, policy.choices, policy.zone), (Mode::Shadow, 3, ZoneMode::Strict));
    assert_eq!(origins[0].origin, "configuration's override agent.yaml:4");
    let overridden: Vec<_> = origins[0].overridden.iter().map(|it| &*it.origin).collect();
    assert_eq!(overridden, ["configuration agent.yaml:2", "annotation pointsman.dev/mode"]);
    assert_eq!(
        error("policies:\n  override:\n    services:\n      cart.shop: {mode: offf}\n"),
        "agent.yaml:4:25: policies.override.services.cart.shop.mode: mode is \"offf\": it must be off, \
         shadow, a whole percentage of 0% to 100%, or on"
    );
    assert!(error("policies: {override: {default: {mode: off}}}\n").contains("unknown field"));
}

#[test]
fn an_unknown_key_names_what_was_probably_meant() {
    assert_eq!(
        error("soket: /run/agent.sock\n"),
        "agent.yaml:1:1: unknown field \"soket\"; did you mean \"socket\"?"
    );
    assert_eq!(
        error("policies:\n  defaults: {}\n"),
        "agent.yaml:2:3: policies: unknown field \"defaults\"; did you mean \"default\"?"
    );
    assert_eq!(
        error("policies:\n  default: {zoen: off}\n"),
        "agent.yaml:2:19: policies.default.zoen: no setting \"zoen\"; did you mean \"zone\"?"
    );
}

#[test]
fn a_value_out_of_range_names_the_range() {
    assert_eq!(
        error("policies:\n  services:\n    cart.shop:\n      choices: 9\n"),
        "agent.yaml:4:16: policies.services.cart.shop.choices: choices is \"9\": it must be 1 to 8"
    );
    assert_eq!(
        error("socket_mode: 0999\n"),
        "agent.yaml:1:14: socket_mode: \"0999\" is not a file mode: write it in octal, 0000 to 0777"
    );
    assert!(error("socket_mode: 1777\n").contains("0000 to 0777"));
}

#[test]
fn a_contradiction_is_named() {
    assert_eq!(
        error(
            "policies:\n  namespaces:\n    shop:\n      outlier: {base_ejection: 10m, max_ejection: \
             5m}\n"
        ),
        "agent.yaml:4:32: policies.namespaces.shop.outlier.base_ejection: outlier.base_ejection 10m \
         is longer than outlier.max_ejection 5m: it must not be longer"
    );
    assert_eq!(
        error("sources:\n  - file:/a\n  - file:/a\n"),
        "agent.yaml:3:5: sources[1]: \"file:/a\" is already a source: keep one of them"
    );
}

#[test]
fn malformed_values_say_what_would_be_right() {
    assert!(
        error("sources: [/etc/services.yaml]\n")
            .contains("sources[0]: \"/etc/services.yaml\" is not a source: write file:PATH")
    );
    assert!(error("sources: ['fiel:/etc/services.yaml']\n").contains("did you mean \"file\"?"));
    assert!(
        error("socket: agent.sock\n")
            .contains("is not an absolute path: write /run/pointsman/agent.sock")
    );
    assert!(
        error("admin: localhost\n")
            .contains("is not an IP address with a port: write 127.0.0.1:9901")
    );
    assert!(error("log: '[['\n").contains("is not a log filter"));
    assert!(
        error("policies: {services: {cart: {zone: off}}}\n").contains("names are name.namespace")
    );
    assert!(error("policies: {default: 3}\n").contains("policies.default: "));
}

#[test]
fn access_is_of_uids_or_of_pods() {
    let config = config(
        "access:\n  - {uids: 1000-1999, namespaces: [shop]}\n  \
         - pods: {namespaces: [shop], service_accounts: [cart, pay]}\n    namespaces: [bank]\n    \
         own_namespace: true\n  - {pods: {}, own_namespace: true}\n  - {pods: {}}\n",
    );
    let set = |names: &[&str]| Some(names.iter().map(|name| Arc::from(*name)).collect());
    let anyone = Callers::Pods { namespaces: None, service_accounts: None };
    let entry =
        |callers, namespaces, own_namespace| AccessEntry { callers, namespaces, own_namespace };
    let cart =
        Callers::Pods { namespaces: set(&["shop"]), service_accounts: set(&["cart", "pay"]) };
    assert_eq!(
        config.access,
        [
            entry(Callers::Uids(1000..=1999), set(&["shop"]), false),
            entry(cart, set(&["bank"]), true),
            entry(anyone.clone(), set(&[]), true),
            entry(anyone, None, false),
        ]
    );
}

#[test]
fn an_entry_of_access_that_says_nobody_or_both_is_named() {
    assert_eq!(
        error("access:\n  - {namespaces: [shop]}\n"),
        "agent.yaml:2:5: access[0]: the entry does not name any callers: write uids: any, or pods: \
         {}"
    );
    assert!(error("access: [{uids: 0, pods: {}}]\n").contains("write two entries"));
    assert!(
        error("access: [{uids: 0, own_namespace: true}]\n").contains("own_namespace is for pods")
    );
    assert!(
        error("access: [{pods: {namespace: [shop]}}]\n").contains("did you mean \"namespaces\"?")
    );
    assert!(error("access: [{uids: me}]\n").contains("\"me\" is not a user id"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = PathBuf::from("/nowhere/agent.yaml");
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/agent.yaml: "), "{error}");
}

#[test]
fn a_bad_configuration_costs_nothing_before_the_first_wrong_line_is_named() {
    let file: Arc<str> = "agent.yaml".into();
    let problem = Config::parse(&file, "zone: a\nregion: [b]\n").unwrap_err();
    assert_eq!((problem.place.line, problem.field.as_str()), (Some(2), "region"));
}

#[test]
fn an_empty_configuration_is_refused_as_it_may_be_half_written() {
    for text in ["", "\n", "\u{feff}\n"] {
        assert!(error(text).contains("the file is empty"), "{text:?}");
    }
}

/// One block alone contradicts nothing. Settings of another layer give way.
#[test]
fn ejections_of_several_blocks_are_no_contradiction() {
    let text = "policies: {default: {outlier: {base_ejection: 10m, max_ejection: 20m}}, services: \
                {cart.shop: {outlier: {base_ejection: 6m}}}, override: {all: {outlier: \
                {max_ejection: 1s}}}}";
    Config::parse(&"agent.yaml".into(), text).unwrap();
}

/// Reading a pipe might never end, and block the agent.
#[test]
fn a_pipe_is_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("this is not a regular file"), "{error}");
}
