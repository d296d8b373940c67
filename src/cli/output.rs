//! Prints answers to a terminal, a pipe, or as JSON.

use std::{
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
};

use clap::ValueEnum;
use serde::Serialize;

use super::exit::Failure;
use crate::{
    printable::printable_json,
    terminal::{Page, page},
};

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

impl Options {
    /// An empty page for standard output.
    #[must_use]
    pub fn page(self) -> Page {
        let terminal = io::stdout().is_terminal();
        let colour = match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && page::colour_is_wanted(),
        };
        Page::new(terminal, colour)
    }
}

/// Writes a page to standard output.
///
/// # Errors
/// Standard output fails, but for a reader that closed the pipe.
pub fn print(page: &Page) -> Result<(), Failure> {
    write(page.text().as_bytes())
}

/// Writes an answer as JSON to standard output.
///
/// # Errors
/// As [`print()`].
pub fn print_json(answer: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(answer).map_err(Failure::other)?;
    text.push('\n');
    write(printable_json(&text).as_bytes())
}

/// Writes one line, which is escaped already, to standard output. Break: nobody reads it any more.
///
/// # Errors
/// Standard output fails.
pub fn print_line(line: &str) -> Result<ControlFlow<()>, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(Failure::other(format!("cannot write the answer: {error}"))),
        Ok(()) => Ok(ControlFlow::Continue(())),
    }
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
