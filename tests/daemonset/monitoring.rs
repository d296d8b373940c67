//! Alerts and dashboards use existing metrics, fire when they should, and link to their entry in the
//! runbook.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::render::{ROOT, run, yaml};

fn read(path: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

fn rules() -> Value {
    yaml(&read("daemonset/chart/files/alerts/alerts.yaml"))["spec"].take()
}

fn alerts() -> Vec<Value> {
    let groups = rules()["groups"].take();
    let groups = groups.as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("daemonset/chart/files/dashboard/pointsman.json")).unwrap()
}

/// The queries of all panels and variables.
fn queries() -> Vec<String> {
    let board = dashboard();
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| text(target, "expr").to_owned()).collect()
}

/// The metrics in `docs/metrics.md`. Another test compares them with those of an agent.
fn documented() -> BTreeSet<String> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    rows.map(str::to_owned).collect()
}

fn metrics(query: &str) -> impl Iterator<Item = &str> {
    let word = |it: char| !(it.is_ascii_alphanumeric() || it == '_');
    query.split(word).filter(|word| word.starts_with("pointsman_"))
}

/// Writes these files, and runs promtool in their folder.
fn promtool(files: &[(&str, &Value)], arguments: &[&str]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, value) in files {
        fs::write(path(name), value.to_string()).unwrap();
    }
    let last = path(files.last().unwrap().0);
    run("PROMTOOL", &[arguments, &[&last]].concat())
}

#[test]
fn every_metric_of_an_alert_or_a_panel_is_documented() {
    let documented = documented();
    let alerts = alerts();
    let mut queries = queries();
    queries.extend(alerts.iter().map(|alert| text(alert, "expr").to_owned()));
    let variables = dashboard()["templating"].to_string();
    queries.push(variables);
    let named: BTreeSet<&str> = queries.iter().flat_map(|query| metrics(query)).collect();
    let unknown: Vec<_> = named.iter().filter(|name| !documented.contains(**name)).collect();
    assert!(unknown.is_empty(), "no agent says {unknown:?}");
    assert!(named.len() > 20, "{named:?}");
}

#[test]
fn prometheus_understands_every_alert_and_every_panel() {
    let said = promtool(&[("rules.yaml", &rules())], &["check", "rules", "--lint-fatal"]);
    assert!(said.is_ok(), "{said:?}");
    // One rule per query, because promtool checks rules.
    let panels: Vec<Value> = queries()
        .iter()
        .enumerate()
        .map(|(n, query)| {
            let query = query.replace("$__rate_interval", "5m");
            json!({ "record": format!("panel_{n}"), "expr": query })
        })
        .collect();
    assert!(panels.len() > 20, "{}", panels.len());
    let panels = json!({ "groups": [{ "name": "panels", "rules": panels }] });
    let said = promtool(&[("panels.yaml", &panels)], &["check", "rules", "--lint-fatal"]);
    assert!(said.is_ok(), "{said:?}");
}

#[test]
fn every_alert_fires_alone_when_it_should_and_none_on_a_quiet_day() {
    let said = yaml(include_str!("alerts.yaml"));
    let day = |otherwise: &Value| {
        let mut series = said["quiet"].as_object().unwrap().clone();
        for (name, values) in otherwise.as_object().unwrap() {
            assert!(
                series.insert(name.clone(), values.clone()).is_some(),
                "{name} is not of a day"
            );
        }
        let words = |(name, values): (&String, &Value)| {
            // A text that YAML would read as a number, such as 0x60, is not a series.
            let values = values.as_str().unwrap_or_else(|| panic!("{name}: quote it"));
            json!({ "series": name, "values": values })
        };
        series.iter().map(words).collect::<Vec<_>>()
    };
    let firing = r#"count by (alertname) (ALERTS{alertstate="firing"})"#;
    let test = |name: &str, otherwise: &Value, samples: Value| {
        json!({
            "name": name, "interval": "1m", "input_series": day(otherwise),
            "promql_expr_test": [{ "expr": firing, "eval_time": "59m", "exp_samples": samples }]
        })
    };
    let mut tests = vec![test("a quiet day", &json!({}), json!([]))];
    for alert in alerts() {
        let name = text(&alert, "alert");
        let sample = format!("{{alertname=\"{name}\"}}");
        let otherwise = &said["fires"][name];
        assert!(otherwise.is_object(), "alerts.yaml does not say when {name} fires");
        tests.push(test(name, otherwise, json!([{ "labels": sample, "value": 1 }])));
    }
    let tests = json!({
        "rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests
    });
    let said = promtool(&[("rules.yaml", &rules()), ("tests.yaml", &tests)], &["test", "rules"]);
    assert!(said.is_ok(), "{}", said.unwrap_err());
}

#[test]
fn every_alert_has_its_entry_in_the_runbook_and_the_other_way_round() {
    let page = read("docs/runbook.md");
    let entries: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|title| title.starts_with("Pointsman"))
        .collect();
    let alerts = alerts();
    let names: BTreeSet<&str> = alerts.iter().map(|alert| text(alert, "alert")).collect();
    assert_eq!(entries, names);
    for alert in &alerts {
        let name = text(alert, "alert");
        let anchor = format!("docs/runbook.md#{}", name.to_lowercase());
        assert_eq!(text(&alert["annotations"], "runbook"), anchor, "{name}");
        assert!(!text(&alert["annotations"], "summary").is_empty());
        let severity = text(&alert["labels"], "severity");
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
    }
}
