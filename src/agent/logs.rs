//! What the agent says on standard error: for people by default, as JSON for collectors.

use std::{
    fmt::{self, Write as _},
    io::{self, IsTerminal},
};

use clap::ValueEnum;
use tracing::field::Field;
use tracing_subscriber::{
    EnvFilter, Registry,
    field::MakeExt,
    fmt::{format, layer},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::printable::Printable;

/// How it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Starts logging what the filter lets through.
///
/// # Errors
/// When the filter can't be read.
pub fn start(filter: &str, format: Format) -> Result<Filter, String> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = layer().with_writer(io::stderr);
    match format {
        Format::Text => {
            let lines = lines.with_ansi(coloured()).with_target(false);
            registry.with(lines.fmt_fields(format::debug_fn(field).delimited(" "))).try_init()
        }
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|error| error.to_string())?;
    Ok(Filter(handle))
}

/// What is said may quote what others wrote, such as a wrong annotation: it must end no line, and command
/// no terminal. As JSON it can't.
fn field(to: &mut format::Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut to = Printable(to);
    match field.name() {
        "message" => write!(to, "{value:?}"),
        name => write!(to, "{name}={value:?}"),
    }
}

/// Whether the filter can be read.
///
/// # Errors
/// When it can't.
pub fn check(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter)
        .map_err(|error| format!("--log {filter:?}: {error}; write info or debug"))
}

/// What is let through, as long as it runs.
#[derive(Debug)]
pub struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    /// Lets something else through.
    ///
    /// # Errors
    /// When the filter can't be read.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        self.0.reload(parse(filter)?).map_err(|error| error.to_string())
    }
}

fn coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
