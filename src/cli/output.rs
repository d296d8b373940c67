//! Prints answers to a terminal, a pipe, or as JSON.

use std::io::{self, IsTerminal, Write};

use anstyle::Style;
use clap::ValueEnum;
use serde::Serialize;

use super::exit::Failure;
use crate::printable::{printable, printable_json};

/// The format of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; tab-separated in a pipe.
    #[default]
    Text,
    /// JSON, as in the agent's HTTP API.
    Json,
}

/// Whether an answer is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// With colour.
    Always,
    /// Without colour.
    Never,
}

/// The options of every command that prints.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The format of the answer.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// Whether to colour it.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Colour,
}

/// Collects text for a terminal or a pipe. It escapes the text that it is given, so that only its own
/// styles control the terminal.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Spaces align the columns; otherwise tabs separate them.
    pub aligned: bool,
    colour: bool,
}

impl Page {
    /// An empty page for standard output.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = match options.color {
            Colour::Always => true,
            Colour::Never => false,
            // See no-color.org: set and not empty.
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self { text: String::new(), aligned: terminal, colour }
    }

    #[must_use]
    pub fn for_test(terminal: bool, colour: bool) -> Self {
        Self { text: String::new(), aligned: terminal, colour }
    }

    pub fn line(&mut self, text: impl AsRef<str>) {
        self.styled(&[(style::PLAIN, text.as_ref())]);
    }

    /// Adds a line of pieces, each in a style where there is colour.
    pub fn styled(&mut self, pieces: &[(Style, &str)]) {
        self.joined(pieces, "");
    }

    /// The same with a separator.
    pub fn joined(&mut self, pieces: &[(Style, &str)], by: &'static str) {
        let pieces: Vec<_> = pieces.iter().map(|(style, text)| self.paint(*style, text)).collect();
        self.text.push_str(pieces.join(by).trim_end());
        self.text.push('\n');
    }

    fn paint(&self, style: Style, text: &str) -> String {
        let text = printable(text);
        match self.colour && !text.is_empty() {
            true => format!("{style}{text}{style:#}"),
            false => text.into_owned(),
        }
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    /// Standard output fails, but for a reader that closed the pipe.
    pub fn print(self) -> Result<(), Failure> {
        write(self.text.as_bytes())
    }
}

/// Writes an answer as JSON to standard output.
///
/// # Errors
/// As [`Page::print`].
pub fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(answer).map_err(Failure::other)?;
    text.push('\n');
    write(printable_json(&text).as_bytes())
}

fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // `pointsman services | head -1`
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::other(format!("cannot write the answer: {error}"))),
        Ok(()) => Ok(()),
    }
}

pub mod style {
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
}
