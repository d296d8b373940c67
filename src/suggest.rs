//! Suggestions for a misspelt word: "did you mean".
//!
//! A name is compared with every service there is, so a comparison must take only nanoseconds. A
//! column of the table of edits is one machine word, after H. Hyyrö, "A Bit-Vector Algorithm for
//! Computing Levenshtein and Damerau Edit Distances" (2003), and a comparison ends as soon as the
//! bound is exceeded.

/// The most suggestions in an error; more would bury the right one.
const MOST: usize = 3;

/// The longest text that can be compared, in bytes, a bit each. No part of a name is longer, and a
/// longer text is no mistyped word.
const LONGEST: usize = u64::BITS as usize;

/// The most edits between a word and a suggestion: a third of its letters, at least one. With more,
/// short names would all suggest each other.
fn most_edits(asked: &str) -> usize {
    (asked.chars().count() / 3).clamp(1, 4)
}

/// The candidates most similar to a word, best first, at most three.
pub fn similar<'a>(asked: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let Some(pattern) = Pattern::new(asked) else { return Vec::new() };
    let mut nearest = Nearest::new();
    for candidate in candidates {
        if let Some(edits) = pattern.edits(candidate, nearest.farthest()) {
            nearest.add(edits, candidate);
        }
    }
    nearest.best().map(str::to_owned).collect()
}

/// The best of all candidates so far, in order, each once.
pub(crate) struct Nearest<T>(Vec<(usize, T)>);

impl<T: Ord + Copy> Nearest<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(MOST + 1))
    }

    /// The most edits that a candidate may have.
    pub(crate) fn farthest(&self) -> usize {
        self.0.get(MOST - 1).map_or(usize::MAX, |(edits, _)| *edits)
    }

    pub(crate) fn takes(&self, edits: usize, candidate: &T) -> bool {
        self.place(edits, candidate).is_some()
    }

    pub(crate) fn add(&mut self, edits: usize, candidate: T) {
        if let Some(place) = self.place(edits, &candidate) {
            self.0.insert(place, (edits, candidate));
            self.0.truncate(MOST);
        }
    }

    fn place(&self, edits: usize, candidate: &T) -> Option<usize> {
        // A service may come twice, with its endpoints and by name only.
        let place = self.0.binary_search(&(edits, *candidate)).err()?;
        (place < MOST).then_some(place)
    }

    pub(crate) fn best(self) -> impl Iterator<Item = T> {
        self.0.into_iter().map(|(_, candidate)| candidate)
    }
}

/// A text that others are compared with.
pub(crate) struct Pattern {
    /// For each byte value, its positions in the text.
    places: [u64; 256],
    length: usize,
    most_edits: usize,
}

impl Pattern {
    /// None: the text is empty or too long.
    pub(crate) fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > LONGEST {
            return None;
        }
        let mut places = [0; 256];
        for (index, byte) in text.bytes().enumerate() {
            places[usize::from(byte)] |= 1 << index;
        }
        Some(Self { places, length: text.len(), most_edits: most_edits(text) })
    }

    /// How many letters must be changed, removed, inserted or swapped with the next one. None: more
    /// than `most`, or too many for a typing error.
    pub(crate) fn edits(&self, candidate: &str, most: usize) -> Option<usize> {
        let most = most.min(self.most_edits);
        if self.length.abs_diff(candidate.len()) > most {
            return None;
        }
        let last = 1 << (self.length - 1);
        let mut edits = self.length;
        let (mut rises, mut falls) = (u64::MAX, 0_u64);
        let (mut equal, mut before) = (0_u64, 0_u64);
        let mut left = candidate.len();
        for byte in candidate.bytes() {
            let places = self.places[usize::from(byte)];
            let swapped = ((!equal & places) << 1) & before;
            let carried = (places & rises).wrapping_add(rises) ^ rises;
            equal = carried | places | falls | swapped;
            let more = falls | !(equal | rises);
            let less = equal & rises;
            edits += usize::from(more & last != 0);
            edits -= usize::from(less & last != 0);
            // Each remaining letter can remove at most one edit.
            left -= 1;
            if edits > most + left {
                return None;
            }
            let (more, less) = (more << 1 | 1, less << 1);
            rises = less | !(equal | more);
            falls = more & equal;
            before = places;
        }
        Some(edits)
    }
}

/// `; did you mean "cart.shop"?`, or an empty text without suggestions.
pub(crate) fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = near.iter().map(|name| format!("\"{name}\"")).collect();
    format!("; did you mean {}?", quoted.join(" or "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_compared_too() {
        assert_eq!(did_you_mean(&[]), "");
        assert_eq!(similar("htpt", ["http", "grpc"]), ["http"]);
        assert_eq!(did_you_mean(&similar("zoen", ["zone"])), "; did you mean \"zone\"?");
    }

    #[test]
    fn a_text_too_long_for_a_name_suggests_nothing() {
        let long = "x".repeat(65);
        assert!(similar(&long, [long.as_str()]).is_empty());
        let longest = "x".repeat(64);
        assert_eq!(similar(&longest[1..], [longest.as_str()]), [longest]);
    }

    proptest! {
        #[test]
        fn edits_are_counted_as_by_the_table(a in "[abc-]{1,64}", b in "[abc-]{0,70}", most in 0_usize..5) {
            let pattern = Pattern::new(&a).unwrap();
            let edits = strsim::osa_distance(&a, &b);
            let counted = (edits <= most.min(most_edits(&a))).then_some(edits);
            prop_assert_eq!(pattern.edits(&b, most), counted);
        }

        #[test]
        fn edits_of_near_texts_are_counted_as_by_the_table(
            a in "[a-e]{3,64}",
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), "[a-e]?"), 0..5),
        ) {
            let mut b = a.clone();
            for (place, letter) in changes {
                let place = place.index(b.len() + 1);
                b.replace_range(place..(place + 1).min(b.len()), &letter);
            }
            let edits = strsim::osa_distance(&a, &b);
            let counted = (edits <= most_edits(&a)).then_some(edits);
            prop_assert_eq!(Pattern::new(&a).unwrap().edits(&b, usize::MAX), counted);
        }
    }
}
