//! `pointsman pick`: an address for one request.

use std::{io::IsTerminal, time::Duration};

use clap::builder::NonEmptyStringValueParser;

use super::{
    client,
    exit::Failure,
    format,
    output::{self, Format},
};
use crate::{api::v1, printable::printable};

/// Pick an endpoint for one request and print its address.
///
/// The pick has a lease, which `-o json` shows. It counts as a request in flight until `pointsman
/// report LEASE`, or until the lease expires. In a pipe the command prints only the address, so the
/// lease cannot be reported. Then --no-report applies, unless --lease-ttl is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service: name.namespace[@cluster][:port].
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    service: String,
    /// Only endpoints with this label; may be given several times.
    #[arg(long, value_name = "LABEL=VALUE", value_parser = format::parse_label)]
    selector: Vec<(String, String)>,
    /// Not this endpoint, such as one already tried; may be given several times.
    #[arg(long, value_name = "IP:PORT")]
    exclude: Vec<String>,
    /// The number of distinct endpoints to print, best first.
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    count: u32,
    /// The weight of the request among those in flight.
    #[arg(long, default_value_t = 1, value_name = "N", allow_negative_numbers = true)]
    cost: u32,
    /// A key that related requests share. No strategy uses it yet. With `mode: N%` requests of one
    /// key are either all balanced or all not.
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// How long to wait for the source's first answer [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = format::parse_duration, allow_hyphen_values = true)]
    wait: Option<Duration>,
    /// Ask for no lease, because nothing reports the outcome. The pick counts as in flight for about
    /// the usual time of the service's requests.
    #[arg(long)]
    no_report: bool,
    /// How long the pick counts as in flight without a report [default: 60s; with --no-report
    /// the usual time of the service's requests].
    #[arg(long, value_name = "DURATION", value_parser = format::parse_duration, allow_hyphen_values = true)]
    lease_ttl: Option<Duration>,
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

/// # Errors
/// The agent's error.
pub fn run(args: &Args) -> Result<(), Failure> {
    // A script reads standard output alone. A person on a terminal can report the lease.
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
    let mut page = args.output.page();
    for pick in &response.picks {
        page.line(format::address(&pick.address, pick.port));
    }
    output::print(&page)?;
    if person {
        for pick in response.picks.iter().filter(|pick| !pick.lease.is_empty()) {
            let lease = printable(&pick.lease);
            eprintln!(
                "the request counts as in flight until: pointsman report {lease} --outcome success"
            );
        }
    }
    Ok(())
}
