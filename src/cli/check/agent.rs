//! Checks the agent's version, clock, sources, settings and leases.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

use super::finding::Finding;
use crate::{
    api::v1,
    cli::{
        client::{self, Answer},
        services,
    },
    clock,
};

/// A larger difference would show in every printed time.
const CLOCKS_APART: Duration = Duration::from_secs(2);
/// A caller is named if so many of its leases, and this share of them, ran out: the thresholds of the
/// alert PointsmanCallerForgets. A program that crashes leaves a few.
const FORGOTTEN: u32 = 10;
const FORGOTTEN_SHARE: f64 = 0.1;
/// The most names in a finding.
const NAMED: usize = 3;

pub(super) fn check(options: &client::Options) -> Vec<Finding> {
    let answer = match client::fetch(options, "/v1/services?pageSize=1000") {
        Ok(answer) => answer,
        Err(failure) => {
            let right = "see what the agent logs";
            return vec![Finding::wrong("agent", failure.to_string(), right)];
        }
    };
    let mut findings =
        vec![version(&answer.head.headers), time(&answer.head.headers, clock::wall())];
    findings.extend(sources(options, &answer));
    findings.extend(leases(options));
    findings
}

/// `None` if the agent is too old for this call.
fn leases(options: &client::Options) -> Option<Finding> {
    let answer = client::fetch(options, "/v1/callers").ok()?;
    let told = answer.head.status.is_success();
    let list: v1::ListCallersResponse =
        told.then(|| serde_json::from_slice(&answer.body).ok()).flatten()?;
    Some(reported(&list.callers))
}

/// The callers with so many expired leases that they spoil balancing: their ended requests still count as
/// in flight.
fn reported(callers: &[v1::CallerSummary]) -> Finding {
    let forgets = |caller: &&v1::CallerSummary| {
        let (given, expired) = (f64::from(caller.leases_given), f64::from(caller.leases_expired));
        caller.leases_expired >= FORGOTTEN && expired > given * FORGOTTEN_SHARE
    };
    let said = |caller: &v1::CallerSummary| {
        let v1::CallerSummary { caller, leases_given, leases_expired, .. } = caller;
        format!("{caller} did not report {leases_expired} of {leases_given} leases")
    };
    let forgetful: Vec<_> = callers.iter().filter(forgets).map(said).collect();
    if forgetful.is_empty() {
        return Finding::good("leases", "nearly all are reported");
    }
    let rest = if forgetful.len() > NAMED { ", ..." } else { "" };
    let named = forgetful.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    Finding::doubtful(
        "leases",
        format!("over the last 10 to 20 minutes, {named}{rest}"),
        "report each pick when its request ends, whatever the outcome; a caller that cannot report \
         sets no_report",
    )
}

fn version(headers: &HeaderMap) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    let product = headers.get(header::SERVER).and_then(|value| value.to_str().ok());
    match product.and_then(|product| product.strip_prefix("pointsman/")) {
        Some(version) if version == own => {
            Finding::good("version", format!("the agent and this command are {own}"))
        }
        Some(version) => Finding::doubtful(
            "version",
            format!("the agent is {version}, this command {own}"),
            "they work together within a major version; if in doubt, use the pointsman of the \
             agent",
        ),
        None => Finding::wrong(
            "version",
            format!("the program that answers is {}", product.unwrap_or("unknown")),
            "set --socket or $POINTSMAN_SOCKET to the agent's socket",
        ),
    }
}

/// Compares the clocks. The agent's time is that of its response, to a second.
fn time(headers: &HeaderMap, now: SystemTime) -> Finding {
    let told = headers.get(header::DATE).and_then(|value| value.to_str().ok());
    let Some(agent) = told.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return Finding::doubtful("clock", "the agent did not send its time", "upgrade it");
    };
    let apart = now.duration_since(agent).unwrap_or_else(|ahead| ahead.duration());
    match apart {
        apart if apart <= CLOCKS_APART => Finding::good("clock", "the same as the agent's"),
        apart => Finding::doubtful(
            "clock",
            format!("the agent's clock differs by {} s", apart.as_secs()),
            "ready times and log times come from the agent's clock: look for a time namespace or a \
             faked clock",
        ),
    }
}

fn sources(options: &client::Options, answer: &Answer) -> Vec<Finding> {
    if !answer.head.status.is_success() {
        let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let message = error["error"]["message"].as_str().unwrap_or("it gave no reason").to_owned();
        let right = "see /readyz on the agent's admin address, and the agent's log";
        return vec![Finding::wrong("sources", message, right)];
    }
    match serde_json::from_slice::<v1::ListServicesResponse>(&answer.body) {
        Ok(v1::ListServicesResponse { mut services, next_page_token, configuration_wrong }) => {
            let mut all = true;
            if !next_page_token.is_empty() {
                match services::all(options, None, next_page_token) {
                    Ok(more) => services.extend(more),
                    Err(_) => all = false,
                }
            }
            let mut findings: Vec<_> =
                configuration_wrong.then(configuration).into_iter().collect();
            findings.extend(known(&services, all));
            findings.extend(settings(&services));
            findings
        }
        Err(error) => {
            let seen = format!("cannot read the list of services: {error}");
            vec![Finding::wrong(
                "sources",
                seen,
                "compare the versions of the agent and this command",
            )]
        }
    }
}

fn known(services: &[v1::ServiceSummary], all: bool) -> Vec<Finding> {
    let more = if all { "" } else { " checked" };
    let named = |of: Vec<&v1::ServiceSummary>| {
        let names: Vec<_> = of.iter().take(NAMED).map(|one| one.service.as_str()).collect();
        let rest = if of.len() > NAMED { ", ..." } else { "" };
        format!("{} of {}{more}: {}{rest}", of.len(), counted(services.len()), names.join(", "))
    };
    let stale: Vec<_> = services.iter().filter(|service| service.stale).collect();
    // An on-demand source may have given only the name of a service that nobody asked for.
    let nobody = |service: &&v1::ServiceSummary| {
        !service.ports.is_empty() && service.ports.iter().all(|port| port.ready == 0)
    };
    let empty: Vec<_> = services.iter().filter(nobody).collect();
    let mut findings = Vec::new();
    if services.is_empty() {
        let right = "compare its --source, and access in its configuration, with what you expect";
        findings.push(Finding::doubtful("sources", "the agent knows no services", right));
    } else if stale.is_empty() {
        let seen = format!("{}{more}", counted(services.len()));
        findings.push(Finding::good("sources", seen));
    } else {
        let right = "their source has been silent for over 10 minutes: see what the agent logs";
        findings.push(Finding::doubtful("sources", format!("stale: {}", named(stale)), right));
    }
    if !empty.is_empty() {
        let right = "see pointsman endpoints SERVICE";
        let seen = format!("no endpoint is ready: {}", named(empty));
        findings.push(Finding::doubtful("endpoints", seen, right));
    }
    findings
}

fn configuration() -> Finding {
    let seen = "the agent's configuration file is wrong, and an earlier one is in force";
    Finding::wrong("configuration", seen, "see its admin page or its log, and correct the file")
}

/// A finding for each wrong setting.
fn settings(services: &[v1::ServiceSummary]) -> Vec<Finding> {
    let wrong = services.iter().flat_map(|service| {
        service.problems.iter().map(|problem| format!("{}: {problem}", service.service))
    });
    let mut findings: Vec<_> =
        wrong.map(|seen| Finding::wrong("settings", seen, "correct it there")).collect();
    if findings.is_empty() {
        findings.push(Finding::good("settings", "all are valid"));
    }
    findings
}

fn counted(services: usize) -> String {
    let s = if services == 1 { "" } else { "s" };
    format!("{services} service{s}")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::cli::check::finding::Verdict;

    fn service(name: &str, ready: u32, stale: bool) -> v1::ServiceSummary {
        let port = v1::PortSummary { endpoints: 3, ready, ..Default::default() };
        v1::ServiceSummary { service: name.into(), stale, ports: vec![port], ..Default::default() }
    }

    #[test]
    fn stale_services_and_those_without_endpoints_are_named() {
        let services =
            [service("a.x", 1, true), service("b.x", 0, false), service("c.x", 2, false)];
        let findings = known(&services, true);
        assert_eq!(findings[0].seen, "stale: 1 of 3 services: a.x");
        assert_eq!(findings[1].seen, "no endpoint is ready: 1 of 3 services: b.x");
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Doubtful));
        assert_eq!(known(&services[2..], false)[0].seen, "1 service checked");
    }

    #[test]
    fn each_wrong_setting_is_wrong_by_itself() {
        let problems = vec!["mode is \"OFFF\"".to_owned(), "zone is \"\"".to_owned()];
        let services = [service("a.x", 1, false), service("b.x", 1, false)];
        assert_eq!(settings(&services)[0].verdict, Verdict::Good);
        let [one, other] = services;
        let findings = settings(&[one, v1::ServiceSummary { problems, ..other }]);
        assert_eq!(findings.len(), 2);
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Wrong));
        assert_eq!(findings[1].seen, "b.x: zone is \"\"");
    }

    #[test]
    fn who_lets_leases_run_out_is_named_with_the_share() {
        let caller = |caller: &str, leases_given, leases_expired| v1::CallerSummary {
            caller: caller.into(),
            leases_given,
            leases_expired,
            ..Default::default()
        };
        let few = [caller("uid 1", 1000, 100), caller("uid 2", 9, 9)];
        assert_eq!(reported(&few).verdict, Verdict::Good);
        let many = [caller("uid 1000", 400, 80), caller("uid 1", 1000, 100)];
        let finding = reported(&many);
        assert_eq!(finding.verdict, Verdict::Doubtful);
        assert!(
            finding.seen.ends_with("minutes, uid 1000 did not report 80 of 400 leases"),
            "{finding:?}"
        );
    }

    #[test]
    fn another_version_is_doubtful_and_another_program_wrong() {
        let version = |product: &str| {
            let value = HeaderValue::from_str(product).unwrap();
            version(&HeaderMap::from_iter([(header::SERVER, value)])).verdict
        };
        assert_eq!(version(concat!("pointsman/", env!("CARGO_PKG_VERSION"))), Verdict::Good);
        assert_eq!(version("pointsman/99.0.0"), Verdict::Doubtful);
        assert_eq!(version("nginx"), Verdict::Wrong);
    }

    #[test]
    fn a_clock_that_differs_is_told_by_how_much() {
        let date = HeaderValue::from_static("Thu, 01 Jan 1970 00:01:00 GMT");
        let headers = HeaderMap::from_iter([(header::DATE, date)]);
        let at = |second| time(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        assert_eq!(at(61).verdict, Verdict::Good);
        assert_eq!(at(20).seen, "the agent's clock differs by 40 s");
    }
}
