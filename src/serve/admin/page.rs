//! The front page: the agent's settings, sources, callers and publishing.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    html::{HEAD, escape, table},
    state::AdminState,
};
use crate::{
    identity::{Identity, Pods},
    leases::Account,
    policy,
    quota::Quota,
    serve::Agent,
};

/// The most callers, and the most wrong settings, that are listed.
const LISTED: usize = 20;

pub(super) fn page(state: &AdminState, missing: &[String]) -> String {
    let mut page = String::from(HEAD);
    let readiness = match missing {
        [] => "<b>ready</b>".to_owned(),
        missing => format!("<b class=bad>not ready</b>: {}", escape(&missing.join("; "))),
    };
    let agent = &state.agent;
    let configuration = agent.configuration().problem().map_or_else(String::new, |problem| {
        let problem = escape(&problem);
        format!("<p><b class=bad>an earlier configuration is in force</b>: {problem}</p>\n")
    });
    let services = agent.resolver().catalog().list(None);
    let stale = services.iter().filter(|service| service.stale).count();
    let mut put = |line: String| page.push_str(&line);
    put(format!("<h1>pointsman {}</h1>\n<p>{readiness}</p>\n", env!("CARGO_PKG_VERSION")));
    put(configuration);
    put(format!(
        "<p>{} services, {stale} of them stale; {} open leases. <a href=/livez>/livez</a> \
         <a href=/readyz>/readyz</a> <a href=/metrics>/metrics</a></p>\n",
        services.len(),
        agent.leases().open(),
    ));

    let locality = state.tables.locality();
    let place = [("zone", &locality.zone), ("region", &locality.region), ("node", &locality.node)];
    let place = place
        .map(|(name, value)| [name.to_owned(), value.as_deref().unwrap_or("not known").to_owned()]);
    let settings = state.settings.iter().map(|(name, value)| [(*name).to_owned(), value.clone()]);
    put(table("Settings", ["", ""], settings.chain(place)));
    let sources = state.sources.iter().map(|source| {
        let problems = source.problems();
        let said = match (source.synced(), problems.is_empty()) {
            (true, true) => "answered".to_owned(),
            (synced, _) => {
                let kept = if synced { "the last good state is served: " } else { "no answer: " };
                format!("{kept}{}", problems.join("; "))
            }
        };
        [source.name(), said]
    });
    put(table("Sources", ["source", ""], sources));
    let policies = state.tables.policies();
    let wrong = services.iter().flat_map(|service| {
        let problems = policy::problems(&policies, service).texts();
        problems.into_iter().map(|problem| [service.name.to_string(), problem])
    });
    put(table("Wrong settings, which have no effect", ["service", ""], wrong.take(LISTED)));
    put(table("Connections", ["caller", "open"], holders(agent.pods(), agent.connections())));
    put(table("Sessions", ["caller", "open"], holders(agent.pods(), agent.sessions())));
    put(table("Watches", ["caller", "open"], holders(agent.pods(), agent.watches())));
    let pending = holders(agent.pods(), agent.pending());
    put(table("Unfinished requests", ["caller", "bytes"], pending));
    put(table("Followed services", ["caller", "followed"], followed(agent)));
    put(table("Leases", ["caller", "open"], leases(agent)));

    put(table(
        "Leases that ran out, over the last 10 to 20 minutes",
        ["caller", ""],
        forgetful(agent),
    ));

    let numbers = state.tables.numbers();
    let period = match numbers.period_ns.load(Relaxed) {
        0 => "asleep: nothing changes".to_owned(),
        period => format!("{:?}", Duration::from_nanos(period)),
    };
    let publishing = [
        ("tables", state.tables.all().len().to_string()),
        ("shortest period", period),
        ("publications", numbers.passes.load(Relaxed).to_string()),
        ("overruns", numbers.overruns.load(Relaxed).to_string()),
        ("late wake-ups (each one is a bug)", numbers.late_wakeups.load(Relaxed).to_string()),
    ];
    let publishing = publishing.map(|(name, value)| [name.to_owned(), value]);
    put(table("Publishing", ["", ""], publishing.into_iter()));
    page
}

fn holders(pods: &Pods, quota: &Quota<Identity>) -> impl Iterator<Item = [String; 2]> {
    listed(quota.holders(), quota.total(), |who| pods.named(who).to_string())
}

fn leases(agent: &Agent) -> impl Iterator<Item = [String; 2]> {
    let (leases, pods) = (agent.leases(), agent.pods());
    listed(leases.holders(), leases.most(), |who| pods.named(who).to_string())
}

/// Services that on-demand sources follow, by caller. Those of the agent were in use before its start.
fn followed(agent: &Agent) -> impl Iterator<Item = [String; 2]> {
    let named = |who: Option<Identity>| match who {
        Some(who) => agent.pods().named(who).to_string(),
        None => "this agent".to_owned(),
    };
    let quota = agent.resolver().catalog().interests().quota();
    listed(quota.holders(), quota.total(), named)
}

fn listed<K>(
    all: Vec<(K, usize)>,
    total: usize,
    named: impl Fn(K) -> String,
) -> impl Iterator<Item = [String; 2]> {
    let held: usize = all.iter().map(|(_, held)| held).sum();
    let listed =
        all.into_iter().take(LISTED).map(move |(who, held)| [named(who), held.to_string()]);
    listed.chain([["all".to_owned(), format!("{held} of {total}")]])
}

fn forgetful(agent: &Agent) -> impl Iterator<Item = [String; 2]> {
    agent.leases().forgetful().take(LISTED).map(|(who, account)| {
        let Account { given, expired } = account;
        let share = format!("{expired} of {given}, {:.0}%", account.share() * 100.0);
        [agent.pods().named(who).to_string(), share]
    })
}
