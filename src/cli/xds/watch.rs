//! `pointsman xds watch`: what a control plane tells a client, as it changes.

use std::ops::ControlFlow;

use serde_json::{Map, Value, json};

use super::{
    ask::Ask,
    changes::RowChanges,
    observer::{Change, Observer, State},
    session::{self, Event, Session},
};
use crate::{
    cli::{
        exit::{Failure, Kind},
        output::{self, Format},
    },
    clock,
    printable::{printable, printable_json},
    source::xds::{connection::Cause, server::Address},
};

/// The most rows that a line of text names. JSON has all.
const NAMED: usize = 20;

/// Print what a control plane tells a client, a line for each change, until interrupted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The control plane: `unix:///run/pointsman/xds.sock` or `HOST:PORT`.
    #[arg(value_name = "ADDRESS")]
    address: Address,
    #[command(flatten)]
    ask: Ask,
    /// The format of a line.
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let observer = Observer::new(args.ask.node(), args.ask.selection()?);
    session::run(async {
        let mut session = Session::new(&args.address, observer);
        loop {
            let lines = match session.next().await {
                Event::Opened => vec![Line::of_stream("connected", args.address.to_string())],
                Event::Closed { why, cause: Cause::NotOffered } => {
                    return Err(Failure::new(Kind::NoAgent, why));
                }
                Event::Closed { why, .. } => vec![Line::of_stream("disconnected", why)],
                Event::Changed(changes) => changes.iter().map(Line::of_change).collect(),
            };
            for line in lines {
                if print(&line, args.format)?.is_break() {
                    return Ok(());
                }
            }
        }
    })
}

fn print(line: &Line, format: Format) -> Result<ControlFlow<()>, Failure> {
    let time = humantime::format_rfc3339_millis(clock::wall()).to_string();
    match format {
        Format::Text => output::print_line(&printable(&format!("{time}  {}", line.text))),
        Format::Json => {
            let mut json = line.json.clone();
            json.insert("time".to_owned(), time.into());
            output::print_line(&printable_json(&Value::Object(json).to_string()))
        }
    }
}

/// One change, for a person and for a program.
#[derive(Debug)]
struct Line {
    text: String,
    json: Map<String, Value>,
}

impl Line {
    fn of_stream(event: &str, said: String) -> Self {
        let text = match event {
            "connected" => format!("connected to {said}"),
            _ => format!("{event}: {said}"),
        };
        let json = [("event".to_owned(), json!(event)), ("detail".to_owned(), json!(said))];
        Self { text, json: json.into_iter().collect() }
    }

    fn of_change(change: &Change) -> Self {
        let Change { key: (of_type, name), before, after } = change;
        let mut json: Map<String, Value> = Map::new();
        let mut put = |field: &str, value: Value| {
            json.insert(field.to_owned(), value);
        };
        put("type", json!(of_type.word()));
        put("name", json!(**name));
        let what = match (before, after) {
            (State::There(before), State::There(after)) => {
                put("event", json!("changed"));
                put("version", json!(after.version));
                let changes = RowChanges::between(&before.contents.rows(), &after.contents.rows());
                let fields = changes.json(["added", "removed", "changed"]);
                fields.into_iter().for_each(|(field, value)| put(&field, value));
                format!("{}  {}", after.version, text(&changes))
            }
            (_, State::There(resource)) => {
                put("event", json!("new"));
                put("version", json!(resource.version));
                let rows = resource.contents.rows();
                put(rows.what, rows.json().into());
                format!("{}  new: {}", resource.version, rows.counted())
            }
            (State::There(_) | State::Unreadable(_), State::Missing) => {
                put("event", json!("removed"));
                "removed".to_owned()
            }
            (_, State::Unreadable(why)) => {
                put("event", json!("unreadable"));
                put("detail", json!(why));
                format!("can't be read: {why}")
            }
            (_, State::Missing | State::Unknown) => {
                put("event", json!("missing"));
                "does not exist".to_owned()
            }
        };
        Self { text: format!("{} {name}  {what}", of_type.word()), json }
    }
}

fn text(changes: &RowChanges) -> String {
    let RowChanges { added, removed, changed } = changes;
    let added = added.keys().map(|name| format!("+{name}"));
    let removed = removed.keys().map(|name| format!("-{name}"));
    let changed = changed
        .iter()
        .map(|(name, fields)| format!("{name} ({})", RowChanges::fields(fields, "->")));
    let all: Vec<String> = added.chain(removed).chain(changed).collect();
    match all.len() {
        // Of a field that no row has.
        0 => "changed".to_owned(),
        some if some <= NAMED => all.join(" "),
        more => format!("{} and {} more", all[..NAMED].join(" "), more - NAMED),
    }
}
