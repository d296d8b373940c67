//! One figure of a bench, with its floor and its goal.

use serde::Serialize;

use super::goal::Goal;
use crate::sim::estimate::Estimate;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured. Unique within a report.
    pub name: String,
    /// `None` if it could not be measured here. A note says why.
    pub value: Option<f64>,
    /// The unit of `value` and `floor`.
    pub unit: &'static str,
    /// The same figure of a minimal implementation, from the same run.
    pub floor: Option<f64>,
    /// `value / floor`, or the mean of it over seeds or turns.
    pub ratio: Option<f64>,
    /// Such as `ratio <= 1.08`.
    #[serde(serialize_with = "goal_as_text")]
    pub goal: Option<Goal>,
    /// `None` without a goal, or if it was not judged.
    pub met: Option<bool>,
    /// The standard error of the ratio, or of the value where there is no ratio.
    #[serde(skip)]
    pub error: Option<f64>,
    /// The line and column, in a section that is printed as a grid.
    #[serde(skip)]
    pub cell: Option<(String, String)>,
}

impl Row {
    /// A figure without a floor.
    pub fn value(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value: Some(value),
            unit,
            floor: None,
            ratio: None,
            goal: None,
            met: None,
            error: None,
            cell: None,
        }
    }

    /// A figure that could not be measured here.
    pub fn unmeasured(name: impl Into<String>, unit: &'static str) -> Self {
        Self { value: None, ..Self::value(name, 0.0, unit) }
    }

    /// Adds the floor.
    pub fn over(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self.ratio = self.value.map(|value| value / floor);
        self
    }

    /// Sets the ratio from several seeds or turns, each over its own floor. Effects that both met by
    /// chance then cancel.
    pub fn paired(mut self, ratio: Estimate) -> Self {
        self.ratio = Some(ratio.mean);
        self.error = Some(ratio.error);
        self
    }

    /// Adds the standard error of the value.
    pub fn give_or_take(mut self, error: f64) -> Self {
        self.error = Some(error);
        self
    }

    /// Adds the goal, and judges it.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.met = goal.met(self.value, self.ratio);
        self.goal = Some(goal);
        self
    }

    /// Sets its place in a grid.
    pub fn at(mut self, line: impl Into<String>, column: impl Into<String>) -> Self {
        self.cell = Some((line.into(), column.into()));
        self
    }
}

fn goal_as_text<S: serde::Serializer>(goal: &Option<Goal>, to: S) -> Result<S::Ok, S::Error> {
    match goal {
        Some(goal) => to.collect_str(goal),
        None => to.serialize_none(),
    }
}
