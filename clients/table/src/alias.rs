//! Alias rows: a weighted draw in constant time, for any number of endpoints.
//!
//! Walker's method in Vose's construction (A Linear Algorithm for Generating Random Numbers with a
//! Given Distribution, 1991). Each row belongs to one endpoint. It gives the rest of its probability
//! to one other endpoint, its alias.

use crate::structure::Row;

/// Makes the rows for these slots and weights: one for each slot with a weight above 0, in the same
/// order. Weights are relative. A slot whose weight is not finite or not above 0 gets no row.
pub fn alias_rows(weights: &[(u32, f64)]) -> Vec<Row> {
    let weighted = || weights.iter().filter(|(_, w)| w.is_finite() && *w > 0.0);
    let sum: f64 = weighted().map(|(_, w)| w).sum();
    let count = weighted().count() as f64;
    // A row's own part of its slot's weight, where 1 is a whole row.
    let mut own: Vec<f64> = weighted().map(|(_, w)| w / sum * count).collect();
    let mut rows: Vec<Row> =
        weighted().map(|&(slot, _)| Row { probability: u32::MAX, alias: slot, slot }).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..rows.len()).partition(|&i| own[i] < 1.0);
    while let (Some(p), Some(&r)) = (poor.pop(), rich.last()) {
        rows[p].probability = (own[p] * 4_294_967_296.0) as u32;
        rows[p].alias = rows[r].slot;
        own[r] -= 1.0 - own[p];
        if own[r] < 1.0 {
            rich.pop();
            poor.push(r);
        }
    }
    // The rows that remain are whole, except for rounding.
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(rows: &[Row], slots: usize) -> Vec<f64> {
        let mut shares = vec![0.0; slots];
        for row in rows {
            // A row whose alias is itself is whole, whatever its probability.
            let own = f64::from(row.probability) / 4_294_967_296.0;
            shares[row.slot as usize] += own / rows.len() as f64;
            shares[row.alias as usize] += (1.0 - own) / rows.len() as f64;
        }
        shares
    }

    #[test]
    fn shares_are_the_weights() {
        let weights = [(0, 1.0), (1, 2.0), (2, 3.0), (3, 1000.0), (4, 0.5)];
        let sum: f64 = weights.iter().map(|w| w.1).sum();
        for (share, (_, weight)) in shares(&alias_rows(&weights), 5).iter().zip(weights) {
            assert!((share - weight / sum).abs() < 1e-8, "{share} for {weight}");
        }
    }

    #[test]
    fn a_weight_of_zero_or_none_has_no_row() {
        let rows = alias_rows(&[(7, 1.0), (8, 0.0), (9, f64::NAN), (10, -1.0)]);
        assert_eq!(rows, [Row { probability: u32::MAX, alias: 7, slot: 7 }]);
        assert_eq!(alias_rows(&[]), []);
    }
}
