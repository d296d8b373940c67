//! Runs sequence after sequence until the time is over, and shrinks those with a mismatch.

use std::{fmt, time::Duration};

use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    operation::Operation,
    oracle::{Oracle, Wrong},
    random, shrink,
    stage::{Mismatch, PLACES, Stage},
};

/// The longest time until an agent agrees, once nothing changes any more. On an idle machine it takes
/// milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same while a mismatch is shrunk, because each attempt waits for it. The result runs again with
/// the long limit. If it finds nothing then, it is shrunk again with the second limit from the start.
const SHRINKING: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// The longest time to shrink a mismatch.
const SHRUNK: Duration = Duration::from_secs(90);
/// One in this many sequences restarts the API server, which takes some seconds.
const RESTARTS: u64 = 12;
/// The most mismatches to report.
const MOST: usize = 5;

/// A mismatch, and the steps that it needs.
pub struct Found {
    seed: u64,
    pub steps: Vec<Operation>,
    pub mismatch: Mismatch,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        writeln!(f, "{}", self.mismatch)?;
        write!(f, "again:    POINTSMAN_FUZZ_SEED={} scripts/kubernetes-fuzz", self.seed)
    }
}

/// The amount of work that was done.
#[derive(Default)]
pub struct Counts {
    pub sequences: usize,
    pub steps: usize,
    pub checks: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_agent_answers_otherwise_than_the_documents_say() {
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is no number")))
    };
    let seconds = number("POINTSMAN_FUZZ_SECONDS").unwrap_or(60);
    let first = number("POINTSMAN_FUZZ_SEED").unwrap_or_else(|| rand::random::<u32>().into());
    println!("POINTSMAN_FUZZ_SEED={first}");
    let cluster = cluster().await;
    let oracle = Oracle { wrong: Wrong::Nowhere };
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut counts = Counts::default();
    let mut all = Vec::new();
    for seed in first.. {
        if Instant::now() > until || all.len() == MOST {
            break;
        }
        let begin = Instant::now();
        if let Some(found) = sequence(&cluster, oracle, seed, &mut counts).await {
            let found = shortest(&cluster, oracle, found, SHRUNK).await;
            println!("{found}\n");
            all.push(found);
        }
        // The machine may be busy with other work.
        tokio::time::sleep(begin.elapsed() / 2).await;
    }
    let Counts { sequences, steps, checks } = counts;
    println!("{sequences} sequences of {steps} steps, {checks} checks");
    assert!(checks > 0);
    assert!(all.is_empty(), "{} mismatches, from POINTSMAN_FUZZ_SEED={first} on", all.len());
}

/// Proves that the fuzz can fail: it must notice an oracle that errs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_wrong_is_found_and_shrunk() {
    let cluster = cluster().await;
    let oracle = Oracle { wrong: Wrong::DrainingIsReady };
    let mut counts = Counts::default();
    let mut seed = 0;
    let found = loop {
        if let Some(found) = sequence(&cluster, oracle, seed, &mut counts).await {
            break found;
        }
        seed += 1;
        assert!(seed < 5, "{} checks find nothing wrong", counts.checks);
    };
    let found = shortest(&cluster, oracle, found, SHRUNK).await;
    println!("{found}");
    // A Service, a slice, a pod of this kind in it, and the check.
    assert!(found.steps.len() <= 4, "{found}");
    assert!(found.steps.iter().any(|step| step.to_string().contains("terminating")), "{found}");
}

async fn cluster() -> Cluster {
    let cluster = Cluster::shared().await;
    cluster.nodes().await;
    cluster
}

/// Runs the sequence of this seed.
async fn sequence(
    cluster: &Cluster,
    oracle: Oracle,
    seed: u64,
    counts: &mut Counts,
) -> Option<Found> {
    let steps = random::sequence(seed, seed % RESTARTS == 1);
    let agents: Vec<usize> = (0..PLACES.len()).collect();
    let (played, mismatch) = play(cluster, oracle, &steps, &agents, PATIENCE, counts).await;
    counts.sequences += 1;
    Some(Found { seed, steps: steps[..played].to_vec(), mismatch: mismatch? })
}

/// Runs steps. Returns how many, and the mismatch that the last one found.
async fn play(
    cluster: &Cluster,
    oracle: Oracle,
    steps: &[Operation],
    agents: &[usize],
    patience: Duration,
    counts: &mut Counts,
) -> (usize, Option<Mismatch>) {
    let mut stage = Stage::new(cluster, agents, oracle, patience).await;
    let mut mismatch = None;
    let mut played = 0;
    while played < steps.len() && mismatch.is_none() {
        mismatch = stage.perform(&steps[played]).await;
        played += 1;
    }
    counts.steps += played;
    counts.checks += stage.checks;
    stage.end().await;
    (played, mismatch)
}

/// The same or a similar mismatch with fewer steps, within this time.
async fn shortest(cluster: &Cluster, oracle: Oracle, found: Found, most: Duration) -> Found {
    let agents = [found.mismatch.agent];
    let mut counts = Counts::default();
    for patience in SHRINKING {
        let until = Instant::now() + most;
        let mut fails = async |steps: &[Operation]| {
            play(cluster, oracle, steps, &agents, patience, &mut counts).await.1.is_some()
        };
        let steps = shrink::shorter(found.steps.clone(), until, &mut fails).await;
        let steps = shrink::simpler(steps, until, &mut fails).await;
        let (played, seen) = play(cluster, oracle, &steps, &agents, PATIENCE, &mut counts).await;
        if let Some(mismatch) = seen {
            return Found { steps: steps[..played].to_vec(), mismatch, ..found };
        }
    }
    // It needs the steps that were left out, or it happens by chance.
    found
}
