//! `pointsman xds get`: what a client of a control plane is told.

use serde_json::{Value, json};

use super::{
    ask::{Ask, Patience},
    contents::{Rows, text_of},
    observer::{Key, Observer, Resource, State},
    session::{self, Session},
};
use crate::{
    cli::{
        exit::{Failure, Kind},
        format,
        output::{self, Format},
    },
    source::xds::server::Address,
    terminal::{Align, Cell, Page, Table, style},
};

/// Print what a control plane tells a client: each resource with its version, its size and what it says.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The control plane: `unix:///run/pointsman/xds.sock` or `HOST:PORT`.
    #[arg(value_name = "ADDRESS")]
    address: Address,
    #[command(flatten)]
    ask: Ask,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    output: output::Options,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let observer = Observer::new(args.ask.node(), args.ask.selection()?);
    session::run(async {
        let mut session = Session::new(&args.address, observer);
        session.collect(args.patience.timeout).await?;
        print(&session.observer, args.output)
    })
}

fn print(observer: &Observer, options: output::Options) -> Result<(), Failure> {
    let absent = observer.absent();
    let there = observer.told().filter_map(|(key, state)| match state {
        State::There(resource) => Some((key, resource)),
        _ => None,
    });
    if options.format == Format::Json {
        let resources: Vec<Value> = there.map(|(key, resource)| json(key, resource)).collect();
        output::print_json(&json!({ "resources": resources, "problems": absent }))?;
    } else {
        let mut page = options.page();
        let mut first = true;
        for (key, resource) in there {
            if !std::mem::take(&mut first) {
                page.line("");
            }
            write(key, resource, &mut page);
        }
        if first && absent.is_empty() {
            page.line("nothing of this type is published to this client");
        }
        output::print(&page)?;
    }
    match absent.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Kind::NoService, absent.join("\n"))),
    }
}

fn json((of_type, name): &Key, resource: &Resource) -> Value {
    let rows = resource.contents.rows();
    let mut value = json!({
        "type": of_type.word(),
        "name": **name,
        "version": resource.version,
        "bytes": resource.size,
    });
    value[rows.what] = rows.json().into();
    value
}

fn write((of_type, name): &Key, resource: &Resource, page: &mut Page) {
    let rows = resource.contents.rows();
    let what = format!("{} {name}", of_type.word());
    let facts = format!(
        "  version {}, {}, {}",
        resource.version,
        format::count(resource.size as u64, "byte"),
        rows.counted(),
    );
    page.styled(&[(style::HEAD, &what), (style::DIM, &facts)]);
    if !rows.rows.is_empty() {
        table(&rows).write(page);
    }
}

fn table(rows: &Rows) -> Table {
    let columns = [rows.key].into_iter().chain(rows.fields.iter().copied());
    let align = |field: &str| match field {
        "weight" | "zoneWeight" | "priority" => Align::Right,
        _ => Align::Left,
    };
    let mut table = Table::new(columns.map(|field| (header(field), align(field))));
    for (name, row) in &rows.rows {
        let cell = |field: &&str| {
            let text = row.get(field).map(text_of).unwrap_or_default();
            match *field {
                "health" => Cell::styled(&*text, style_of(&text)),
                _ => text.into(),
            }
        };
        table.row([name.as_str().into()].into_iter().chain(rows.fields.iter().map(cell)).collect());
    }
    table
}

/// As the states of an endpoint at an agent.
fn style_of(health: &str) -> anstyle::Style {
    style::of_state(match health {
        "healthy" | "unknown" => "ready",
        "unhealthy" | "timeout" => "unready",
        other => other,
    })
}

/// `zoneWeight` as `ZONE WEIGHT`.
fn header(field: &str) -> String {
    let mut header = String::new();
    for c in field.chars() {
        if c.is_uppercase() {
            header.push(' ');
        }
        header.extend(c.to_uppercase());
    }
    header
}
