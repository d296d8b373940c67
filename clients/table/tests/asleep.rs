//! Each start or end that a caller counts while the agent sleeps wakes the agent. (`pointsman bench idle`
//! runs many more rounds.)
#![cfg(not(any(loom, miri)))]
// The test decides how long it runs.
#![allow(clippy::disallowed_methods)]

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use pointsman_table::{
    Capacity, Cell, Counters, Outcome, Picker, Random, Sweep, TableWriter, Waker,
    wake::{self, Reach},
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

const REACH: Reach = Reach::ThisProcess;
const RUN_FOR: Duration = Duration::from_secs(4);
/// A message that takes longer than this is lost.
const LOST: Duration = Duration::from_secs(2);

#[test]
fn a_caller_that_counts_while_the_agent_falls_asleep_wakes_it() {
    if let Err(refused) = wake::probe_barrier(REACH) {
        println!("skipped: {refused}");
        return;
    }
    let capacity = Capacity::for_endpoints(1);
    let mut writer = TableWriter::on_heap(capacity);
    writer.write_cell(0, &Cell::default());
    let counters = Counters::on_heap(capacity.slots, 1);
    let events = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    let waker = Waker::new(Arc::clone(&events)).unwrap();
    let mut picker: Picker = Picker::new(writer.table(), Arc::clone(&counters), 1, Some(waker));
    let mut sweep = Sweep::new(counters, 100);
    // How many times the agent has noticed activity.
    let noticed = AtomicU32::new(0);
    let over = AtomicU32::new(0);

    thread::scope(|scope| {
        let agent = scope.spawn(|| {
            let mut sums = [0; 64];
            let (mut sleeps, mut idle) = (0, 0);
            while over.load(SeqCst) == 0 {
                if sweep.in_flight(&mut sums).unwrap().moved {
                    noticed.fetch_add(1, SeqCst);
                    idle = 0;
                    continue;
                }
                idle += 1;
                if idle < 5 {
                    continue;
                }
                writer.set_asleep(true);
                wake::barrier(REACH).unwrap();
                if !sweep.in_flight(&mut sums).unwrap().moved {
                    sleeps += 1;
                    let timeout = Timespec::try_from(LOST).unwrap();
                    let woken = poll(&mut [PollFd::new(&*events, PollFlags::IN)], Some(&timeout));
                    assert!(woken.unwrap() > 0, "asleep with nobody to wake it");
                    rustix::io::read(&*events, &mut [0; 8]).unwrap();
                } else {
                    noticed.fetch_add(1, SeqCst);
                }
                writer.set_asleep(false);
                idle = 0;
            }
            sleeps
        });

        let mut random = Random::new(7);
        let mut rounds = 0;
        let end = Instant::now() + RUN_FOR;
        while Instant::now() < end {
            let before = noticed.load(SeqCst);
            // A request that continues while the agent sleeps. Its end must wake the agent, as its
            // start did.
            if rounds % 2 == 0 {
                picker.start(0, 1);
            } else {
                picker.end(0, 1, Outcome::Success, None);
            }
            let lost = Instant::now() + LOST;
            while noticed.load(SeqCst) == before {
                assert!(Instant::now() < lost, "round {rounds} was not noticed");
                spin_loop();
            }
            rounds += 1;
            // Up to 100 us, and sometimes as long as the barrier takes.
            let pause = random.draw() % if random.draw().is_multiple_of(4) { 20_000 } else { 100 };
            thread::sleep(Duration::from_micros(u64::from(pause)));
        }
        over.store(1, SeqCst);
        // It may be asleep.
        picker.start(0, 1);
        let sleeps = agent.join().unwrap();
        println!("{rounds} rounds, {sleeps} sleeps");
        assert!(rounds > 10);
    });
}
