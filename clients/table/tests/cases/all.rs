//! Every case that the format's page names, and some that its reading needed.

use std::collections::BTreeMap;

use pointsman_table::{Capacity, Cell, EndpointRecord, Group, Random, layout};

use super::{
    Counted, Outcome, Step,
    maker::{Files, Maker, SMALL, idle},
};

const EVEN: [(u32, f64); 5] = [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)];

fn closed() -> Cell {
    Cell { limit: 0, ..idle() }
}

fn flat(base: f32) -> Cell {
    Cell { base, slope: 0.0, ..idle() }
}

fn share(threshold: u32) -> Group {
    Group { threshold, ..Group::default() }
}

pub(crate) fn all() -> Vec<Files> {
    vec![
        ties(),
        weights_1000_to_1(),
        weights_1_to_0(),
        groups_of_1_and_2(),
        share_0(),
        negative_own(),
        limits(),
        closed_with_negative_own(),
        all_excluded(),
        cost_100(),
        hot_and_cold(),
        bounded_hash(),
        no_key(),
        overflow(),
        several_groups(),
        fallback(),
        four_choices(),
        eight_choices(),
        random(),
        wrapped(),
        rounding(),
        large_scores(),
        no_structure(),
        endpoints(),
        counting(),
    ]
}

fn ties() -> Files {
    Maker::new("ties", 1, "Equal scores: the first drawn wins. Nothing adds to a score here.")
        .group(&EVEN, Group::default())
        .cells((0..5).map(|slot| (slot, flat(2.0))))
        .image()
        .picks(40)
        .files()
}

fn weights_1000_to_1() -> Files {
    Maker::new(
        "weights-1000-to-1",
        2,
        "The heavy slot is drawn again and again: after four redraws the second candidate is the \
         next row's own slot that is another. Scores rise with every pick.",
    )
    .group(&[(0, 1000.0), (1, 1.0), (2, 1.0), (3, 1.0)], Group::default())
    .image()
    .picks(60)
    .files()
}

fn weights_1_to_0() -> Files {
    Maker::new("weights-1-to-0", 3, "A slot of weight 0 has no row, and is never picked.")
        .group(&[(0, 1.0), (1, 0.0), (2, 1.0), (3, 1.0)], Group::default())
        .image()
        .picks(20)
        .restructure()
        .group(&[(4, 1.0), (5, 0.0)], Group::default())
        .image()
        .picks(5)
        .files()
}

fn groups_of_1_and_2() -> Files {
    Maker::new(
        "groups-of-1-and-2",
        4,
        "No more rows than choices: all are candidates, beginning with a drawn one; a single row \
         draws nothing, as the draws of the third structure show.",
    )
    .group(&[(0, 1.0)], Group::default())
    .image()
    .picks(5)
    .restructure()
    .group(&[(1, 3.0), (2, 1.0)], Group::default())
    .image()
    .picks(7)
    .end(1, 1)
    .picks(3)
    .restructure()
    .group(&EVEN, Group::default())
    .image()
    .picks(10)
    .files()
}

fn share_0() -> Files {
    Maker::new(
        "share-0",
        5,
        "The second and the last group have no share: their thresholds are those before them. \
         The second is reached by overflow alone, the last not at all.",
    )
    .group(
        &[(0, 1.0), (1, 1.0), (2, 1.0)],
        Group { overflow: Some(1), spill_at: 3.0, ..share(u32::MAX / 2) },
    )
    .group(&[(3, 1.0), (4, 1.0)], share(u32::MAX / 2))
    .group(&[(5, 1.0), (6, 1.0)], share(u32::MAX))
    .group(&[(7, 1.0)], share(u32::MAX))
    .image()
    .picks(60)
    .files()
}

fn negative_own() -> Files {
    Maker::new(
        "negative-own",
        6,
        "Requests that end after the publication that counts them: own goes below 0, and the \
         score below the base. It begins anew with the next publication.",
    )
    .group(&EVEN, Group::default())
    .cells((0..5).map(|slot| (slot, Cell { base: 4.0, ..idle() })))
    .image()
    .end(3, 1)
    .end(3, 1)
    .end(1, 1)
    .picks(20)
    .publish()
    .picks(10)
    .files()
}

fn limits() -> Files {
    Maker::new(
        "limits",
        7,
        "A slot is eligible while own is below its limit. Each takes two; with the candidates at \
         their limits the rest of the group is scanned, and at the end there is none.",
    )
    .group(&EVEN, Group::default())
    .cells((0..5).map(|slot| (slot, Cell { limit: 2, ..idle() })))
    .image()
    .picks(12)
    .end(4, 1)
    .picks(2)
    .cell(0, Cell { limit: -1, ..idle() })
    .end(0, 1)
    .picks(1)
    .end(0, 1)
    .end(0, 1)
    .end(0, 1)
    .picks(3)
    .files()
}

fn closed_with_negative_own() -> Files {
    Maker::new("closed-with-negative-own", 8, "Limit 0 closes a slot even where own is -1.")
        .group(&[(0, 1.0), (1, 1.0), (2, 1.0)], Group::default())
        .cell(1, closed())
        .image()
        .end(1, 1)
        .picks(20)
        .files()
}

fn all_excluded() -> Files {
    Maker::new(
        "all-excluded",
        9,
        "A request excludes slots that it has tried; with all of them excluded the answer is none, \
         and the draws that were made are made.",
    )
    .group(&EVEN, Group::default())
    .image()
    .without(&[2], 10)
    .without(&[0, 1, 3, 4], 3)
    .without(&[0, 1, 2, 3, 4], 2)
    .picks(5)
    .files()
}

fn cost_100() -> Files {
    Maker::new("cost-100", 10, "A request of cost 100 adds 100 to own, and takes it away again.")
        .group(&EVEN, Group::default())
        .image()
        .of_cost(100, 3)
        .picks(10)
        .end(0, 100)
        .end(1, 100)
        .picks(10)
        .files()
}

fn hot_and_cold() -> Files {
    let cell = |base, knee| Cell {
        base,
        slope: 0.25,
        knee,
        hot_base: 1000.0,
        hot_slope: 3.0,
        limit: i32::MAX,
    };
    Maker::new(
        "hot-and-cold",
        11,
        "A slot becomes hot as soon as own reaches its knee; one with knee 0 is hot while own is \
         not negative.",
    )
    .group(&EVEN, Group { choices: 3, ..Group::default() })
    .cells((0..5).map(|slot| (slot, cell(slot as f32, slot as f32))))
    .image()
    .picks(25)
    .end(0, 1)
    .end(0, 1)
    .end(0, 1)
    .picks(5)
    .files()
}

fn bounded_hash() -> Files {
    let ring = [0, 0, 1, 2, 1, 3, 3, 0, 2, 4, 1];
    let mut maker = Maker::new(
        "bounded-hash",
        12,
        "The key's row by xxh32 modulo the rows; from there the first distinct slot below its bound, \
         whatever its score; past the choices by a scan. Keys of all lengths.",
    );
    maker.ring(&ring, Group::default());
    maker.cells((0..5).map(|slot| (slot, Cell { limit: 6, ..idle() }))).image();
    let long = "a key that is longer than sixteen bytes, and than thirty-two";
    for key in ["", "a", "user", "user-7", "sixteen bytes ok", long] {
        maker.by_key(key, 3);
    }
    maker.by_key("hot", 12).cell(2, closed()).by_key("hot", 3).files()
}

fn no_key() -> Files {
    Maker::new("no-key", 13, "Without a key a hashed group takes a random row, from one draw.")
        .ring(&[0, 1, 2, 3, 4], Group { choices: 1, ..Group::default() })
        .image()
        .picks(20)
        .cell(3, closed())
        .picks(20)
        .files()
}

fn overflow() -> Files {
    let mut maker = Maker::new(
        "overflow",
        14,
        "The winner of the first group scores spill_at or more: the overflow group's winner is \
         taken if it is lower by more than spill_margin, and there is no chain from there. Equal \
         to the margin is not enough.",
    );
    maker
        .group(
            &[(0, 1.0), (1, 1.0), (2, 1.0)],
            Group { overflow: Some(1), spill_at: 3.0, spill_margin: 1.0, ..share(1 << 31) },
        )
        .group(
            &[(3, 1.0), (4, 1.0), (5, 1.0)],
            Group { overflow: Some(2), spill_at: 2.0, spill_margin: 0.5, ..share(u32::MAX) },
        )
        .group(&[(6, 1.0), (7, 1.0)], share(u32::MAX));
    let bases = [3.0, 3.5, 2.9, 2.0, 2.5, 1.9, 0.0, 0.0];
    maker.cells((0..).zip(bases).map(|(slot, base)| (slot, Cell { base, slope: 0.25, ..idle() })));
    maker.image().picks(60).files()
}

fn several_groups() -> Files {
    Maker::new(
        "several-groups",
        15,
        "A draw finds the group by cumulative thresholds, then the candidates are drawn there.",
    )
    .group(&[(0, 1.0), (1, 2.0), (2, 3.0)], share(1 << 30))
    .group(&[(3, 1.0)], share(1 << 31))
    .group(&[(4, 1.0), (5, 1.0), (6, 5.0)], share(3 << 30))
    .group(&[(7, 1.0), (0, 1.0), (1, 1.0)], share(u32::MAX))
    .image()
    .picks(80)
    .files()
}

fn fallback() -> Files {
    let to = |overflow, threshold| Group { overflow, ..share(threshold) };
    Maker::new(
        "fallback",
        16,
        "Nobody eligible: the rest of the group from the row looked at last, then the overflow \
         groups one after the other, each once, then all rows from a drawn one on, first those of \
         weighted groups, then the ring.",
    )
    .group(&[(0, 1.0), (1, 1.0), (2, 1.0)], to(Some(1), 1 << 31))
    .group(&[(3, 1.0), (4, 1.0), (5, 1.0)], to(Some(0), u32::MAX))
    .ring(&[6, 7, 7, 7, 7, 7], share(u32::MAX))
    .cells([0, 1].map(|slot| (slot, closed())))
    .image()
    .picks(10)
    .cell(2, closed())
    .picks(10)
    .cells([3, 4].map(|slot| (slot, closed())))
    .picks(10)
    .cell(5, closed())
    .picks(10)
    .cell(0, idle())
    .without(&[6, 7], 4)
    .cells([0, 6, 7].map(|slot| (slot, closed())))
    .picks(2)
    .cells((0..8).map(|slot| (slot, idle())))
    .picks(5)
    .files()
}

fn choices(name: &str, seed: u32, about: &str, choices: u32) -> Files {
    let weights: Vec<_> = (0..8).map(|slot| (slot, f64::from(1 + slot % 3))).collect();
    let nine = [&weights[..], &[(0, 1.0)]].concat();
    Maker::new(name, seed, about)
        .group(if choices == 8 { &nine } else { &weights }, Group { choices, ..Group::default() })
        .cells((0..8).map(|slot| (slot, Cell { base: (slot % 2) as f32, ..idle() })))
        .image()
        .picks(30)
        .without(&[1, 2], 20)
        .files()
}

fn four_choices() -> Files {
    choices("four-choices", 17, "Four distinct candidates, drawn one after the other.", 4)
}

fn eight_choices() -> Files {
    choices(
        "eight-choices",
        18,
        "Eight candidates, the most there are, of nine rows: most are found by stepping on.",
        8,
    )
}

fn random() -> Files {
    Maker::new("random", 19, "One choice: the score plays no part, one draw a pick.")
        .group(&[(0, 1.0), (1, 2.0), (2, 4.0)], Group { choices: 1, ..Group::default() })
        .cells([(0, flat(0.0)), (1, flat(0.0)), (2, flat(9.0))])
        .image()
        .picks(40)
        .cell(2, closed())
        .picks(10)
        .files()
}

fn wrapped() -> Files {
    let weights = |slots: [u32; 3]| slots.map(|slot| (slot, 1.0));
    Maker::with(
        SMALL,
        (u32::MAX - 1, u32::MAX - 1),
        "wrapped",
        20,
        "Generation and publication 2^32-1, then generation 2 (in the other bank: 0 is never \
         published, and 1 would be in the same) and publication 1.",
    )
    .group(&weights([0, 1, 2]), Group::default())
    .image()
    .picks(10)
    .restructure()
    .group(&weights([3, 4, 5]), Group::default())
    .image()
    .picks(10)
    .restructure()
    .group(&weights([5, 6, 7]), Group::default())
    .image()
    .picks(10)
    .files()
}

/// Looks for numbers at which another arithmetic makes another pick.
fn rounding() -> Files {
    let mut maker = Maker::new(
        "rounding",
        21,
        "Each step is rounded to an f32. The second slot's base is the first's score to the bit, so \
         that the first wins the tie; a fused multiply-add, or arithmetic in f64, makes it higher \
         and picks the second.",
    );
    // By these weights the comparison all but always begins with the first slot.
    maker.group(&[(0, 1e9), (1, 1.0)], Group::default()).image().start(0, 3);
    let mut random = Random::new(21);
    let mut number = || (random.draw() % 1_000_000) as f32 / 131_071.0;
    let mut found = 0;
    while found < 6 {
        let (base, slope) = (number(), number());
        let rounded = base + slope * 3.0;
        let fused = slope.mul_add(3.0, base);
        let wide = f64::from(base) + f64::from(slope) * 3.0;
        if fused > rounded && wide > f64::from(rounded) {
            found += 1;
            maker.cell(0, Cell { base, slope, ..idle() });
            maker.cell(1, flat(rounded)).picks(1).end(0, 1);
            assert_eq!(maker.last(), [Some(0)]);
        }
    }
    maker.files()
}

fn large_scores() -> Files {
    Maker::new(
        "large-scores",
        22,
        "Scores may become infinite by addition, and are compared as such: a tie of two goes to \
         the first. Own is turned into an f32 before it is held against the knee.",
    )
    .group(&[(0, 1.0), (1, 1.0)], Group::default())
    .cells([0, 1].map(|slot| (slot, Cell { base: f32::MAX, slope: f32::MAX, ..idle() })))
    .image()
    .picks(5)
    // 16,777,219 is 16,777,220 as an f32, which is not below the knee.
    .cell(0, Cell { base: 0.0, slope: 1.0, knee: 16_777_220.0, hot_base: 3.0, ..idle() })
    .cell(1, flat(4.0))
    .publish()
    .start(0, 16_777_218)
    .picks(1)
    .start(0, 1)
    .picks(2)
    .files()
}

fn no_structure() -> Files {
    Maker::new("no-structure", 23, "A structure without groups: none, and nothing is drawn.")
        .image()
        .picks(2)
        .group(&EVEN, Group::default())
        .image()
        .picks(5)
        .files()
}

fn endpoints() -> Files {
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
         empty=; 3 is 10.0.0.4:1 and has neither zone nor labels. Zones stand in the text once.",
    )
    .group(&[(0, 1.0), (1, 1.0), (2, 2.5), (3, 1.0)], Group::default())
    .endpoint(record(0, "10.0.0.1:80", "zone-a"))
    .endpoint(record(1, "10.0.0.2:8080", "zone-a"))
    .endpoint(labelled)
    .endpoint(record(3, "10.0.0.4:1", ""))
    .image()
    .picks(10)
    .files()
}

/// Expected words are worked out here from the page's formula, not by the crate.
fn counting() -> Files {
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
    // Two pages of each kind, and every kind is used.
    words.extend((0..8 * 2).map(|page| ((1 + page) * 1024, canary)));
    let block = 16;
    let (activity, retried, unreachable, reports, used) =
        (block, block + 1, block + 2, block + 3, block + 4);
    words.extend([(retried, 1), (unreachable, 1), (reports, 2), (used, 0xff)]);
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
    at(509, 5, 0, 2);
    at(509, 5, 1, 2);
    at(509, 6, 0, 0.75_f32.to_bits());
    at(509, 6, 1, 9);
    at(509, 7, 0, 12.5_f32.to_bits());
    at(509, 7, 1, 0.5_f32.to_bits());
    maker.counters(Counted { slots: SLOTS, shards: 2, not_zero: vec![activity], words }).files()
}
