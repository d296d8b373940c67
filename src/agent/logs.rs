//! The log on standard error: text for people by default, or JSON for collectors.

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

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// A JSON object on each line.
    Json,
}

/// Starts logging.
///
/// # Errors
/// The filter can't be read.
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

/// A message may quote text of others, such as a wrong annotation. It must not end a line or control a
/// terminal. JSON escapes such text already.
fn field(to: &mut format::Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let mut to = Printable(to);
    match field.name() {
        "message" => write!(to, "{value:?}"),
        name => write!(to, "{name}={value:?}"),
    }
}

/// # Errors
/// The filter can't be read.
pub fn check(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter)
        .map_err(|error| format!("--log {filter:?}: {error}; write info or debug"))
}

/// Changes the filter while the agent runs.
#[derive(Debug)]
pub struct Filter(reload::Handle<EnvFilter, Registry>);

impl Filter {
    /// # Errors
    /// The filter can't be read.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        self.0.reload(parse(filter)?).map_err(|error| error.to_string())
    }
}

fn coloured() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
