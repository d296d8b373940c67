use std::time::Duration;

use proptest::prelude::*;

use super::{ConfigPolicies, Overridden, Resolved, resolve};
use crate::{
    catalog::{
        PreviousValue, Service, Setting,
        sample::{port, service, with_ports},
    },
    policy::{
        Mode, Policy, StrategyName, ZoneMode,
        settings::{KEYS, key, validated},
    },
};

fn setting(key: &str, value: &str, origin: &str) -> Setting {
    validated([Setting::new(key, value, origin)]).remove(0)
}

/// `cart.shop`, which has a port, with these settings, each as an annotation.
fn annotated(settings: &[(&str, &str)]) -> Service {
    let settings =
        validated(settings.iter().map(|(key, value)| {
            Setting::new(*key, *value, format!("annotation pointsman.dev/{key}"))
        }));
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

/// The mode in each place that can have it, the weakest first.
fn said(places: [Option<&str>; 8]) -> (ConfigPolicies, Service) {
    let [implied, all, namespace, name, written, over_all, over_namespace, over_name] =
        places.map(|value| value.map(|value| setting("mode", value, value)));
    let mut config = ConfigPolicies::default();
    for (layers, [all, namespace, name]) in [
        (&mut config.base, [all, namespace, name]),
        (&mut config.overriding, [over_all, over_namespace, over_name]),
    ] {
        layers.all.extend(all);
        layers.namespaces.extend(namespace.map(|setting| ("shop".into(), vec![setting])));
        layers.services.extend(name.map(|it| ("cart.shop".parse().unwrap(), vec![it])));
        let elsewhere = vec![setting("mode", "shadow", "elsewhere")];
        layers.namespaces.insert("bank".into(), elsewhere.clone());
        layers.services.insert("users.shop".parse().unwrap(), elsewhere);
    }
    let implied = implied.map(|setting| Setting { implied: true, ..setting });
    // An implied value is weak, wherever it stands.
    let settings = written.into_iter().chain(implied).collect();
    (config, Service { settings, ..service("cart.shop", []) })
}

proptest! {
    #[test]
    fn of_all_places_the_strongest_holds_and_the_others_are_told(
        there in prop::array::uniform8(any::<bool>())
    ) {
        let values = ["1%", "2%", "3%", "4%", "5%", "6%", "7%", "8%"];
        let mut places = [None; 8];
        for (place, (value, there)) in places.iter_mut().zip(values.into_iter().zip(there)) {
            *place = Some(value).filter(|_| there);
        }
        let mut said_there: Vec<&str> = places.iter().flatten().copied().collect();
        let strongest = said_there.pop();
        let (config, service) = said(places);
        let resolved = resolve(&config, &service);
        let of_mode = &resolved.origins[0];
        prop_assert_eq!(&of_mode.value, strongest.unwrap_or("on"));
        prop_assert_eq!(&of_mode.origin, strongest.unwrap_or("default"));
        let told = |value: &str| Overridden { value: value.into(), origin: value.into() };
        let told: Vec<_> = said_there.into_iter().map(told).collect();
        prop_assert_eq!(&of_mode.overridden, &told);
    }
}

#[test]
fn off_by_annotation_beats_all_but_an_override() {
    let off = |over| {
        let base = Some("on");
        let (config, service) = said([None, base, base, base, Some("off"), over, None, None]);
        resolve(&config, &service).policy.mode
    };
    assert_eq!(off(None), Mode::Off);
    assert_eq!(off(Some("10%")), Mode::Percent(10));
}

#[test]
fn off_by_default_and_on_by_annotation_is_how_teams_opt_in() {
    let mode = |written| {
        let (config, service) = said([None, Some("off"), None, None, written, None, None, None]);
        resolve(&config, &service).policy.mode
    };
    assert_eq!((mode(None), mode(Some("on"))), (Mode::Off, Mode::On));
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
        "annotation pointsman.dev/zoen: no setting \"zoen\"; did you mean \"zone\"? zone is what it \
         would be without this setting"
    );
    assert!(
        resolved.problems[1]
            .contains(r#"no setting "colour"; the settings are mode, virtual_ip, strategy"#)
    );
    assert_eq!(resolved.policy.choices, 4);
}

#[test]
fn a_value_out_of_range_names_the_range_and_leaves_the_weaker_value() {
    let mut config = ConfigPolicies::default();
    config.base.all = vec![setting("choices", "3", "configuration agent.yaml:3")];
    let resolved = resolve(&config, &annotated(&[("choices", "9")]));
    assert_eq!(resolved.policy.choices, 3);
    assert_eq!(origin(&resolved, "choices").1, "configuration agent.yaml:3");
    assert_eq!(
        resolved.problems,
        [
            "annotation pointsman.dev/choices: choices is \"9\": it must be 1 to 8; it is what it would \
          be without this setting"
        ]
    );
}

#[test]
fn a_mode_has_several_spellings_and_none_that_is_guessed() {
    for (right, mode) in [
        ("OFF", Mode::Off),
        ("Off", Mode::Off),
        ("False", Mode::Off),
        (" on ", Mode::On),
        ("TRUE", Mode::On),
        ("Shadow", Mode::Shadow),
        ("0%", Mode::Percent(0)),
        ("100%", Mode::Percent(100)),
        ("5 %", Mode::Percent(5)),
    ] {
        let resolved = resolve(&ConfigPolicies::default(), &annotated(&[("mode", right)]));
        assert_eq!((resolved.policy.mode, resolved.problems), (mode, vec![]), "{right}");
    }
    for (wrong, hint) in [
        ("5percent", ""),
        ("0.5%", "; a percentage has no fractions"),
        ("150%", ""),
        ("+5%", ""),
        ("-1%", ""),
        ("5", "; a percentage ends with %"),
        ("0.05", "; a percentage ends with %"),
        ("disabled", ""),
        ("%", ""),
        ("", ""),
    ] {
        let resolved = resolve(&ConfigPolicies::default(), &annotated(&[("mode", wrong)]));
        let right = "it must be off, shadow, a whole percentage of 0% to 100%, or on";
        let told = format!(
            "annotation pointsman.dev/mode: mode is \"{wrong}\": {right}{hint}; it is off, since \
             nothing was known before"
        );
        assert_eq!(resolved.problems, [told]);
        assert_eq!(resolved.policy.mode, Mode::Off, "{wrong}: no traffic goes somewhere new");
    }
}

#[test]
fn the_other_words_may_be_written_in_any_case() {
    let carried = annotated(&[
        ("strategy", "Random"),
        ("zone", "STRICT"),
        ("outlier", "Off"),
        ("virtual-ip", "NONE"),
    ]);
    let resolved = resolve(&ConfigPolicies::default(), &carried);
    assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
    assert_eq!(resolved.policy.strategy, StrategyName::Random);
    assert_eq!(resolved.policy.zone, ZoneMode::Strict);
    assert!(!resolved.policy.outlier.enabled);
}

#[test]
fn a_wrong_value_leaves_what_its_source_said_before() {
    let mut config = ConfigPolicies::default();
    config.base.all = vec![setting("mode", "shadow", "configuration agent.yaml:3")];
    let mode = |before| {
        let mut wrong = annotated(&[("mode", "offf")]);
        wrong.settings[0].wrong.as_mut().unwrap().before = before;
        resolve(&config, &wrong)
    };
    let resolved = mode(PreviousValue::Value("10%".into()));
    assert_eq!(resolved.policy.mode, Mode::Percent(10));
    assert!(resolved.problems[0].ends_with("; it is 10%, as before"), "{:?}", resolved.problems);
    let place = "annotation pointsman.dev/mode, in place of \"offf\"";
    assert_eq!(origin(&resolved, "mode"), ("10%".into(), place.into()));
    let resolved = mode(PreviousValue::Unset);
    assert_eq!(resolved.policy.mode, Mode::Shadow);
    assert!(
        resolved.problems[0].ends_with("; it is what it would be without this setting, as before")
    );
    assert_eq!(mode(PreviousValue::Unknown).policy.mode, Mode::Off);
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
        assert!(resolved.problems[0].ends_with("it is what it would be without this setting"));
    }
}

#[test]
fn of_ejections_that_contradict_each_other_the_stronger_layers_holds() {
    let alone = annotated(&[("outlier.base_ejection", "10m"), ("choices", "4")]);
    let resolved = resolve(&ConfigPolicies::default(), &alone);
    let outlier = &resolved.policy.outlier;
    assert_eq!((outlier.base_ejection, outlier.max_ejection), (MINUTE * 10, MINUTE * 10));
    assert!(resolved.problems.is_empty());
    assert_eq!(
        resolved.notes,
        ["outlier.max_ejection 5m (default) would be shorter than outlier.base_ejection 10m \
          (annotation pointsman.dev/outlier.base_ejection): it is 10m as well"]
    );
    let mut config = ConfigPolicies::default();
    config.overriding.all.push(setting("outlier.max_ejection", "10s", "override"));
    let both = annotated(&[("outlier.base_ejection", "1h"), ("outlier.max_ejection", "1h")]);
    let resolved = resolve(&config, &both);
    let ten = Duration::from_secs(10);
    let outlier = &resolved.policy.outlier;
    assert_eq!((outlier.base_ejection, outlier.max_ejection), (ten, ten));
    assert_eq!(
        origin(&resolved, "outlier.base_ejection"),
        ("10s".into(), "outlier.max_ejection of override".into())
    );
}

#[test]
fn ejections_of_one_source_that_contradict_each_other_leave_those_before_in_force() {
    let mut service = annotated(&[("outlier.base_ejection", "2m"), ("outlier.max_ejection", "1m")]);
    for (setting, value) in service.settings.iter_mut().zip(["10s", "1m"]) {
        setting.wrong.as_mut().unwrap().before = PreviousValue::Value(value.into());
    }
    let resolved = resolve(&ConfigPolicies::default(), &service);
    let outlier = &resolved.policy.outlier;
    assert_eq!((outlier.base_ejection, outlier.max_ejection), (Duration::from_secs(10), MINUTE));
    assert!(
        resolved.problems[0].ends_with(
            "outlier.base_ejection 2m is longer than outlier.max_ejection 1m: it must not be longer; it \
             is 10s, as before"
        ),
        "{:?}",
        resolved.problems
    );
}

const MINUTE: Duration = Duration::from_secs(60);

/// So a misspelt mode sends no traffic to a new place.
#[test]
fn a_key_that_is_none_is_taken_for_the_one_that_was_meant() {
    for key in ["mod", "Mode", "MODE", "modes", "mode.a"] {
        let mut service = annotated(&[(key, "off"), ("virtual_ip", "10.0.0.9")]);
        let resolved = resolve(&ConfigPolicies::default(), &service);
        assert_eq!(resolved.policy.mode, Mode::Off, "{key}");
        let told = &resolved.problems[0];
        assert!(told.contains(&format!("no setting \"{key}\"")), "{told}");
        assert!(told.ends_with("mode is off, since nothing was known before"), "{told}");
        service.settings[0].wrong.as_mut().unwrap().before = PreviousValue::Value("10%".into());
        assert_eq!(resolve(&ConfigPolicies::default(), &service).policy.mode, Mode::Percent(10));
    }
    // A name that is near to several settings means none of them, and not the one that it is a part of.
    let inner = annotated(&[("outlier.max_ejecton", "3m")]);
    let told = resolve(&ConfigPolicies::default(), &inner).problems.remove(0);
    assert!(told.ends_with('?'), "{told}");
    // If the right name is there as well, or if none is near, it means no setting.
    for (key, value) in [("mod", "off"), ("entirely-another", "off")] {
        for settings in [[("mode", "10%"), (key, value)], [(key, value), ("mode", "10%")]] {
            let resolved = resolve(&ConfigPolicies::default(), &annotated(&settings));
            assert_eq!(resolved.policy.mode, Mode::Percent(10), "{settings:?}");
            assert_eq!(resolved.problems.len(), 1);
        }
    }
    let resolved = resolve(&ConfigPolicies::default(), &annotated(&[("entirely-another", "off")]));
    assert_eq!(resolved.policy, Policy::default());
}

#[test]
fn a_mode_is_in_force_where_there_is_a_virtual_ip_to_send_the_others_to() {
    let of = |settings: &[(&str, &str)]| resolve(&ConfigPolicies::default(), &annotated(settings));
    let alone = of(&[("mode", "off")]);
    assert_eq!(alone.policy.mode_in_force(), Mode::On);
    assert!(alone.notes[0].starts_with("mode has no effect"));
    assert!(alone.problems.is_empty(), "it is no error");
    let with = of(&[("mode", "shadow"), ("virtual-ip", "10.96.0.7")]);
    assert_eq!(with.policy.mode_in_force(), Mode::Shadow);
    assert!(with.notes.is_empty());
    let settings = annotated(&[("mode", "off"), ("virtual-ip", "10.96.0.7")]).settings;
    let without_port = Service { settings, ..service("cart.shop", []) };
    let notes = resolve(&ConfigPolicies::default(), &without_port).notes;
    assert!(notes[0].contains("the port of the virtual IP is not known"), "{notes:?}");
}

#[test]
fn what_holds_in_place_of_a_wrong_value_is_said_once_all_layers_are_applied() {
    let mut config = ConfigPolicies::default();
    config.overriding.all = vec![setting("mode", "on", "configuration's override agent.yaml:3")];
    let resolved = resolve(&config, &annotated(&[("mode", "junk")]));
    assert_eq!(resolved.policy.mode, Mode::On);
    let told = "; it is on, as configuration's override agent.yaml:3 says";
    assert!(resolved.problems[0].ends_with(told), "{:?}", resolved.problems);

    // Of settings with the same key, the last one counts.
    let twice = annotated(&[("outlier", "sometimes"), ("outlier.enabled", "off")]);
    let mut before = twice.clone();
    before.settings[0].wrong.as_mut().unwrap().before = PreviousValue::Value("on".into());
    let resolved = resolve(&ConfigPolicies::default(), &before);
    assert!(!resolved.policy.outlier.enabled);
    let told = "; it is off, as annotation pointsman.dev/outlier.enabled says";
    assert!(resolved.problems[0].ends_with(told), "{:?}", resolved.problems);

    // The value in force before gives way to a stronger setting that it contradicts.
    let long = annotated(&[("outlier.base_ejection", "soon"), ("outlier.max_ejection", "1s")]);
    let mut before = long.clone();
    before.settings[0].wrong.as_mut().unwrap().before = PreviousValue::Value("10s".into());
    let resolved = resolve(&ConfigPolicies::default(), &before);
    assert_eq!(resolved.policy.outlier.base_ejection, Duration::from_secs(1));
    let told = "; it is 1s, as outlier.max_ejection of annotation pointsman.dev/outlier.max_ejection \
                says";
    assert!(resolved.problems[0].ends_with(told), "{:?}", resolved.problems);
}
