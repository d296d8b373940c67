//! Collects all metrics for a scrape.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::MetricType,
    registry::{Registry, Unit},
};
use tonic::Code;

use super::{
    encode::{count_alone, count_one, counters, gauge},
    endpoints,
};
use crate::{
    catalog::Service,
    identity::Identity,
    leases::{Account, OUTCOMES, Tally},
    plan::model::Phase,
    policy,
    publish::{Outcome, Tables},
    serve::{
        Agent,
        counters::{Call, PROTOCOLS},
        error::code_name,
    },
};

/// Services with their own series, those picked from first. The others are summed as [`OTHERS`], so that
/// a cluster of 20,000 services does not have 200,000 time series on each node.
const LISTED_SERVICES: usize = 1000;

/// Callers with their own series: those with the most expired leases.
const LISTED_CALLERS: usize = 20;
/// Pairs of service and caller with their own series, for callers that fail where others don't.
const LISTED_AVOIDING: usize = 100;

/// The label for all others: no service can have this name.
const OTHERS: &str = "_other";

/// The optional series of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The series of single endpoints.
    pub endpoints: bool,
}

/// All metrics of an agent, as text. `source_problems`: the problems of all sources now.
#[must_use]
pub fn scrape(
    agent: &Arc<Agent>,
    tables: &Tables,
    series: Series,
    source_problems: usize,
) -> String {
    let mut registry = Registry::with_prefix("pointsman");
    let (agent, tables) = (Arc::clone(agent), tables.clone());
    let collector = AgentCollector { agent, tables, series, source_problems };
    registry.register_collector(Box::new(collector));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        // Can't fail: neither writing to a string nor this collector does.
        Err(fmt::Error) => String::new(),
    }
}

struct AgentCollector {
    agent: Arc<Agent>,
    tables: Tables,
    series: Series,
    source_problems: usize,
}

impl fmt::Debug for AgentCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentCollector").finish_non_exhaustive()
    }
}

impl Collector for AgentCollector {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        build(&mut to)?;
        self.calls(&mut to)?;
        self.services(&mut to)?;
        self.leases(&mut to)?;
        self.sources(&mut to)?;
        self.ejected(&mut to)?;
        self.avoided(&mut to)?;
        self.publishing(&mut to)?;
        match self.series.endpoints {
            true => endpoints::encode(&self.tables, &mut to),
            false => Ok(()),
        }
    }
}

impl AgentCollector {
    fn calls(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.agent.metrics;
        let mut calls =
            counters(to, "calls", "Calls answered, by call, protocol and gRPC status code")?;
        for call in Call::ALL {
            for (protocol, name) in PROTOCOLS {
                for (code, count) in
                    metrics.calls[call as usize][protocol as usize].iter().enumerate()
                {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let code =
                            code_name(Code::from_i32(i32::try_from(code).unwrap_or_default()));
                        let labels = [("call", call.name()), ("protocol", name), ("code", code)];
                        count_one(&mut calls, &labels, count)?;
                    }
                }
            }
        }
        let mut misdirected = counters(
            to,
            "misdirected_requests",
            "Requests for a path or method that does not exist",
        )?;
        count_alone(&mut misdirected, metrics.misdirected.load(Relaxed))?;
        let mut accepted = counters(to, "connections", "Connections accepted on the socket")?;
        let ever = metrics.connections_accepted.load(Relaxed);
        count_alone(&mut accepted, ever)?;
        let mut refused = counters(
            to,
            "connections_refused",
            "Connections closed because the caller, or all callers, held too many",
        )?;
        count_alone(&mut refused, metrics.connections_refused.load(Relaxed))?;
        let ended = metrics.connections_ended.load(Relaxed);
        gauge(
            to,
            "connections_open",
            "Connections open on the socket",
            ever.saturating_sub(ended),
        )?;
        let pods = metrics.pods_listening.load(Relaxed);
        gauge(to, "pods_listening", "Pods that have a listener of their own", pods)?;
        let refused = metrics.pod_folders_refused.load(Relaxed);
        gauge(to, "pod_folders_refused", "Folders of pods that the agent does not serve", refused)?;
        let sessions = self.agent.sessions.in_use() as u64;
        gauge(to, "sessions_open", "Sessions open", sessions)?;
        let watches = self.agent.watches.in_use() as u64;
        gauge(to, "watches_open", "Watches open, of services and of the health", watches)?;
        let unfinished = self.agent.pending.in_use() as u64;
        let text = "Bytes of unfinished requests and unread answers";
        gauge(to, "unfinished_bytes", text, unfinished)
    }

    fn services(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let services = services(&self.agent.resolver.tallies());
        let picked = "Endpoints picked through the socket, by service";
        by_service(to, "picks", picked, &services, |counts| counts.picked)?;
        let elsewhere = "Endpoints picked that are in another zone than this node, by service";
        by_service(to, "picks_other_zone", elsewhere, &services, |counts| counts.picked_elsewhere)?;
        let none = "Picks for which no endpoint could serve, by service";
        by_service(to, "picks_without_endpoint", none, &services, |counts| counts.none)?;
        let shadowed = "Picks that were made only for comparison, while the request went to the \
                        virtual IP, by service";
        by_service(to, "picks_shadowed", shadowed, &services, |counts| counts.shadowed)?;
        let unreported = "Picks with no_report, by service";
        by_service(to, "picks_no_report", unreported, &services, |counts| counts.unreported)?;
        let mut ended = counters(
            to,
            "requests_ended",
            "Picked requests that ended, by service and outcome; unreported ones count as \
             cancelled",
        )?;
        for (service, counts) in &services {
            for (outcome, count) in OUTCOMES.into_iter().zip(counts.ended) {
                let labels = [("service", service.as_str()), ("outcome", outcome_name(outcome))];
                count_one(&mut ended, &labels, count)?;
            }
        }
        let expired = "Leases that nobody reported in time, by service";
        by_service(to, "leases_expired", expired, &services, |counts| counts.expired)
    }

    fn leases(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.agent.metrics;
        let leases = &self.agent.leases;
        gauge(to, "leases_open", "Picked requests not yet reported", leases.open() as u64)?;
        let remembered = leases.remembered() as u64;
        gauge(to, "leases_remembered", "Leases that ended a short while ago", remembered)?;
        self.forgetful(to)?;
        let lost = "Leases of the previous agent that could not be taken over";
        let mut leases_lost = counters(to, "leases_lost", lost)?;
        count_alone(&mut leases_lost, metrics.leases_lost.load(Relaxed))?;
        let mut reports =
            counters(to, "reports", "Reports received, by whether their lease was known")?;
        let accepted = metrics.reports_accepted.load(Relaxed);
        count_one(&mut reports, &[("lease", "known")], accepted)?;
        count_one(&mut reports, &[("lease", "unknown")], metrics.reports_unknown.load(Relaxed))
    }

    /// The callers with expired leases; as a rule there are none.
    fn forgetful(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let forgetful = self.agent.leases.forgetful().take(LISTED_CALLERS);
        let forgetful: Vec<_> = forgetful
            .map(|(who, account)| (self.agent.pods().named(who).to_string(), account))
            .collect();
        let mut encode = |name, help, count: fn(&Account) -> u64| {
            let mut metric = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (caller, account) in &forgetful {
                let labels = [("caller", caller.as_str())];
                metric.encode_family(&labels)?.encode_gauge(&count(account))?;
            }
            Ok(())
        };
        let help = "Leases given over the last 10 to 20 minutes, by caller, if some of them \
                    expired unreported";
        encode("caller_leases", help, |account| account.given)?;
        let help = "Leases that expired unreported over the last 10 to 20 minutes, by caller";
        encode("caller_leases_expired", help, |account| account.expired)
    }

    fn sources(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let catalog = self.agent.resolver.catalog();
        let missing = catalog.unsynced().len() as u64;
        gauge(to, "sources_unsynced", "Sources that have not yet answered", missing)?;
        let help = "What is wrong with sources now; the last good state is in force meanwhile";
        gauge(to, "source_problems", help, self.source_problems as u64)?;
        let services = catalog.list(None);
        gauge(to, "services", "Services known", services.len() as u64)?;
        let stale = services.iter().filter(|service| service.stale).count() as u64;
        gauge(to, "services_stale", "Services not confirmed for over 10 minutes", stale)?;
        self.wrong_settings(to, &services)?;
        let brake = catalog.brake_counts();
        let mut braked = counters(
            to,
            "brake",
            "Times that a service lost so many endpoints at once that the brake held them",
        )?;
        count_alone(&mut braked, brake.triggered)?;
        let held = brake.held as u64;
        gauge(
            to,
            "brake_endpoints_held",
            "Endpoints that the brake holds although their source dropped them",
            held,
        )
    }

    /// The wrong settings of services. The services that come first by name have their own series.
    fn wrong_settings(
        &self,
        to: &mut DescriptorEncoder<'_>,
        services: &[Arc<Service>],
    ) -> fmt::Result {
        let policies = self.tables.policies();
        let wrong = services.iter().map(|service| {
            (service.name.to_string(), policy::problems(&policies, service).count() as u64)
        });
        let wrong: Vec<_> = wrong.filter(|(_, count)| *count > 0).collect();
        let help = "Settings of a service that are wrong and not in force";
        let mut metric = to.encode_descriptor("wrong_settings", help, None, MetricType::Gauge)?;
        for (service, count) in wrong.iter().take(LISTED_SERVICES) {
            metric.encode_family(&[("service", service.as_str())])?.encode_gauge(count)?;
        }
        let others: u64 = wrong.iter().skip(LISTED_SERVICES).map(|(_, count)| count).sum();
        if others > 0 {
            metric.encode_family(&[("service", OTHERS)])?.encode_gauge(&others)?;
        }
        let wrong = u64::from(self.agent.configuration.problem().is_some());
        let help = "1 if the configuration file is wrong and an earlier one is in force";
        gauge(to, "configuration_wrong", help, wrong)
    }

    /// The ejected endpoints, of the services in use that come first by name.
    fn ejected(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Endpoints ejected for their errors, by service";
        let mut ejected =
            to.encode_descriptor("endpoints_ejected", help, None, MetricType::Gauge)?;
        for (service, live) in
            endpoints::of_services(&self.tables).into_iter().take(LISTED_SERVICES)
        {
            let aside = live.standings().into_values();
            let aside = aside.filter(|it| matches!(it.phase, Phase::Ejected { .. })).count() as u64;
            ejected.encode_family(&[("service", service.as_str())])?.encode_gauge(&aside)?;
        }
        Ok(())
    }

    /// The avoided endpoints, by the callers that avoid most.
    fn avoided(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Endpoints that only one caller's picks avoid, since only its requests fail there";
        let mut metric =
            to.encode_descriptor("endpoints_avoided", help, None, MetricType::Gauge)?;
        let mut counts: BTreeMap<(String, Identity), u64> = BTreeMap::new();
        for (service, live) in
            endpoints::of_services(&self.tables).into_iter().take(LISTED_SERVICES)
        {
            for avoided in live.avoided() {
                *counts.entry((service.clone(), avoided.caller)).or_default() += 1;
            }
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let others: u64 = counts.iter().skip(LISTED_AVOIDING).map(|(_, count)| count).sum();
        for ((service, caller), count) in counts.iter().take(LISTED_AVOIDING) {
            let caller = self.agent.pods().named(*caller).to_string();
            let labels = [("service", service.as_str()), ("caller", caller.as_str())];
            metric.encode_family(&labels)?.encode_gauge(count)?;
        }
        if others > 0 {
            let labels = [("service", OTHERS), ("caller", OTHERS)];
            metric.encode_family(&labels)?.encode_gauge(&others)?;
        }
        Ok(())
    }

    fn publishing(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tables = self.tables.all().len() as u64;
        gauge(to, "tables", "Tables: one for each service port and selector in use", tables)?;
        let numbers = self.tables.numbers();
        let mut passes = counters(to, "publications", "Publications of load, of one table each")?;
        count_alone(&mut passes, numbers.passes.load(Relaxed))?;
        let period = Duration::from_nanos(numbers.period_ns.load(Relaxed)).as_secs_f64();
        to.encode_descriptor(
            "publishing_period",
            "Shortest time between two publications of a table; 0 while all tables sleep",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?
        .encode_gauge(&period)?;
        let mut overruns = counters(
            to,
            "publishing_overruns",
            "Publications that were late by more than their period",
        )?;
        count_alone(&mut overruns, numbers.overruns.load(Relaxed))?;
        let mut late = counters(
            to,
            "publishing_late_wakeups",
            "Wake-ups that were lost and found late; each one is a bug",
        )?;
        count_alone(&mut late, numbers.late_wakeups.load(Relaxed))
    }
}

/// The counts of one service, or of all beyond [`LISTED_SERVICES`].
#[derive(Default)]
struct Counts {
    picked: u64,
    picked_elsewhere: u64,
    none: u64,
    shadowed: u64,
    unreported: u64,
    expired: u64,
    ended: [u64; OUTCOMES.len()],
}

fn services(tallies: &[Arc<Tally>]) -> Vec<(String, Counts)> {
    let counted = tallies.iter().take(LISTED_SERVICES);
    let mut services: Vec<(String, Counts)> =
        counted.map(|tally| (tally.service().to_string(), Counts::of([tally]))).collect();
    services.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(others) = tallies.get(LISTED_SERVICES..).filter(|others| !others.is_empty()) {
        services.push((OTHERS.to_owned(), Counts::of(others)));
    }
    services
}

impl Counts {
    fn of<'t>(tallies: impl IntoIterator<Item = &'t Arc<Tally>>) -> Self {
        let mut sum = Self::default();
        for tally in tallies {
            sum.picked += tally.count_picked();
            sum.picked_elsewhere += tally.count_picked_elsewhere();
            sum.none += tally.count_none();
            sum.shadowed += tally.count_shadowed();
            sum.unreported += tally.count_unreported();
            sum.expired += tally.count_expired();
            for (sum, count) in sum.ended.iter_mut().zip(tally.count_ended()) {
                *sum += count;
            }
        }
        sum
    }
}

fn build(to: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut metric = to.encode_descriptor(
        "build_info",
        "The version of this agent; always 1",
        None,
        MetricType::Gauge,
    )?;
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    metric.encode_family(&labels)?.encode_gauge(&1_u64)
}

/// The API's name in lower case.
fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Unreachable => "unreachable",
        Outcome::Expired => "expired",
        Outcome::Cancelled => "cancelled",
        Outcome::Rejected => "rejected",
    }
}

fn by_service(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    services: &[(String, Counts)],
    count: impl Fn(&Counts) -> u64,
) -> fmt::Result {
    let mut metric = counters(to, name, help)?;
    let mut each = services.iter();
    each.try_for_each(|(of, counts)| count_one(&mut metric, &[("service", of)], count(counts)))
}
