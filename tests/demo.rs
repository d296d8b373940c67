//! The demo's comparison: it holds, and it fails when the picker is random.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command.args(["demo", "--seconds", "12", "--output", "json"]).args(arguments);
    command.output().expect("the built program")
}

/// Name, value and whether the goal was met, of the rows that have one.
fn judged(output: &Output) -> Vec<(String, f64, bool)> {
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let goals = rows.iter().filter(|row| row["goal"].is_string());
    goals
        .map(|row| {
            let name = row["name"].as_str().expect("a name").to_owned();
            let value = row["value"].as_f64().expect("a value");
            (name, value, row["met"].as_bool().expect("met or not"))
        })
        .collect()
}

/// One test, since two demos at a time would slow each other.
#[test]
fn the_comparison_holds_and_fails_with_a_random_picker() {
    let output = demo(&[]);
    let rows = judged(&output);
    assert_eq!(output.status.code(), Some(0), "{rows:?}");
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|(_, _, met)| *met), "{rows:?}");

    let output = demo(&["--random"]);
    let rows = judged(&output);
    assert_eq!(output.status.code(), Some(1), "{rows:?}");
    assert!(rows.iter().all(|(_, _, met)| !met), "random choice meets a bound: {rows:?}");
}
