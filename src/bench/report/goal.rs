//! What a figure has to be, for its bench to succeed.

use std::fmt;

/// The bound that a figure has to meet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    quantity: Quantity,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Ratio,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    AtMost,
    Below,
    Above,
}

impl Goal {
    /// `ratio <= bound`.
    pub fn ratio_at_most(bound: f64) -> Self {
        Self { quantity: Quantity::Ratio, comparison: Comparison::AtMost, bound }
    }

    /// `ratio < bound`.
    pub fn ratio_below(bound: f64) -> Self {
        Self { quantity: Quantity::Ratio, comparison: Comparison::Below, bound }
    }

    /// `ratio > bound`: for rivals that must be worse. Otherwise the bench would prove nothing.
    pub fn ratio_above(bound: f64) -> Self {
        Self { quantity: Quantity::Ratio, comparison: Comparison::Above, bound }
    }

    /// `value <= bound`.
    pub fn value_at_most(bound: f64) -> Self {
        Self { quantity: Quantity::Value, comparison: Comparison::AtMost, bound }
    }

    pub(super) fn met(self, value: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        let measured = match self.quantity {
            Quantity::Ratio => ratio?,
            Quantity::Value => value?,
        };
        Some(match self.comparison {
            Comparison::AtMost => measured <= self.bound,
            Comparison::Below => measured < self.bound,
            Comparison::Above => measured > self.bound,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantity = match self.quantity {
            Quantity::Ratio => "ratio",
            Quantity::Value => "value",
        };
        let comparison = match self.comparison {
            Comparison::AtMost => "<=",
            Comparison::Below => "<",
            Comparison::Above => ">",
        };
        write!(f, "{quantity} {comparison} {}", self.bound)
    }
}
