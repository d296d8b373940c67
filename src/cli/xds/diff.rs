//! `pointsman xds diff`: what two control planes tell a client differently.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    ask::{Ask, Patience},
    changes::RowChanges,
    contents::{Row, text_of},
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
    terminal::{Page, style},
};

/// Print what two control planes tell a client differently. Exits with 0 if they tell the same, and with 1 if not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One control plane: `unix:///run/pointsman/xds.sock` or `HOST:PORT`.
    #[arg(value_name = "ADDRESS")]
    one: Address,
    /// The other one.
    #[arg(value_name = "OTHER")]
    other: Address,
    #[command(flatten)]
    ask: Ask,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    output: output::Options,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let selection = args.ask.whole_selection()?;
    let session =
        |address| Session::new(address, Observer::new(args.ask.node(), selection.clone()));
    session::run(async {
        let (mut one, mut other) = (session(&args.one), session(&args.other));
        let patience = args.patience.timeout;
        tokio::try_join!(one.collect(patience), other.collect(patience))?;
        compare(args, &one.observer, &other.observer)
    })
}

fn compare(args: &Args, one: &Observer, other: &Observer) -> Result<(), Failure> {
    let keys: BTreeSet<&Key> = one.told().chain(other.told()).map(|(key, _)| key).collect();
    let missing = State::Missing;
    let state = |observer: &'_ Observer, key: &Key| observer.state(key).unwrap_or(&missing).clone();
    let differences: Vec<(&Key, Difference)> = keys
        .iter()
        .filter_map(|key| Some((*key, Difference::of(&state(one, key), &state(other, key))?)))
        .collect();
    if args.output.format == Format::Json {
        let all: Vec<Value> = differences.iter().map(|(key, it)| it.json(key)).collect();
        let servers = [args.one.to_string(), args.other.to_string()];
        output::print_json(&json!({ "servers": servers, "differences": all }))?;
    } else if !differences.is_empty() {
        let mut page = args.output.page();
        page.styled(&[(style::BAD, &format!("< {}", args.one))]);
        page.styled(&[(style::GOOD, &format!("> {}", args.other))]);
        differences.iter().for_each(|(key, difference)| difference.write(key, &mut page));
        output::print(&page)?;
    }
    let of_other = other.absent();
    let absent: Vec<String> =
        one.absent().into_iter().filter(|why| of_other.contains(why)).collect();
    match (differences.len(), absent.is_empty()) {
        (0, true) => Ok(()),
        // A misspelt name must not look like agreement.
        (0, false) => Err(Failure::new(Kind::NoService, absent.join("\n"))),
        (some, _) => {
            let all = format::count(keys.len() as u64, "resource");
            Err(Failure::new(Kind::Other, format!("{some} of {all} differ")))
        }
    }
}

/// How what two servers say of a resource differs.
#[derive(Debug, PartialEq)]
enum Difference {
    OnlyOne(Box<Resource>),
    OnlyOther(Box<Resource>),
    /// Both have it, with these versions.
    Differs {
        versions: [String; 2],
        rows: RowChanges,
    },
    /// It can't be read from one of them, or from both. What each says.
    Unreadable([String; 2]),
}

impl Difference {
    fn of(one: &State, other: &State) -> Option<Self> {
        Some(match (one, other) {
            (State::There(one), State::There(other)) if one == other => return None,
            (State::There(one), State::There(other)) => Self::Differs {
                versions: [one.version.clone(), other.version.clone()],
                rows: RowChanges::between(&one.contents.rows(), &other.contents.rows()),
            },
            (State::Unreadable(_), _) | (_, State::Unreadable(_)) if one != other => {
                Self::Unreadable([one, other].map(said))
            }
            (State::There(one), _) => Self::OnlyOne(one.clone()),
            (_, State::There(other)) => Self::OnlyOther(other.clone()),
            _ => return None,
        })
    }

    fn json(&self, (of_type, name): &Key) -> Value {
        let mut json = json!({ "type": of_type.word(), "name": **name });
        match self {
            Self::OnlyOne(resource) => {
                json["difference"] = "only in the first".into();
                json["versions"] = json!([resource.version, null]);
            }
            Self::OnlyOther(resource) => {
                json["difference"] = "only in the second".into();
                json["versions"] = json!([null, resource.version]);
            }
            Self::Differs { versions, rows } => {
                json["difference"] = "differs".into();
                json["versions"] = json!(versions);
                for (field, value) in rows.json(["onlySecond", "onlyFirst", "changed"]) {
                    json[field] = value;
                }
            }
            Self::Unreadable(said) => {
                json["difference"] = "unreadable".into();
                json["said"] = json!(said);
            }
        }
        json
    }

    fn write(&self, (of_type, name): &Key, page: &mut Page) {
        let what = format!("{} {name}", of_type.word());
        let only = |resource: &Resource| {
            format!("  version {}, {}", resource.version, resource.contents.rows().counted())
        };
        match self {
            Self::OnlyOne(resource) => {
                page.styled(&[(style::BAD, &format!("< {what}")), (style::DIM, &only(resource))]);
            }
            Self::OnlyOther(resource) => {
                page.styled(&[(style::GOOD, &format!("> {what}")), (style::DIM, &only(resource))]);
            }
            Self::Differs { versions: [one, other], rows } => {
                let version = format!("  version {one} | {other}");
                page.styled(&[(style::HEAD, &format!("! {what}")), (style::DIM, &version)]);
                if *rows == RowChanges::default() {
                    page.line("    what is shown of it is the same");
                }
                for (row, fields) in &rows.removed {
                    page.styled(&[(style::BAD, &format!("    < {row}  {}", fields_of(fields)))]);
                }
                for (row, fields) in &rows.added {
                    page.styled(&[(style::GOOD, &format!("    > {row}  {}", fields_of(fields)))]);
                }
                for (row, fields) in &rows.changed {
                    page.line(format!("    ! {row}  {}", RowChanges::fields(fields, "|")));
                }
            }
            Self::Unreadable([one, other]) => {
                page.styled(&[(style::HEAD, &format!("! {what}"))]);
                page.styled(&[(style::BAD, &format!("    < {one}"))]);
                page.styled(&[(style::GOOD, &format!("    > {other}"))]);
            }
        }
    }
}

fn fields_of(row: &Row) -> String {
    let each = row.iter().map(|(field, value)| format!("{field} {}", text_of(value)));
    each.collect::<Vec<_>>().join(", ")
}

fn said(state: &State) -> String {
    match state {
        State::Unreadable(why) => format!("it can't be read: {why}"),
        State::There(resource) => format!("version {}", resource.version),
        State::Missing | State::Unknown => "it is not there".to_owned(),
    }
}
