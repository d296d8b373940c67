//! The log of wrong settings: each is logged once, whatever other services have, and its text cannot
//! control a terminal or forge a log line.

use std::{fs, time::Duration};

use rustix::process::Signal;

use crate::{
    settings::{configure, configured, folder, write},
    support::{Agent, Ran},
};

const VIRTUAL: &str = "10.96.0.7";

/// A service with these lines in its policy.
fn service(name: &str, policy: &[&str]) -> String {
    let policy: String = policy.iter().map(|line| format!("      {line}\n")).collect();
    format!(
        "  - name: {name}\n    ports: [{{name: http, port: 80}}]\n    policy:\n      virtual_ip: \
         {VIRTUAL}\n{policy}    endpoints: [{{address: 10.1.0.1}}]\n"
    )
}

fn services(all: &[String]) -> String {
    format!("services:\n{}", all.concat())
}

/// This many keys that are no settings.
fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key-{number}: x")).collect()
}

fn many_wrong(name: &str, count: usize) -> String {
    let keys = keys(count);
    service(name, &keys.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test]
async fn many_wrong_settings_of_one_namespace_hide_none_of_another() {
    let mut all: Vec<_> = (0..60).map(|nth| many_wrong(&format!("cart-{nth}.noisy"), 40)).collect();
    all.push(service("checkout.victim", &["mode: ten percent"]));
    let agent = Agent::with(&services(&all));
    agent.logs("wrong settings that are not logged yet");
    let told = agent.logged(&["wrong setting:", "checkout.victim"]);
    assert_eq!(told.len(), 1, "{told:?}");
    let lines = agent.logged(&["wrong setting:"]).len();
    assert!(lines <= 20, "{lines} at a time");
}

#[tokio::test]
async fn what_had_to_wait_for_its_turn_is_told_in_the_next() {
    let all: Vec<_> = (0..21).map(|nth| service(&format!("a{nth}.shop"), &["mode: x"])).collect();
    let agent = Agent::with(&services(&all));
    agent.logs("wrong settings that are not logged yet: 1;");
    assert_eq!(agent.logged(&["wrong setting:"]).len(), 20);
    for nth in 0..21 {
        agent.logs(&format!("service=a{nth}.shop"));
    }
}

/// What a terminal or a log reader would act on: it ends the line, clears the screen, rings the bell,
/// ends a string, and reverses the direction of the text.
const OBEYED: &str =
    r#""x\n2030-01-01T00:00:00Z ERROR all is lost\r\e[2J\a\0\u009b31m\u202Etxet\u2066\u200b""#;

fn obeyed(text: &str) -> Vec<char> {
    let hidden = ['\u{202e}', '\u{2066}', '\u{200b}'];
    text.chars()
        .filter(|c| c.is_control() && *c != '\n' && *c != '\t' || hidden.contains(c))
        .collect()
}

#[tokio::test]
async fn a_wrong_value_forges_no_line_of_the_log_and_commands_no_terminal() {
    let mode = format!("mode: {OBEYED}");
    let key = format!("{OBEYED}: 1");
    let text = services(&[service("cart.shop", &[&mode, &key])]).replace(
        "{address: 10.1.0.1}",
        &format!("{{address: 10.1.0.1, zone: {OBEYED}, labels: {{{OBEYED}: {OBEYED}}}}}"),
    );
    let agent = Agent::with(&text);
    agent.logs("wrong setting");
    agent.logs("no setting");
    for line in agent.logged(&[]) {
        assert!(!line.starts_with("2030") && obeyed(&line).is_empty(), "{line:?}");
    }
    let commands: [&[&str]; 7] = [
        &["services"],
        &["check"],
        &["explain", "cart.shop"],
        &["endpoints", "cart.shop"],
        &["services", "-o", "json"],
        &["explain", "cart.shop", "-o", "json"],
        &["endpoints", "cart.shop", "-o", "json"],
    ];
    for arguments in commands {
        let Ran { stdout, stderr, .. } = agent.cli(arguments);
        assert!(stdout.contains("cart.shop") || stdout.contains("10.1.0.1"), "{stdout}");
        assert_eq!(obeyed(&stdout), [], "{arguments:?}: {stdout:?}");
        assert_eq!(obeyed(&stderr), [], "{arguments:?}: {stderr:?}");
        assert!(!stdout.lines().any(|line| line.starts_with("2030")), "{stdout}");
    }
}

#[tokio::test]
async fn every_wrong_setting_is_counted() {
    let agent = Agent::with(&services(&[many_wrong("cart.shop", 64)]));
    let (_, metrics) = agent.admin_page("/metrics").await;
    assert!(metrics.contains("pointsman_wrong_settings{service=\"cart.shop\"} 64\n"), "{metrics}");
    let listed = agent.cli(&["services"]).stdout;
    assert!(listed.contains("64 wrong settings"), "{listed}");
    assert!(listed.contains("54 more settings are wrong"), "{listed}");
}

#[tokio::test]
async fn a_wrong_setting_of_a_file_is_told_once_wherever_it_stands_in_it() {
    let wrong = service("cart.shop", &["mode: offf"]);
    let agent = Agent::with(&services(std::slice::from_ref(&wrong)));
    agent.logs("offf");
    let another = service("pay.shop", &["zone: nowhere"]);
    write(&agent, &format!("# A comment\n{}", services(&[another, wrong]))).await;
    agent.logs("nowhere");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for wrong in ["offf", "nowhere"] {
        let told = agent.logged(&[wrong]);
        assert_eq!(told.len(), 1, "{told:#?}");
    }
}

#[tokio::test]
async fn a_file_with_thousands_of_wrong_settings_fills_no_log() {
    let agent = Agent::with(&services(&[many_wrong("cart.shop", 5000)]));
    agent.logs("4990 more settings are wrong");
    let lines = agent.logged(&[]).len();
    assert!(lines < 50, "{lines} lines");
}

#[tokio::test]
async fn a_service_that_is_gone_is_not_called_mended() {
    let agent = Agent::with(&services(&[service("cart.shop", &["mode: offf"])]));
    agent.logs("wrong setting: services file");
    let text = services(&[service("pay.shop", &["zone: nowhere"])]);
    fs::write(agent.folder.path().join("services.yaml"), text).unwrap();
    agent.logs("nowhere");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!agent.has_logged("are valid now"));
}

/// A configuration makes no setting of a service wrong. It decides which setting applies.
#[tokio::test]
async fn what_holds_by_a_new_configuration_is_told() {
    let folder = folder(&services(&[service("cart.shop", &["mode: junk"])]));
    configure(folder.path(), "{}\n");
    let agent = configured(&folder);
    agent.logs("; it is off, since nothing was known before");
    configure(folder.path(), "policies: {override: {all: {mode: on}}}\n");
    agent.signal(Signal::HUP);
    let line = agent.logs("; it is on, as configuration's override");
    assert!(line.contains("WARN") && line.contains("cart.shop"), "{line}");
}

/// If ejection times contradict each other, neither place is wrong. The stronger one applies, and a
/// note reports it.
#[tokio::test]
async fn an_override_of_ejections_holds_whatever_a_service_says() {
    let long = service("cart.shop", &["outlier: {base_ejection: 1h, max_ejection: 1h}"]);
    let folder = folder(&services(&[long]));
    configure(folder.path(), "policies: {override: {all: {outlier: {max_ejection: 10s}}}}\n");
    let agent = configured(&folder);
    agent.logs("answered");
    assert_eq!(agent.setting("outlier.max_ejection").await, "10s");
    assert_eq!(agent.setting("outlier.base_ejection").await, "10s");
    let explained = agent.cli(&["explain", "cart.shop"]).stdout;
    assert!(explained.contains("would be longer than outlier.max_ejection 10s"), "{explained}");
}

#[tokio::test]
async fn what_holds_in_place_of_a_wrong_setting_is_what_is_said() {
    let folder = folder(&services(&[service("cart.shop", &["mode: junk"])]));
    configure(folder.path(), "policies: {override: {all: {mode: on}}}\n");
    let agent = configured(&folder);
    agent.logs("answered");
    assert_eq!(agent.setting("mode").await, "on");
    for arguments in [&["services"][..], &["explain", "cart.shop"]] {
        let told = agent.cli(arguments).stdout;
        assert!(!told.contains("it is off"), "{told}");
        assert!(told.contains("; it is on, as configuration's override "), "{told}");
    }
}

fn endpoints(name: &str, addresses: &[u8]) -> String {
    let all: Vec<_> = addresses.iter().map(|it| format!("{{address: '10.1.0.{it}:80'}}")).collect();
    format!("  - {{name: {name}, endpoints: [{}]}}\n", all.join(", "))
}

#[tokio::test]
async fn the_brake_is_told_where_it_takes_hold_and_where_it_ends() {
    let agent = Agent::with(&services(&[endpoints("cart.shop", &[1, 2, 3, 4, 5])]));
    write(&agent, &services(&[endpoints("cart.shop", &[5])])).await;
    let line = agent.logs("brake");
    assert!(line.contains("WARN") && line.contains("service=cart.shop"), "{line}");
    assert!(line.contains("4 of 5 endpoints disappeared within 10 s"), "{line}");
    write(&agent, &services(&[endpoints("cart.shop", &[1, 2, 3, 4, 5])])).await;
    let line = agent.logs("the brake holds no endpoint");
    assert!(line.contains("INFO") && line.contains("service=cart.shop"), "{line}");
}

#[tokio::test]
async fn a_source_that_empties_many_services_fills_no_log() {
    let all = |addresses: &[u8]| -> Vec<_> {
        (0..100).map(|nth| endpoints(&format!("a{nth}.shop"), addresses)).collect()
    };
    let first = endpoints("cart.shop", &[1, 2]);
    let agent = Agent::with(&services(&[all(&[1, 2]), vec![first]].concat()));
    write(&agent, &services(&[all(&[]), vec![endpoints("cart.shop", &[])]].concat())).await;
    let line = agent.logs("more services");
    assert!(line.contains("81 more services"), "{line}");
    assert_eq!(agent.logged(&["WARN", "brake", "service="]).len(), 20);
}
