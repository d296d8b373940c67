//! `pointsman pick`: an address for one request.

use std::{io::IsTerminal, time::Duration};

use clap::builder::NonEmptyStringValueParser;

use super::{
    client,
    exit::Failure,
    format,
    output::{self, Format, Page},
};
use crate::{api::v1, printable::printable};

/// Pick an endpoint for one request and print its address.
///
/// With a lease (`-o json` shows it) the pick counts as a request in flight until
/// `pointsman report LEASE`, or until the lease's time is over. Where only the address is printed,
/// nobody can report it: then it is as with --no-report, unless --lease-ttl says how long it counts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which service: name.namespace[@cluster][:port].
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,
    /// Only endpoints with this label; may be given several times.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = format::parse_label)]
    selector: Vec<(String, String)>,
    /// Not this endpoint, such as one already tried; may be given several times.
    #[arg(long, value_name = "IP:PORT")]
    exclude: Vec<String>,
    /// How many distinct endpoints, best first.
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    count: u32,
    /// What the request weighs against others.
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    cost: u32,
    /// What is alike for requests that belong together. No strategy goes by it yet; with
    /// `mode: N%` requests of one key are all balanced, or all not.
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// How long to wait for the source's first answer [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = format::parse_duration, allow_hyphen_values = true)]
    wait: Option<Duration>,
    /// Ask for no lease: how the request went will not be reported. It counts as in flight for about
    /// the time that requests of the service take.
    #[arg(long)]
    no_report: bool,
    /// How long the pick counts as in flight without a report [default: 60s, with --no-report as
    /// long as requests of the service usually take].
    #[arg(long, value_name = "DURATION", value_parser = format::parse_duration, allow_hyphen_values = true)]
    lease_ttl: Option<Duration>,
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

/// Picks and prints.
///
/// # Errors
/// As the agent says.
pub fn run(args: &Args) -> Result<(), Failure> {
    // A script reads standard output alone; a person may want to end what was begun.
    let person = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
    let shown = person || args.output.format == Format::Json;
    let request = v1::PickRequest {
        service: args.service.clone(),
        selector: args.selector.iter().cloned().collect(),
        hash_key: args.key.clone().unwrap_or_default(),
        exclude: args.exclude.clone(),
        count: args.count,
        cost: args.cost,
        wait: args.wait.map(Into::into),
        lease_ttl: args.lease_ttl.map(Into::into),
        no_report: args.no_report || !(shown || args.lease_ttl.is_some()),
    };
    let response: v1::PickResponse = client::post(&args.client, "/v1/pick", &request)?;
    if args.output.format == Format::Json {
        return output::print_json(&response);
    }
    let mut page = Page::new(args.output);
    for pick in &response.picks {
        page.line(format::address(&pick.address, pick.port));
    }
    page.print()?;
    if person {
        for pick in response.picks.iter().filter(|pick| !pick.lease.is_empty()) {
            let lease = printable(&pick.lease);
            eprintln!("in flight until: pointsman report {lease} --outcome success");
        }
    }
    Ok(())
}
