//! How callers that misspell names affect the picks of another caller, and the node. A real agent has
//! many services with long names. Some callers ask for unknown names, as fast as they can.
//!
//! Quiet and busy turns alternate, so that other load on the machine affects both.

use std::{
    fmt::Write as _,
    io,
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use hdrhistogram::Histogram;

use super::{
    agent_process::AgentProcess,
    http_client::post_expecting,
    report::{Goal, Report, Row},
    thread_usage::processor_time,
};
use crate::{clock, sim::estimate::Estimate};

const SERVICES: usize = 10_000;
/// How many callers misspell at the same time.
const CALLERS: usize = 4;
const TURN: Duration = Duration::from_secs(2);
const TURNS: u32 = 15;
/// The pause between two picks of the measured caller.
const PAUSE: Duration = Duration::from_millis(1);
/// Limits: how much longer the other caller's picks may take, and the share of a core that searches
/// may use, in percent.
const P50: f64 = 1.2;
const P99: f64 = 2.0;
const SEARCHES: f64 = 10.0;

/// Measures one caller's picks while nobody misspells, and while others do.
pub fn run(smoke: bool) -> io::Result<Report> {
    let (services, turn, turns) = if smoke { (100, TURN / 10, 1) } else { (SERVICES, TURN, TURNS) };
    let agent = AgentProcess::start_on(&services_file(services), None)?;
    let socket = agent.socket();
    let (mut quiet, mut busy) = (empty_histogram(), empty_histogram());
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    let (mut searched, mut misspelt) = (Duration::ZERO, 0);
    for number in 0..turns {
        let alone = picks(&socket, turn)?;
        let before = search_time(&agent)?;
        let (with, asked) = picks_while_misspelling(&socket, turn, number)?;
        searched += search_time(&agent)? - before;
        misspelt += asked;
        p50.push(micros(&with, 0.5) / micros(&alone, 0.5));
        p99.push(micros(&with, 0.99) / micros(&alone, 0.99));
        quiet.add(&alone).map_err(io::Error::other)?;
        busy.add(&with).map_err(io::Error::other)?;
    }
    let seconds = (turn * turns).as_secs_f64();
    let share = 100.0 * searched.as_secs_f64() / seconds;
    let row = |what: &str, quantile: f64, ratios, most| {
        Row::value(what, micros(&busy, quantile), "us")
            .over(micros(&quiet, quantile))
            .paired(Estimate::of(ratios))
            .goal(Goal::ratio_at_most(most))
    };
    let rows = vec![
        row("another's picks: p50", 0.5, p50, P50),
        row("another's picks: p99", 0.99, p99, P99),
        Row::value("search for suggestions: share of a core", share, "%")
            .goal(Goal::value_at_most(SEARCHES)),
        Row::value("misspelt names answered", f64::from(misspelt) / seconds, "/s"),
    ];
    let mut report = Report::default();
    report
        .section(
            format!("{CALLERS} callers that misspell, {services} services of 50 letters"),
            rows,
        )
        .notes
        .push("The floor is the same picks while no caller misspells.".into());
    Ok(report)
}

fn service_name(service: usize) -> String {
    format!("checkout-of-the-main-shop-in-the-region-eu-1-{service:05}.bench")
}

fn services_file(services: usize) -> String {
    (0..services).fold("services:\n".to_owned(), |mut yaml, service| {
        let name = service_name(service);
        writeln!(yaml, "  - {{name: {name}, endpoints: [{{address: '10.0.0.1:80'}}]}}")
            .expect("a string takes it");
        yaml
    })
}

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds")
}

fn micros(took: &Histogram<u64>, quantile: f64) -> f64 {
    took.value_at_quantile(quantile) as f64 / 1e3
}

/// Picks one after another, with pauses, for the length of a turn.
fn picks(socket: &Path, turn: Duration) -> io::Result<Histogram<u64>> {
    let mut connection = Connection::connect(socket)?;
    let mut took = empty_histogram();
    let begin = clock::now();
    while clock::now() - begin < turn {
        let call = clock::now();
        connection.pick(&service_name(0), 200)?;
        took.saturating_record((clock::now() - call).as_nanos() as u64);
        thread::sleep(PAUSE);
    }
    Ok(took)
}

/// The same while other callers misspell. Also returns how many wrong names they asked for.
fn picks_while_misspelling(
    socket: &Path,
    turn: Duration,
    number: u32,
) -> io::Result<(Histogram<u64>, u32)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let over = &over;
                scope.spawn(move || misspell(socket, &format!("{number}-{caller}"), over))
            })
            .collect();
        let took = picks(socket, turn);
        over.store(true, Relaxed);
        let asked = callers.into_iter().map(|caller| caller.join().expect("no caller panics"));
        let asked = asked.sum::<io::Result<u32>>()?;
        Ok((took?, asked))
    })
}

/// Asks for unknown names, never for the same one twice.
fn misspell(socket: &Path, of: &str, over: &AtomicBool) -> io::Result<u32> {
    let mut connection = Connection::connect(socket)?;
    let mut asked = 0;
    while !over.load(Relaxed) {
        let name = format!("checkout-of-the-main-shpo-in-the-region-{of}-{asked:06}.bench");
        connection.pick(&name, 404)?;
        asked += 1;
    }
    Ok(asked)
}

/// A connection that is kept alive.
struct Connection(UnixStream);

impl Connection {
    fn connect(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).map(Self)
    }

    /// Picks, and expects this status.
    fn pick(&mut self, service: &str, status: u16) -> io::Result<()> {
        let body = format!("{{\"service\":\"{service}\",\"leaseTtl\":\"0.05s\"}}");
        post_expecting(&mut self.0, "/v1/pick", &body, status).map(drop)
    }
}

/// The processor time of the searches for similar names. 0 before the first search.
fn search_time(agent: &AgentProcess) -> io::Result<Duration> {
    Ok(processor_time(agent.pid(), "suggest")?.unwrap_or_default())
}
