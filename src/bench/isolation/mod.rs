//! Attacks of one caller: the agent's memory meanwhile, and how fast it answers another caller's picks.
//! The floor is the same picks while nobody attacks.
//!
//! The agent is a process in a control group with the memory limit of the DaemonSet. The attacker runs
//! as another user, because the agent distinguishes callers by user.

use std::{
    io, iter,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

use self::{
    attacks::{ATTACKS, Attack, BUSY_LOOPS, Target},
    cgroup::Cgroup,
    probe::PickStats,
};
use super::{
    agent_process::AgentProcess,
    report::{Goal, Report, Row},
    resident,
};

pub mod attacks;
mod cgroup;
pub mod frames;
mod probe;

/// The most resident memory under any attack. It is well below the limit of 256 MiB, because tables
/// and the names of a large cluster also need memory.
const RESIDENT_MIB: f64 = 96.0;
/// How much longer the slowest picks of another caller may take.
const SLOWER: f64 = 3.0;
/// The attacker's user: nobody.
const ATTACKER: u32 = 65534;
const SERVICES: usize = 10;
/// The time until the attacker's connections and their memory are gone.
const SETTLE: Duration = Duration::from_secs(1);

/// Arguments of `pointsman bench isolation`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds for each attack, and for the quiet before it.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only attacks whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// The nice value of the attacker's threads, 0 to 19. With 19 they get the processor time that nobody
    /// else wants: what they then cost another caller, they cost it through the agent.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=19))]
    nice: u8,
}

/// Runs each attack against a real agent.
pub fn run(args: &Args, smoke: bool) -> io::Result<Report> {
    let lasts = Duration::from_secs(if smoke { 2 } else { args.seconds });
    let mut report = Report::default();
    if !rustix::process::geteuid().is_root() {
        let section = report.section("Attacks of one caller", Vec::new());
        section
            .notes
            .push("Not measured: it needs root, because the attacker must be another user.".into());
        return Ok(report);
    }
    allow_many_files();
    let group = Cgroup::make()?;
    let asked = |attack: &&Attack| args.only.as_ref().is_none_or(|only| attack.name.contains(only));
    for attack in iter::once(&BUSY_LOOPS).chain(ATTACKS).filter(asked) {
        let mut agent = AgentProcess::start_in(SERVICES, Some(group.path()))?;
        agent.open_folder()?;
        let result = AttackResult::of(attack, args.nice, &mut agent, lasts)?;
        if group.kills()? > 0 || !agent.runs()? {
            return Err(io::Error::other(format!("{}: the agent was killed", attack.name)));
        }
        if smoke && result.attacked.failed > 0 {
            let failed = result.attacked.failed;
            return Err(io::Error::other(format!("{}: {failed} picks failed", attack.name)));
        }
        report.section(format!("{}, {} s", attack.name, lasts.as_secs()), result.rows());
    }
    let notes =
        &mut report.sections.last_mut().ok_or_else(|| io::Error::other("no such attack"))?.notes;
    notes.push(format!(
        "An agent for each attack, in a control group of {} MiB, the DaemonSet's limit; floor: the \
         same caller's picks while nobody attacks.",
        group.limit() >> 20
    ));
    Ok(report)
}

/// What was measured during one attack.
struct AttackResult {
    name: &'static str,
    quiet: PickStats,
    attacked: PickStats,
    /// Peak resident memory, in MiB.
    peak_resident: f64,
    /// Resident memory after the attack, in MiB.
    resident_after: f64,
}

impl AttackResult {
    fn of(
        attack: &Attack,
        nice: u8,
        agent: &mut AgentProcess,
        lasts: Duration,
    ) -> io::Result<Self> {
        let (socket, pid) = (agent.socket(), agent.pid());
        let quiet = PickStats::of(&socket, lasts, &AtomicBool::new(false))?;
        let target = Target { socket: socket.clone(), admin: agent.admin()? };
        resident::forget_peak(pid)?;
        let over = AtomicBool::new(false);
        let attacked = thread::scope(|scope| {
            let attacking = scope.spawn(|| {
                let ended = become_attacker(nice).and_then(|()| attack.run(target, lasts));
                over.store(true, SeqCst);
                ended
            });
            let attacked = PickStats::of(&socket, 2 * lasts, &over);
            attacking.join().expect("an attack does not panic")?;
            attacked
        })?;
        let peak_resident = resident::peak_mib(pid)?;
        thread::sleep(SETTLE);
        let resident_after = resident::resident_mib(pid)?;
        Ok(Self { name: attack.name, quiet, attacked, peak_resident, resident_after })
    }

    fn rows(&self) -> Vec<Row> {
        let name = |what: &str| format!("{}: {what}", self.name);
        let micros = |what: &str, share: f64| {
            let of = |picks: &PickStats| picks.micros(share);
            Row::value(name(what), of(&self.attacked), "us").over(of(&self.quiet))
        };
        let slowest = micros("another's picks, p99", 0.99);
        vec![
            Row::value(name("peak resident"), self.peak_resident, "MiB")
                .goal(Goal::value_at_most(RESIDENT_MIB)),
            Row::value(name("resident once it is over"), self.resident_after, "MiB"),
            micros("another's picks, p50", 0.5),
            // Busy loops slow the whole machine, so no agent could meet the goal.
            if self.name == BUSY_LOOPS.name {
                slowest
            } else {
                slowest.goal(Goal::ratio_at_most(SLOWER))
            },
            Row::value(name("another's picks that failed"), self.attacked.failed as f64, "")
                .goal(Goal::value_at_most(0.0)),
        ]
    }
}

/// Changes the user and the nice value of this thread, and of those that it starts.
fn become_attacker(nice: u8) -> io::Result<()> {
    rustix::process::nice(nice.into())?;
    let other = rustix::process::Uid::from_raw(ATTACKER);
    Ok(rustix::thread::set_thread_res_uid(other, other, other)?)
}

fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    // If this is not permitted, attacks are weaker.
    setrlimit(Resource::Nofile, files).ok();
}
