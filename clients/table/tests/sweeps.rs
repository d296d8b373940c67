//! What a sweep reads from counters.
#![cfg(not(loom))]

use std::sync::Arc;

use pointsman_table::{
    Counters, Differences, Outcome, Picker, ServerLoad, Sweep, TableWriter, counters::bucket,
    layout::Capacity,
};

const SLOTS: u32 = 600;

struct Process {
    counters: Arc<Counters>,
    sweep: Sweep,
    writer: TableWriter,
}

fn process(shards: u32) -> Process {
    let capacity = Capacity { groups: 1, rows: 1, ring: 0, slots: SLOTS, endpoints: 1, text: 0 };
    let counters = Counters::on_heap(SLOTS, shards);
    Process {
        sweep: Sweep::new(Arc::clone(&counters), 1000),
        counters,
        writer: TableWriter::on_heap(capacity),
    }
}

impl Process {
    fn thread(&self) -> Picker {
        Picker::new(self.writer.table(), Arc::clone(&self.counters), 0, None)
    }

    fn in_flight(&mut self) -> Vec<u32> {
        let mut sums = vec![0; SLOTS as usize];
        self.sweep.in_flight(&mut sums).unwrap();
        sums
    }

    fn differences(&mut self) -> Differences {
        let mut sums = Differences::new(SLOTS);
        self.sweep.differences(100_000, &mut sums).unwrap();
        sums
    }
}

#[test]
fn what_starts_on_one_thread_may_end_on_another() {
    let mut process = process(2);
    let (mut one, mut other) = (process.thread(), process.thread());
    one.start(599, 100);
    one.start(3, 1);
    assert_eq!((process.in_flight()[599], process.in_flight()[3]), (100, 1));
    other.end(599, 100, Outcome::Cancelled, None);
    assert_eq!((process.in_flight()[599], process.in_flight()[3]), (0, 1));
    other.end(3, 1, Outcome::Success, None);
    assert_eq!(process.in_flight(), vec![0; SLOTS as usize]);
}

#[test]
fn a_process_that_did_nothing_still_has_in_flight_what_it_had() {
    let mut process = process(1);
    let mut thread = process.thread();
    thread.start(7, 1);
    let mut sums = vec![0; SLOTS as usize];
    assert_eq!(process.sweep.stirred(), Ok(true));
    assert!(process.sweep.in_flight(&mut sums).unwrap().moved);
    assert_eq!(process.sweep.stirred(), Ok(false));
    let visit = process.sweep.in_flight(&mut sums).unwrap();
    assert_eq!((visit.moved, visit.in_flight, sums[7]), (false, 1, 2));
    assert_eq!([7, 8, SLOTS].map(|slot| process.sweep.at_slot(slot)), [1, 0, 0]);
}

#[test]
fn what_ended_is_found_by_differences_after_a_visit_as_well() {
    let mut process = process(2);
    let mut thread = process.thread();
    for _ in 0..2 {
        thread.start(7, 1);
        thread.end(7, 1, Outcome::Success, None);
        assert_eq!(process.in_flight()[7], 0);
        assert_eq!(process.differences().ended[7], 1);
        assert_eq!(process.differences().ended[7], 0);
    }
}

#[test]
fn what_each_of_two_threads_counts_in_one_shard_is_noticed() {
    let mut process = process(1);
    let (mut one, mut other) = (process.thread(), process.thread());
    for started in 1..=20 {
        one.start(7, 1);
        assert_eq!(process.in_flight()[7], 2 * started - 1);
        other.start(7, 1);
        assert_eq!(process.in_flight()[7], 2 * started);
    }
}

#[test]
fn what_is_in_flight_is_never_negative_and_never_above_the_cap() {
    let mut process = process(2);
    let mut thread = process.thread();
    thread.end(1, 50, Outcome::Success, None);
    thread.start(2, i32::MAX as u32);
    let sums = process.in_flight();
    assert_eq!((sums[1], sums[2]), (0, 1000));
}

#[test]
fn each_outcome_is_counted_once() {
    let mut process = process(4);
    let mut threads: Vec<_> = (0..4).map(|_| process.thread()).collect();
    let outcomes = [
        Outcome::Success,
        Outcome::Failure,
        Outcome::Unreachable,
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::Rejected,
    ];
    for (index, outcome) in outcomes.into_iter().cycle().take(24).enumerate() {
        threads[index % 4].start(300, 1);
        threads[index % 4].end(300, 1, outcome, Some(2_000));
    }
    threads[0].retried();
    let sums = process.differences();
    let at = |field: &[u32]| field[300];
    assert_eq!(at(&sums.ended), 24);
    for field in [&sums.failed, &sums.unreachable, &sums.expired, &sums.rejected, &sums.cancelled] {
        assert_eq!(at(field), 4);
    }
    assert_eq!(at(&sums.lost_ms), 16, "2 ms of each failure and each expired one");
    assert_eq!(at(&sums.timed), 12, "success, failure and expired");
    assert_eq!(sums.latency_us[300], 24_000);
    assert_eq!(sums.histogram[bucket(2_000)], 12);
    assert_eq!(sums.retried, 1);
    assert_eq!(process.differences(), Differences::new(SLOTS), "once");
    assert!(!process.sweep.differences(0, &mut Differences::new(SLOTS)).unwrap());
}

#[test]
fn an_unreachable_endpoint_is_noticed_by_the_cheap_pass() {
    let mut process = process(2);
    let (mut one, mut other) = (process.thread(), process.thread());
    let mut sums = vec![0; SLOTS as usize];
    one.end(1, 1, Outcome::Failure, None);
    assert!(!process.sweep.in_flight(&mut sums).unwrap().unreachable);
    other.end(1, 1, Outcome::Unreachable, None);
    assert!(process.sweep.in_flight(&mut sums).unwrap().unreachable);
    assert!(!process.sweep.in_flight(&mut sums).unwrap().unreachable);
}

#[test]
fn latencies_are_capped_and_left_out_after_a_gap() {
    let mut process = process(1);
    let mut thread = process.thread();
    thread.end(1, 1, Outcome::Expired, Some(u32::MAX));
    let mut sums = Differences::new(SLOTS);
    process.sweep.differences(1_000_001, &mut sums).unwrap();
    assert_eq!((sums.timed[1], sums.latency_us[1], sums.ended[1]), (0, 0, 1));
    thread.end(1, 1, Outcome::Expired, Some(u32::MAX));
    let sums = process.differences();
    assert_eq!((sums.timed[1], sums.latency_us[1], sums.ended[1]), (1, 10_000_000, 1));
}

#[test]
fn server_reports_are_handed_over_once_and_only_if_they_mean_something() {
    let mut process = process(2);
    let (mut one, mut other) = (process.thread(), process.thread());
    let load = ServerLoad { utilization: 0.5, in_flight: 3, qps: 100.0, eps: 0.0 };
    one.report_load(2, &load);
    one.report_load(2, &ServerLoad { in_flight: 4, ..load });
    other.report_load(400, &load);
    other.report_load(401, &ServerLoad { qps: f32::NAN, ..load });
    let mut reports = vec![];
    process.sweep.reports(|slot, load| reports.push((slot, load.in_flight)));
    assert_eq!(reports, [(2, 4), (400, 3)]);
    process.sweep.reports(|slot, _| panic!("{slot} again"));
}

#[test]
fn counters_that_wrap_are_still_differences() {
    let mut process = process(1);
    let mut thread = process.thread();
    thread.start(5, u32::MAX);
    thread.end(5, u32::MAX, Outcome::Success, None);
    thread.start(5, 10);
    assert_eq!(process.in_flight()[5], 10);
}
