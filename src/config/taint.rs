//! The key of a taint, as `kubectl taint` writes it: the name without value and effect.

use std::{fmt, str::FromStr, sync::Arc};

/// Such as `pointsman.dev/agent-not-ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaintKey(pub Arc<str>);

impl FromStr for TaintKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = text.split(['=', ':']).next().unwrap_or_default();
        let fine = |it: char| it.is_ascii_alphanumeric() || "-_./".contains(it);
        match !text.is_empty() && text.chars().all(fine) {
            true => Ok(Self(text.into())),
            false if !key.is_empty() && key.chars().all(fine) => Err(format!(
                "\"{text}\" is more than a key: write {key}; the agent removes the taint whatever \
                 its value and effect"
            )),
            false => Err(format!(
                "\"{text}\" is not the key of a taint: write it as pointsman.dev/agent-not-ready"
            )),
        }
    }
}

impl fmt::Display for TaintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_alone() {
        let key = "pointsman.dev/agent-not-ready";
        assert_eq!(key.parse::<TaintKey>().unwrap().to_string(), key);
        for more in [format!("{key}:NoSchedule"), format!("{key}=true:NoExecute")] {
            let error = more.parse::<TaintKey>().unwrap_err();
            assert!(error.contains(&format!("write {key};")), "{error}");
        }
        for none in ["", ":NoSchedule", "not ready"] {
            assert!(
                none.parse::<TaintKey>().unwrap_err().contains("is not the key of a taint"),
                "{none}"
            );
        }
    }
}
