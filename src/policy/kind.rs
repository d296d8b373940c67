//! The kinds of settings: how the text of each is read and printed.

use std::{ops::RangeInclusive, time::Duration};

use super::Policy;

/// The values of a setting, and where they stand in a [`Policy`].
pub enum Kind {
    /// Words, or another text.
    Text {
        /// The valid values, for a person: `off, shadow or on`.
        range: &'static str,
        /// Accepts what is valid, for a schema.
        pattern: &'static str,
        /// Values for an editor to suggest.
        examples: &'static [&'static str],
        /// Which of true and false are valid without quotes.
        booleans: &'static [bool],
        /// Reads it; None: the text is invalid.
        set: fn(&mut Policy, &str) -> Option<()>,
        /// Prints it.
        get: fn(&Policy) -> String,
        /// A hint on what an invalid value probably means; empty: none.
        hint: fn(&str) -> &'static str,
    },
    /// A whole number.
    Whole {
        /// The lowest and the highest.
        bounds: RangeInclusive<u32>,
        /// Where it stands.
        field: fn(&mut Policy) -> &mut u32,
    },
    /// A number.
    Number {
        /// The lowest and the highest.
        bounds: RangeInclusive<f64>,
        /// Where it stands.
        field: fn(&mut Policy) -> &mut f64,
    },
    /// The length of an ejection.
    Ejection {
        /// A usual one, for a person.
        example: &'static str,
        /// Where it stands.
        field: fn(&mut Policy) -> &mut Duration,
    },
}

/// Shortest and longest ejection. A shorter one gives the endpoint no rest; a longer one would be
/// an outage whose cause nobody remembers.
const EJECTION: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

impl Kind {
    /// Sets it from text; None: the text is invalid.
    pub(super) fn set(&self, policy: &mut Policy, text: &str) -> Option<()> {
        match self {
            Self::Text { set, .. } => set(policy, text)?,
            Self::Whole { bounds, field } => {
                *field(policy) = text.parse().ok().filter(|number| bounds.contains(number))?;
            }
            Self::Number { bounds, field } => {
                *field(policy) = text.parse().ok().filter(|number| bounds.contains(number))?;
            }
            Self::Ejection { field, .. } => {
                let read = humantime::parse_duration(text).ok();
                *field(policy) = read.filter(|length| EJECTION.contains(length))?;
            }
        }
        Some(())
    }

    /// Its value as text, which [`Self::set`] takes.
    pub(super) fn get(&self, policy: &Policy) -> String {
        // Fields are found in a policy that may be changed.
        let mut policy = policy.clone();
        match self {
            Self::Text { get, .. } => get(&policy),
            Self::Whole { field, .. } => field(&mut policy).to_string(),
            // Rounded, since the default of a third has no finite decimal form.
            Self::Number { field, .. } => {
                format!("{}", (*field(&mut policy) * 1e4).round() / 1e4)
            }
            Self::Ejection { field, .. } => {
                humantime::format_duration(*field(&mut policy)).to_string()
            }
        }
    }

    /// The valid values, for a person: `1 to 8`.
    pub fn range(&self) -> String {
        match self {
            Self::Text { range, .. } => (*range).to_owned(),
            Self::Whole { bounds, .. } => format!("{} to {}", bounds.start(), bounds.end()),
            Self::Number { bounds, .. } => format!("{} to {}", bounds.start(), bounds.end()),
            Self::Ejection { example, .. } => {
                let [least, most] = [EJECTION.start(), EJECTION.end()]
                    .map(|length| humantime::format_duration(*length));
                format!("a duration of {least} to {most}, such as {example}")
            }
        }
    }

    /// A hint on what an invalid value probably means; empty: none.
    pub(super) fn hint(&self, text: &str) -> &'static str {
        match self {
            Self::Text { hint, .. } => hint(text),
            _ => "",
        }
    }
}
