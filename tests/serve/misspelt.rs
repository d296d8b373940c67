//! Callers that misspell names as fast as they can, with many services that have long names.

use std::time::Duration;

use pointsman::bench::thread_usage;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Agent, Http};

const SERVICES: usize = 10_000;
/// Requests of each caller at the same time.
const CALLERS: usize = 4;
const FLOOD: Duration = Duration::from_secs(3);

/// The part of a name before its namespace, with 50 letters.
fn name(number: usize) -> String {
    format!("checkout-of-the-main-shop-in-the-region-eu-1-{number:05}")
}

fn services() -> String {
    let one = |number| {
        format!("  - {{name: {}.shop, endpoints: [{{address: '10.1.2.3:80'}}]}}\n", name(number))
    };
    let all: String = (0..SERVICES).map(one).collect();
    format!("services:\n{all}")
}

/// The processor time of the agent's threads with this name.
fn processor_time(agent: &Agent, thread: &str) -> Duration {
    thread_usage::processor_time(agent.pid(), thread).unwrap().unwrap_or_default()
}

/// Asks for names in turn until the time is over. Returns how many.
async fn ask(mut http: Http, first: usize, status: u16, until: Instant) -> u32 {
    let mut asked = 0;
    while Instant::now() < until {
        let text = match status {
            200 => format!("{}.shop", name(first)),
            // A different name each time.
            _ => format!("{}.shop", name(first + asked as usize * CALLERS).replace("shop", "shpo")),
        };
        let pick = json!({ "service": text, "leaseTtl": "0.05s" }).to_string();
        assert_eq!(http.post("/v1/pick", pick).await.0, status, "{text}");
        asked += 1;
    }
    asked
}

/// The processor time of the serving threads per answer.
async fn each(agent: &Agent, status: u16) -> Duration {
    let before = processor_time(agent, "serve");
    let until = Instant::now() + FLOOD;
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        callers.push(tokio::spawn(ask(agent.http().await, caller, status, until)));
    }
    let mut asked = 0;
    for caller in callers {
        asked += caller.await.unwrap();
    }
    (processor_time(agent, "serve") - before) / asked
}

#[tokio::test]
async fn a_name_that_is_not_there_costs_a_serving_thread_what_a_pick_costs() {
    let agent = Agent::with(&services());
    let pick = each(&agent, 200).await;
    let before = (Instant::now(), processor_time(&agent, "suggest"));
    let misspelt = each(&agent, 404).await;
    let searching = processor_time(&agent, "suggest") - before.1;
    let share = searching.as_secs_f64() / before.0.elapsed().as_secs_f64();
    assert!(misspelt < pick * 3, "{misspelt:?}, and {pick:?} a pick");
    assert!(!searching.is_zero(), "nothing was searched at all");
    assert!(share < 0.1, "searches took {share} of a core");
    println!("{misspelt:?}, and {pick:?} a pick; searches took {share:.3} of a core");
}

#[tokio::test]
async fn who_lists_services_pays_for_a_page_and_not_for_all_of_them() {
    let agent = Agent::with(&services());
    let mut http = agent.http().await;
    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("/v1/services?pageSize=1000&pageToken={token}");
        let (_, page) = http.get(&path).await;
        let services = page["services"].as_array().unwrap().clone();
        listed.extend(services.iter().map(|each| each["service"].as_str().unwrap().to_owned()));
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    let all: Vec<String> = (0..SERVICES).map(|number| format!("{}.shop", name(number))).collect();
    assert_eq!(listed, all);
    let serving = async |http: &mut Http, path: &str| {
        let before = processor_time(&agent, "serve");
        for _ in 0..200 {
            assert_eq!(http.get(path).await.0, 200);
        }
        processor_time(&agent, "serve") - before
    };
    let one = serving(&mut http, &format!("/v1/services/{}.shop", name(7))).await;
    let page = serving(&mut http, "/v1/services?pageSize=1").await;
    assert!(page < one * 4, "{page:?} for 200 pages of one service, and {one:?} for the service");
}
