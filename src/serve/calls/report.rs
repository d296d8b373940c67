//! `Report`: how picked requests went. Ends their leases.
//!
//! A batch with an invalid field is refused as a whole: a caller that corrects and repeats it must not
//! count half of it twice. An unknown lease does not refuse the batch.

use std::time::Duration;

use smallvec::SmallVec;
use tracing::debug;

use super::{Agent, pick::REQUESTS};
use crate::{
    api::v1,
    identity::Identity,
    leases::{DEFAULT_TTL, Event, LeaseId, Report, Reported},
    publish::{Outcome, ServerLoad},
    serve::{Error, Violation, limits},
};

impl Agent {
    /// # Errors
    /// A field of any report is invalid. Then no report was taken.
    pub fn report(
        &self,
        identity: Identity,
        request: v1::ReportRequest,
    ) -> Result<v1::ReportResponse, Error> {
        if request.reports.len() > limits::MAX_REPORTS {
            let (most, count) = (limits::MAX_REPORTS, request.reports.len());
            let wrong = format!("has {count} reports: send at most {most} at a time");
            return Err(Violation::new("reports", wrong).into());
        }
        let checked =
            request.reports.iter().enumerate().map(|(index, report)| check(index, report));
        let reports: SmallVec<[Report; 1]> = checked.collect::<Result<_, _>>()?;

        let mut response = v1::ReportResponse::default();
        for (sent, report) in request.reports.into_iter().zip(&reports) {
            let known = LeaseId::parse(&sent.lease)
                .map_or(Reported::Unknown, |lease| self.leases.report(identity, lease, report));
            debug!(
                target: REQUESTS,
                caller = %identity,
                lease = sent.lease,
                known = known == Reported::Accepted,
                event = ?report.event,
                "reported"
            );
            match known {
                Reported::Accepted => response.accepted += 1,
                Reported::Unknown => response.unknown.push(sent.lease),
            }
        }
        self.metrics.reported(response.accepted, response.unknown.len());
        Ok(response)
    }
}

fn check(index: usize, report: &v1::Report) -> Result<Report, Violation> {
    let field = |name: &str| format!("reports[{index}].{name}");
    if report.lease.is_empty() {
        return Err(Violation::new(
            field("lease"),
            "is missing: send the lease that the pick returned",
        ));
    }
    // Every field is checked, whether the event uses it or not: an invalid one is the caller's mistake.
    let ttl = limits::lease_ttl(|| field("lease_ttl"), report.lease_ttl.as_ref())?;
    let ttl = ttl.unwrap_or(DEFAULT_TTL);
    let latency = latency(&field, report)?;
    if report.outcome != 0 {
        outcome(&field, report)?;
    }
    let event = match v1::Event::try_from(report.event) {
        Ok(v1::Event::Ended) => Event::Ended(outcome(&field, report)?, latency),
        Ok(v1::Event::Started) => Event::Started(ttl),
        Ok(v1::Event::Renewed) => Event::Renewed(ttl),
        Err(_) => {
            let wrong = format!("is {}: it must be ENDED, STARTED or RENEWED", report.event);
            return Err(Violation::new(field("event"), wrong));
        }
    };
    let load = report.load.as_ref().map(|sent| load(&field, sent)).transpose()?;
    Ok(Report { event, load, retry: report.retry })
}

fn outcome(field: &impl Fn(&str) -> String, report: &v1::Report) -> Result<Outcome, Violation> {
    const RIGHT: &str = "SUCCESS, FAILURE, UNREACHABLE, EXPIRED, CANCELLED or REJECTED";
    match v1::Outcome::try_from(report.outcome) {
        Ok(v1::Outcome::Success) => Ok(Outcome::Success),
        Ok(v1::Outcome::Failure) => Ok(Outcome::Failure),
        Ok(v1::Outcome::Unreachable) => Ok(Outcome::Unreachable),
        Ok(v1::Outcome::Expired) => Ok(Outcome::Expired),
        Ok(v1::Outcome::Cancelled) => Ok(Outcome::Cancelled),
        Ok(v1::Outcome::Rejected) => Ok(Outcome::Rejected),
        Ok(v1::Outcome::Unspecified) => {
            Err(Violation::new(field("outcome"), format!("is missing: send {RIGHT}")))
        }
        Err(_) => Err(Violation::new(
            field("outcome"),
            format!("is {}: it must be {RIGHT}", report.outcome),
        )),
    }
}

fn latency(
    field: &impl Fn(&str) -> String,
    report: &v1::Report,
) -> Result<Option<Duration>, Violation> {
    limits::duration(|| field("latency"), report.latency.as_ref(), limits::MAX_LATENCY)
}

fn load(field: &impl Fn(&str) -> String, sent: &v1::ServerLoad) -> Result<ServerLoad, Violation> {
    let numbers = [
        ("utilization", sent.utilization),
        ("in_flight", sent.in_flight),
        ("qps", sent.qps),
        ("eps", sent.eps),
    ];
    for (name, number) in numbers {
        if !number.is_finite() || number < 0.0 {
            let wrong = format!("is {number}: it must be a number of 0 or more");
            return Err(Violation::new(field(&format!("load.{name}")), wrong));
        }
    }
    Ok(ServerLoad {
        utilization: sent.utilization,
        in_flight: sent.in_flight.round() as u32,
        qps: sent.qps,
        eps: sent.eps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: impl FnOnce(&mut v1::Report)) -> Result<Report, String> {
        let mut report = v1::Report {
            lease: "x".to_owned(),
            outcome: v1::Outcome::Success.into(),
            ..Default::default()
        };
        change(&mut report);
        check(3, &report).map_err(|violation| format!("{} {}", violation.field, violation.wrong))
    }

    #[test]
    fn a_report_ends_its_lease_unless_it_says_otherwise() {
        assert_eq!(report(|_| {}).unwrap().event, Event::Ended(Outcome::Success, None));
        let renewed = report(|sent| sent.event = v1::Event::Renewed.into()).unwrap();
        assert_eq!(renewed.event, Event::Renewed(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_in_the_batch() {
        let wrong = |change: fn(&mut v1::Report)| report(change).unwrap_err();
        assert!(
            wrong(|sent| sent.outcome = 0).starts_with("reports[3].outcome is missing: send SUC")
        );
        assert!(wrong(|sent| sent.outcome = 99).contains("is 99: it must be SUCCESS"));
        assert!(wrong(|sent| sent.event = -1).starts_with("reports[3].event is -1"));
        assert!(wrong(|sent| sent.lease.clear()).starts_with("reports[3].lease is missing"));
        let negative = pbjson_types::Duration { seconds: -3, nanos: 0 };
        assert!(
            report(|sent| sent.latency = Some(negative))
                .unwrap_err()
                .starts_with("reports[3].latency is negative")
        );
    }

    #[test]
    fn a_field_is_checked_though_the_event_has_no_use_for_it() {
        let renewed = |change: fn(&mut v1::Report)| {
            report(|sent| {
                sent.event = v1::Event::Renewed.into();
                sent.outcome = 0;
                change(sent);
            })
        };
        renewed(|_| {}).unwrap();
        assert!(renewed(|sent| sent.outcome = 99).unwrap_err().contains("outcome is 99"));
        let negative = |sent: &mut v1::Report| {
            sent.latency = Some(pbjson_types::Duration { seconds: -3, nanos: 0 });
        };
        assert!(renewed(negative).unwrap_err().contains("latency"));
        let day = pbjson_types::Duration { seconds: 86_400, nanos: 0 };
        assert!(report(|sent| sent.lease_ttl = Some(day)).unwrap_err().contains("lease_ttl"));
    }

    #[test]
    fn a_load_that_is_no_number_is_refused() {
        for number in [f32::NAN, f32::INFINITY, -0.1] {
            let load = v1::ServerLoad { qps: number, ..Default::default() };
            let wrong = report(|sent| sent.load = Some(load)).unwrap_err();
            assert!(wrong.starts_with("reports[3].load.qps is"), "{wrong}");
        }
    }
}
