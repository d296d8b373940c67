//! `pointsman services`: the services that the agent knows.

use super::{
    client,
    exit::Failure,
    output::{self, Format},
};
use crate::{
    api::v1,
    terminal::{Align, Cell, Table, style},
};

/// List the services that the agent knows.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only services of this namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    client: client::Options,
    #[command(flatten)]
    output: output::Options,
}

/// Prints the services of all pages.
///
/// # Errors
/// The agent's error.
pub fn run(args: &Args) -> Result<(), Failure> {
    let services = all(&args.client, args.namespace.as_deref(), String::new())?;
    if args.output.format == Format::Json {
        let all = v1::ListServicesResponse { services, ..Default::default() };
        return output::print_json(&all);
    }
    let mut page = args.output.page();
    table(&services).write(&mut page);
    output::print(&page)
}

/// All services from a page on; an empty `token` is the first page.
pub(super) fn all(
    options: &client::Options,
    namespace: Option<&str>,
    mut token: String,
) -> Result<Vec<v1::ServiceSummary>, Failure> {
    let mut services = Vec::new();
    loop {
        let namespace = client::escape(namespace.unwrap_or_default());
        let page = client::escape(&token);
        let path = format!("/v1/services?pageSize=1000&namespace={namespace}&pageToken={page}");
        let page: v1::ListServicesResponse = client::get(options, &path)?;
        services.extend(page.services);
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(services);
        }
    }
}

fn table(services: &[v1::ServiceSummary]) -> Table {
    let mut table = Table::new([
        ("SERVICE", Align::Left),
        ("PORT", Align::Left),
        ("READY", Align::Right),
        ("SOURCE", Align::Left),
        ("NOTE", Align::Left),
    ]);
    for service in services {
        if service.ports.is_empty() {
            let name = service.service.as_str().into();
            let note = "endpoints not read yet: ask for it".into();
            table.row(vec![name, "".into(), "".into(), service.source.as_str().into(), note]);
        }
        for port in &service.ports {
            let style = match (port.ready, port.endpoints) {
                (0, _) => style::BAD,
                (ready, all) if ready < all => style::WARN,
                _ => style::GOOD,
            };
            // An older agent does not send the number of wrong settings.
            let wrong = service.problems.len().max(service.wrong_settings as usize);
            let note = match (wrong, service.stale) {
                (0, false) => "".into(),
                (0, true) => Cell::styled("stale", style::WARN),
                (1, _) => Cell::styled("a wrong setting", style::BAD),
                (several, _) => Cell::styled(format!("{several} wrong settings"), style::BAD),
            };
            table.row(vec![
                service.service.as_str().into(),
                port_name(port).into(),
                Cell::styled(format!("{}/{}", port.ready, port.endpoints), style),
                service.source.as_str().into(),
                note,
            ]);
        }
        for problem in &service.problems {
            table.note(format!("! {problem}"));
        }
    }
    table
}

fn port_name(port: &v1::PortSummary) -> String {
    match (port.name.as_str(), port.number) {
        ("", 0) => String::new(),
        ("", number) => number.to_string(),
        (name, 0) => name.to_owned(),
        (name, number) => format!("{name} {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Page;

    #[test]
    fn every_port_has_a_row_with_its_ready_endpoints() {
        let port = |name: &str, number, ready| v1::PortSummary {
            name: name.to_owned(),
            number,
            endpoints: 3,
            ready,
        };
        let service = v1::ServiceSummary {
            service: "cart.shop".to_owned(),
            source: "file:services.yaml".to_owned(),
            version: 1,
            stale: false,
            ports: vec![port("http", 80, 3), port("", 9090, 0)],
            ..Default::default()
        };
        let mut page = Page::new(true, false);
        table(&[service]).write(&mut page);
        let right = "SERVICE    PORT     READY  SOURCE\n\
                     cart.shop  http 80    3/3  file:services.yaml\n\
                     cart.shop  9090       0/3  file:services.yaml\n";
        assert_eq!(page.text(), right);
    }

    #[test]
    fn a_wrong_setting_is_told_beneath_its_service() {
        let port = v1::PortSummary { number: 80, endpoints: 1, ready: 1, ..Default::default() };
        let service = v1::ServiceSummary {
            service: "cart.shop".to_owned(),
            ports: vec![port],
            problems: vec!["annotation pointsman.dev/mode: mode is \"OFFF\"".to_owned()],
            stale: true,
            ..Default::default()
        };
        let mut page = Page::new(true, false);
        table(&[service]).write(&mut page);
        let right = "SERVICE    PORT  READY  NOTE\n\
                     cart.shop  80      1/1  a wrong setting\n    \
                     ! annotation pointsman.dev/mode: mode is \"OFFF\"\n";
        assert_eq!(page.text(), right);
    }

    #[test]
    fn a_service_that_nobody_asked_for_yet_has_a_row_with_its_name() {
        let service = v1::ServiceSummary {
            service: "cart.shop".to_owned(),
            source: "kubernetes".to_owned(),
            ..Default::default()
        };
        let mut page = Page::new(true, false);
        table(&[service]).write(&mut page);
        let text = page.text();
        assert!(text.contains("cart.shop"), "{text}");
        assert!(text.contains("endpoints not read yet: ask for it"), "{text}");
    }
}
