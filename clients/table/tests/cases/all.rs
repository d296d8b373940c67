//! All cases: those that the page of the format names, and some more. This file has those of draws and
//! choices.

use pointsman_table::{Cell, Group};

use super::{
    maker::{Files, Maker, flat, idle},
    numbers, segments,
};

pub(crate) const EVEN: [(u32, f64); 5] = [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)];

fn closed() -> Cell {
    Cell { limit: 0, ..idle() }
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
        numbers::wrapped(),
        numbers::boundaries(),
        numbers::rounding(),
        numbers::large_scores(),
        numbers::no_structure(),
        segments::endpoints(),
        segments::counting(),
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
         The second is reached by overflow alone, the last not at all. In the second structure the \
         first group has it all; the draw is made all the same.",
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
    .restructure()
    .group(&EVEN, share(u32::MAX))
    .group(&[(7, 1.0)], share(u32::MAX))
    .image()
    .picks(10)
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
    .restructure()
    .group(&[(0, 1.0), (1, 1.0), (2, 1.0)], to(Some(1), u32::MAX))
    .group(&[(3, 1.0)], to(Some(2), u32::MAX))
    .group(&[(4, 1.0), (5, 1.0), (6, 1.0)], to(Some(1), u32::MAX))
    .group(&[(7, 1.0)], share(u32::MAX))
    .image()
    .cells((0..4).map(|slot| (slot, closed())))
    .picks(12)
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
