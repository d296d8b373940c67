//! Cases with extreme numbers: they wrap, are rounded, are too large, or are missing.

use pointsman_table::{Cell, Group, Random, Row};

use super::{
    all::EVEN,
    maker::{Files, Maker, SMALL, flat, idle},
};

pub(crate) fn wrapped() -> Files {
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

pub(crate) fn boundaries() -> Files {
    // Its second draw is 2^32-1.
    const SEED: u32 = 2_503_788_945;
    let mut random = Random::new(SEED);
    let draws = [random.draw(), random.draw(), random.draw(), random.draw()];
    assert_eq!(draws[1], u32::MAX);
    let product = u64::from(draws[3]) * 3;
    let (row, coin) = (product >> 32, product as u32);
    let share = |threshold| Group { threshold, ..Group::default() };

    let mut maker = Maker::new(
        "boundaries",
        SEED,
        "The first draw is the first group's threshold, which it is not below. The second is \
         2^32-1, which is the second group's and not the third's, that has no share. The fourth's \
         coin is its row's probability, which it is not below: the alias.",
    );
    maker
        .group(&[(0, 1.0)], share(draws[0]))
        .group(&[(1, 1.0)], share(u32::MAX))
        .group(&[(2, 1.0)], share(u32::MAX))
        .image()
        .picks(3);
    assert_eq!(maker.last()[..2], [Some(1), Some(1)]);
    maker
        .restructure()
        .group(&[(3, 1.0), (4, 1.0), (5, 1.0)], Group { choices: 1, ..Group::default() })
        .row(row as usize, |row| Row { probability: coin, alias: 7, ..row })
        .cell(7, idle())
        .image()
        .picks(1);
    assert_eq!(maker.last(), [Some(7)]);
    maker.files()
}

/// Finds numbers for which a different arithmetic would make a different pick.
pub(crate) fn rounding() -> Files {
    let mut maker = Maker::new(
        "rounding",
        21,
        "Each step is rounded to an f32. The second slot's base is the first's score to the bit, so \
         that the first wins the tie; a fused multiply-add, or arithmetic in f64, makes it higher \
         and picks the second.",
    );
    // With these weights the comparison nearly always begins with the first slot.
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

pub(crate) fn large_scores() -> Files {
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

pub(crate) fn no_structure() -> Files {
    Maker::new("no-structure", 23, "A structure without groups: none, and nothing is drawn.")
        .image()
        .picks(2)
        .group(&EVEN, Group::default())
        .image()
        .picks(5)
        .files()
}
