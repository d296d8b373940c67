//! Cases about the content of the segments besides picks: endpoints in a table, counts in counters.

use std::collections::BTreeMap;

use pointsman_table::{Capacity, EndpointRecord, Group, layout};

use super::{
    Counted, Outcome, Step,
    maker::{Files, Maker},
};

pub(crate) fn endpoints() -> Files {
    let record = |slot, address: &str, zone: &str| EndpointRecord {
        zone: zone.into(),
        ..EndpointRecord::new(slot, address.parse().unwrap())
    };
    let mut labelled = record(2, "[2001:db8::7]:65535", "zone-b");
    labelled.weight = 2.5;
    labelled.incarnation = 7;
    labelled.labels = vec![("shard".into(), "3".into()), ("empty".into(), "".into())];
    Maker::new(
        "endpoints",
        24,
        "Records of endpoints: 0 is 10.0.0.1:80 in zone-a, 1 is 10.0.0.2:8080 in zone-a, 2 is \
         [2001:db8::7]:65535 in zone-b with weight 2.5, incarnation 7 and the labels shard=3 and \
         empty=; 3 is 10.0.0.4:1 and has neither zone nor labels. Zones stand in the text once. The \
         last resort is 10.96.0.7:80.",
    )
    .group(&[(0, 1.0), (1, 1.0), (2, 2.5), (3, 1.0)], Group::default())
    .last_resort("10.96.0.7:80")
    .endpoint(record(0, "10.0.0.1:80", "zone-a"))
    .endpoint(record(1, "10.0.0.2:8080", "zone-a"))
    .endpoint(labelled)
    .endpoint(record(3, "10.0.0.4:1", ""))
    .image()
    .picks(10)
    .files()
}

/// These expected words come from the formula in the page, not from the crate.
pub(crate) fn counting() -> Files {
    const SLOTS: u32 = 510;
    let capacity = Capacity { groups: 1, rows: 4, ring: 0, slots: SLOTS, endpoints: 0, text: 0 };
    let mut maker = Maker::with(
        capacity,
        (0, 0),
        "counting",
        25,
        "What stands in the counters at the end, of a process with one thread in shard 0 of 2. The \
         first use of a kind of pages sets their canaries and the kind's bit in the block's USED \
         word. Latencies count for success, failure and expired, capped at 10 s in the sum.",
    );
    maker.group(&[(505, 1.0)], Group::default()).image().picks(2).of_cost(100, 1);
    maker.end_as(505, 1, Outcome::Success, Some(1_500));
    maker.end_as(505, 1, Outcome::Failure, Some(20_000_000));
    maker.end_as(505, 100, Outcome::Expired, None);
    maker.start(0, 1).end_as(0, 1, Outcome::Unreachable, Some(3));
    maker.start(1, 1).end_as(1, 1, Outcome::Rejected, None);
    maker.start(1, 5).end_as(1, 5, Outcome::Cancelled, Some(3));
    maker.start(503, 1).start(504, 1).step(Step::Retried);
    let report = |slot, qps| Step::Report { slot, utilization: 0.75, in_flight: 9, qps, eps: 0.5 };
    maker.step(report(509, 10.0)).step(report(509, 12.5));

    let mut words = BTreeMap::new();
    let canary = 0x5afe_5afe;
    let header = [canary, layout::COUNTERS_MAGIC, layout::VERSION, SLOTS, 2];
    words.extend((0..).zip(header));
    // Two pages of each kind. Every kind is in use.
    words.extend((0..9 * 2).map(|page| ((1 + page) * 1024, canary)));
    let block = 16;
    let (activity, retried, unreachable, reports, used) =
        (block, block + 1, block + 2, block + 3, block + 4);
    words.extend([(retried, 1), (unreachable, 1), (reports, 2), (used, 0x1ff)]);
    // 1,500 us is in [1,024, 1,536): 2^10, first half. 20 s is in [2^24, 1.5 x 2^24).
    words.extend([(block + 16 + 20, 1), (block + 16 + 48, 1)]);
    let mut at = |slot: usize, kind: usize, run: usize, value: u32| {
        let page = 1 + kind * 2 + slot / 504;
        words.insert(page * 1024 + 16 + run * 504 + slot % 504, value);
    };
    for (slot, started, ended) in [(505, 3, 3), (0, 1, 1), (1, 2, 2), (503, 1, 0), (504, 1, 0)] {
        at(slot, 0, 0, started);
        if ended > 0 {
            at(slot, 0, 1, ended);
        }
    }
    for (slot, extra) in [(505, 99), (1, 4)] {
        at(slot, 1, 0, extra);
        at(slot, 1, 1, extra);
    }
    at(505, 2, 0, 2);
    at(505, 2, 1, 10_001_500);
    at(505, 3, 0, 1);
    at(505, 3, 1, 1);
    at(0, 4, 0, 1);
    at(1, 4, 1, 1);
    // 20 s exceeds the cap, so the cap counts. The expired request was not timed.
    at(505, 8, 1, 10_000);
    at(1, 8, 0, 1);
    at(509, 5, 0, 2);
    at(509, 5, 1, 2);
    at(509, 6, 0, 0.75_f32.to_bits());
    at(509, 6, 1, 9);
    at(509, 7, 0, 12.5_f32.to_bits());
    at(509, 7, 1, 0.5_f32.to_bits());
    maker.counters(Counted { slots: SLOTS, shards: 2, not_zero: vec![activity], words }).files()
}
