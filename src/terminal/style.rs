//! What stands out, and how.

use anstyle::{AnsiColor, Style};

pub const HEAD: Style = Style::new().bold();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default();
pub const DIM: Style = Style::new().dimmed();
pub const PLAIN: Style = Style::new();

/// The style of an endpoint's state or health.
#[must_use]
pub fn of_state(state: &str) -> Style {
    match state {
        "serving" | "ready" => GOOD,
        "probing" | "draining" => WARN,
        "ejected" | "unready" => BAD,
        "standby" | "out" => DIM,
        _ => PLAIN,
    }
}
