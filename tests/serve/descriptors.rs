//! The limit on open files is reached before the limit on tables: the agent gives up unused tables.

use std::fmt::Write;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::support::{Agent, Http};

/// A tenth of the usual limit.
const FILES: u64 = 256;

/// This many services, whose names begin with this letter.
fn services(letter: char, count: usize) -> String {
    let mut text = String::from("services:\n");
    for n in 0..count {
        writeln!(text, "  - {{name: {letter}{n}.shop, endpoints: [{{address: '10.1.0.1:80'}}]}}")
            .unwrap();
    }
    text
}

fn limit(agent: &Agent) {
    let pid = Pid::from_raw(agent.pid().cast_signed());
    let limit = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

fn open_files(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

/// Sends one request to each.
async fn use_all(http: &mut Http, letter: char, count: usize) {
    for n in 0..count {
        let (address, lease) = http.pick(&format!("{letter}{n}.shop")).await;
        assert_eq!(address, "10.1.0.1:80", "{letter}{n}");
        assert!(http.report(&lease, "SUCCESS").await, "{letter}{n}");
    }
}

#[tokio::test]
async fn more_services_than_files_may_be_open_are_served_one_after_the_other() {
    let agent = Agent::with(&services('a', 600));
    limit(&agent);
    let mut http = agent.http().await;
    use_all(&mut http, 'a', 600).await;
    use_all(&mut http, 'a', 600).await;
    assert!(!agent.has_logged("panicked"));
}

#[tokio::test]
async fn services_that_come_and_go_leave_no_open_file_behind() {
    let agent = Agent::with(&services('a', 100));
    let mut http = agent.http().await;
    use_all(&mut http, 'a', 1).await;
    let at_first = open_files(&agent);
    limit(&agent);
    for letter in ['b', 'a', 'b', 'a', 'b'] {
        let file = agent.folder.path().join("services.yaml");
        std::fs::write(file, services(letter, 100)).unwrap();
        let asked = json!({ "service": format!("{letter}99.shop") }).to_string();
        while http.post("/v1/pick", asked.clone()).await.0 != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        use_all(&mut http, letter, 100).await;
    }
    std::fs::write(agent.folder.path().join("services.yaml"), services('c', 1)).unwrap();
    for _ in 0..2000 {
        if open_files(&agent) <= at_first {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{} open files, where there were {at_first}", open_files(&agent));
}
