use std::time::Duration;

use super::{ConfigPolicies, Resolved, resolve};
use crate::{
    catalog::{
        Service, Setting,
        sample::{port, service, with_ports},
    },
    policy::{
        Mode, Policy, StrategyName, ZoneMode,
        settings::{KEYS, key},
    },
};

fn setting(key: &str, value: &str, origin: &str) -> Setting {
    Setting { key: key.into(), value: value.into(), origin: origin.into() }
}

/// `cart.shop`, which has a port, with these settings, each as an annotation.
fn annotated(settings: &[(&str, &str)]) -> Service {
    let settings = settings
        .iter()
        .map(|(key, value)| setting(key, value, &format!("annotation pointsman.dev/{key}")))
        .collect();
    Service { settings, ..with_ports("cart.shop", vec![port("http", 80, [])]) }
}

fn origin(resolved: &Resolved, name: &str) -> (String, String) {
    let known = resolved.origins.iter().find(|known| known.name == name).unwrap();
    (known.value.clone(), known.origin.clone())
}

#[test]
fn without_any_setting_all_are_defaults() {
    let resolved = resolve(&ConfigPolicies::default(), &annotated(&[]));
    assert_eq!(resolved.policy, Policy::default());
    assert_eq!(resolved.origins.len(), KEYS.len());
    assert!(resolved.origins.iter().all(|known| known.origin == "default"));
    assert_eq!(origin(&resolved, "outlier.max_ejection").0, "5m");
    assert_eq!(origin(&resolved, "outlier.max_ejected").0, "0.3333");
    assert!(resolved.problems.is_empty());
}

#[test]
fn the_first_found_wins_service_then_namespace_then_all_then_what_the_service_carries() {
    let mut config = ConfigPolicies::default();
    let carried = annotated(&[("zone", "off"), ("choices", "3")]);
    assert_eq!(resolve(&config, &carried).policy.zone, ZoneMode::Off);

    config.default = vec![setting("zone", "strict", "configuration agent.yaml:3")];
    let resolved = resolve(&config, &carried);
    assert_eq!(resolved.policy.zone, ZoneMode::Strict);
    assert_eq!(resolved.policy.choices, 3);
    assert_eq!(origin(&resolved, "zone").1, "configuration agent.yaml:3");
    assert_eq!(origin(&resolved, "choices").1, "annotation pointsman.dev/choices");

    let of_namespace = vec![setting("zone", "off", "configuration agent.yaml:6")];
    config.namespaces.insert("shop".into(), of_namespace);
    assert_eq!(origin(&resolve(&config, &carried), "zone").1, "configuration agent.yaml:6");

    let of_service = vec![setting("zone", "prefer", "configuration agent.yaml:9")];
    config.services.insert("cart.shop".parse().unwrap(), of_service);
    let resolved = resolve(&config, &carried);
    assert_eq!(origin(&resolved, "zone").1, "configuration agent.yaml:9");
    assert_eq!(resolved.policy.zone, ZoneMode::Prefer);
}

#[test]
fn every_setting_is_read_from_text_and_shown_as_text_that_reads_the_same() {
    let cases = [
        ("mode", "30%"),
        ("virtual_ip", "fd00::7"),
        ("strategy", "random"),
        ("choices", "8"),
        ("zone", "strict"),
        ("panic_below", "0.25"),
        ("outlier.enabled", "off"),
        ("outlier.min_requests", "20"),
        ("outlier.base_ejection", "1m 30s"),
        ("outlier.max_ejection", "2m"),
        ("outlier.max_ejected", "0.5"),
        ("retry.ratio", "0.1"),
        ("retry.per_second", "2.5"),
    ];
    assert_eq!(
        cases.map(|(name, _)| name).to_vec(),
        KEYS.iter().map(|k| k.name).collect::<Vec<_>>()
    );
    let mut policy = Policy::default();
    for (name, text) in cases {
        key(name).unwrap().set(&mut policy, text).unwrap();
        assert_eq!(key(name).unwrap().get(&policy), text);
    }
    assert_eq!(policy.strategy, StrategyName::Random);
    assert_eq!(policy.outlier.base_ejection, Duration::from_secs(90));
    assert!(!policy.outlier.enabled);
}

#[test]
fn an_annotation_may_join_words_by_dashes() {
    let carried = annotated(&[("panic-below", "0.1"), ("outlier.min-requests", "9")]);
    let resolved = resolve(&ConfigPolicies::default(), &carried);
    assert_eq!(resolved.policy.panic_below, 0.1);
    assert_eq!(resolved.policy.outlier.min_requests, 9);
    assert!(resolved.problems.is_empty());
}

#[test]
fn outlier_off_is_understood_as_its_switch() {
    let resolved = resolve(&ConfigPolicies::default(), &annotated(&[("outlier", "off")]));
    assert!(!resolved.policy.outlier.enabled);
}

#[test]
fn an_unknown_setting_names_what_was_probably_meant_and_costs_nothing() {
    let carried = annotated(&[("zoen", "off"), ("colour", "red"), ("choices", "4")]);
    let resolved = resolve(&ConfigPolicies::default(), &carried);
    assert_eq!(
        resolved.problems[0],
        r#"annotation pointsman.dev/zoen: no setting "zoen"; did you mean "zone"?"#
    );
    assert!(
        resolved.problems[1]
            .contains(r#"no setting "colour"; there are mode, virtual_ip, strategy"#)
    );
    assert_eq!(resolved.policy.choices, 4);
}

#[test]
fn a_value_out_of_range_names_the_range_and_leaves_the_next_sources_value() {
    let carried = annotated(&[("choices", "3")]);
    let config = ConfigPolicies {
        default: vec![setting("choices", "9", "configuration agent.yaml:3")],
        ..Default::default()
    };
    let resolved = resolve(&config, &carried);
    assert_eq!(resolved.policy.choices, 3);
    assert_eq!(origin(&resolved, "choices").1, "annotation pointsman.dev/choices");
    assert_eq!(
        resolved.problems,
        [r#"configuration agent.yaml:3: choices is "9": it must be 1 to 8"#]
    );
}

#[test]
fn values_that_are_no_numbers_words_or_durations_are_refused() {
    for (name, text) in [
        ("strategy", "round_robin"),
        ("choices", "0"),
        ("choices", "two"),
        ("zone", ""),
        ("panic_below", "1.1"),
        ("panic_below", "NaN"),
        ("retry.ratio", "-0.1"),
        ("retry.per_second", "inf"),
        ("outlier.base_ejection", "5"),
        ("outlier.base_ejection", "2h"),
        ("outlier.max_ejection", "1ms"),
    ] {
        let resolved = resolve(&ConfigPolicies::default(), &annotated(&[(name, text)]));
        assert_eq!(resolved.policy, Policy::default(), "{name}: {text}");
        assert!(resolved.problems[0].contains("it must be"), "{:?}", resolved.problems);
    }
}

#[test]
fn a_first_ejection_longer_than_the_longest_is_named_and_neither_is_taken() {
    let carried = annotated(&[("outlier.base_ejection", "10m"), ("choices", "4")]);
    let resolved = resolve(&ConfigPolicies::default(), &carried);
    assert_eq!(resolved.policy.outlier, Policy::default().outlier);
    assert_eq!(resolved.policy.choices, 4);
    assert_eq!(origin(&resolved, "outlier.base_ejection"), ("5s".into(), "default".into()));
    assert_eq!(
        resolved.problems,
        ["outlier.base_ejection 10m (annotation pointsman.dev/outlier.base_ejection) contradicts \
          outlier.max_ejection 5m (default): the first must not be longer than the second"]
    );
}

#[test]
fn a_mode_is_in_force_where_there_is_a_virtual_ip_to_send_the_others_to() {
    let of = |settings: &[(&str, &str)]| resolve(&ConfigPolicies::default(), &annotated(settings));
    let alone = of(&[("mode", "off")]);
    assert_eq!(alone.policy.mode_in_force(), Mode::On);
    assert!(alone.problems[0].starts_with("mode has no effect"));
    let with = of(&[("mode", "shadow"), ("virtual-ip", "10.96.0.7")]);
    assert_eq!(with.policy.mode_in_force(), Mode::Shadow);
    assert!(with.problems.is_empty());
    let settings = annotated(&[("mode", "off"), ("virtual-ip", "10.96.0.7")]).settings;
    let without_port = Service { settings, ..service("cart.shop", []) };
    let problems = resolve(&ConfigPolicies::default(), &without_port).problems;
    assert!(problems[0].contains("the service says no port"), "{problems:?}");
    for wrong in ["101%", "-1%", "%", "half"] {
        let resolved = of(&[("mode", wrong)]);
        assert!(resolved.problems[0].contains("a percentage such as 10%"), "{wrong}");
        assert_eq!(resolved.policy.mode, Mode::On);
    }
}
