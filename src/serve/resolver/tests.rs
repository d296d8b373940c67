//! Services of an on-demand source, and callers that ask for them.

use tonic::Code;

use super::*;
use crate::{
    api::v1,
    catalog::{
        Change, Locality, SourceId,
        sample::{endpoint, service},
    },
    leases::Holder,
    serve::Agent,
};

const ME: Identity = Identity::Uid(1);
const SOMEBODY: Identity = Identity::Uid(2);

/// An agent that knows the names of this many services.
fn agent(services: usize) -> (Agent, Arc<Catalog>, Tables) {
    let catalog = Arc::new(Catalog::new(["test"]));
    let names = (0..services).map(|n| format!("s{n}.shop").parse().unwrap()).collect();
    catalog.apply(SourceId(0), Change::Names(names), Duration::ZERO);
    catalog.apply(SourceId(0), Change::Synced, Duration::ZERO);
    let (policies, locality) = (ConfigPolicies::default(), Locality::default());
    let tables = Tables::start(catalog.clone(), policies, locality, 1).unwrap();
    (Agent::new(catalog.clone(), tables.clone(), Access::default()), catalog, tables)
}

fn pick(service: &str) -> v1::PickRequest {
    let wait = Some(Duration::ZERO.into());
    v1::PickRequest { service: service.to_owned(), wait, ..v1::PickRequest::default() }
}

fn holder(agent: &Agent, identity: Identity) -> Holder {
    Holder { owner: agent.leases.owner(identity), connection: None }
}

#[tokio::test]
async fn a_service_stays_asked_for_while_a_lease_of_it_is_open() {
    let (agent, catalog, tables) = agent(1);
    let upsert = Change::Upsert(service("s0.shop", [endpoint(1)]));
    catalog.apply(SourceId(0), upsert, Duration::ZERO);
    let (picked, leases) = agent.pick(&holder(&agent, ME), &pick("s0.shop"), None).await.unwrap();
    leases.delivered();
    let name: ServiceName = "s0.shop".parse().unwrap();
    for _ in 0..3 {
        assert!(!catalog.interests().expire(&name), "its stream may go on for an hour");
    }
    let lease = picked.picks[0].lease.to_string();
    let report = v1::Report { lease, outcome: v1::Outcome::Success.into(), ..Default::default() };
    let reported = agent.report(ME, v1::ReportRequest { reports: vec![report] }).unwrap();
    assert_eq!(reported.accepted, 1);
    assert!(catalog.interests().expire(&name));
    tables.stop();
}

#[tokio::test]
async fn who_asks_for_every_service_there_is_is_refused_before_others_are() {
    let (agent, _, tables) = agent(1502);
    for n in 0..1500 {
        let asked = agent.pick(&holder(&agent, ME), &pick(&format!("s{n}.shop")), None).await;
        assert_eq!(asked.unwrap_err().code(), Code::DeadlineExceeded, "s{n}: its source is asked");
    }
    let refused = agent.pick(&holder(&agent, ME), &pick("s1500.shop"), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let said = refused.to_string();
    assert!(said.starts_with("1500 followed services are held by this caller"), "{said}");
    let other = agent.pick(&holder(&agent, SOMEBODY), &pick("s1500.shop"), None).await.unwrap_err();
    assert_eq!(other.code(), Code::DeadlineExceeded);
    // The service is followed now. Whose quota it uses does not matter to others.
    let shared = agent.pick(&holder(&agent, ME), &pick("s1500.shop"), None).await.unwrap_err();
    assert_eq!(shared.code(), Code::DeadlineExceeded);
    tables.stop();
}

/// The number of this process's open files that are tables with this name.
fn tables_open(called: &str) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = descriptors.filter_map(|each| std::fs::read_link(each.ok()?.path()).ok());
    files.filter(|file| file.to_string_lossy().contains(&format!("memfd:{called}"))).count()
}

#[tokio::test]
async fn a_service_that_is_no_more_leaves_no_open_file_behind() {
    let (agent, catalog, tables) = agent(0);
    for n in 0..50 {
        let name = format!("gone-{n}.shop");
        let upsert = Change::Upsert(service(&name, [endpoint(1)]));
        catalog.apply(SourceId(0), upsert, Duration::ZERO);
        let (_, leases) = agent.pick(&holder(&agent, ME), &pick(&name), None).await.unwrap();
        // The answer never reaches the caller, so the lease ends at once.
        drop(leases);
        let name: ServiceName = name.parse().unwrap();
        catalog.apply(SourceId(0), Change::Remove(name), Duration::ZERO);
    }
    for _ in 0..2000 {
        if tables_open("gone-") == 0 {
            tables.stop();
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} of 50 are left", tables_open("gone-"));
}

#[tokio::test]
async fn an_open_lease_keeps_no_file_of_a_service_that_is_no_more() {
    let (agent, catalog, tables) = agent(0);
    let upsert = Change::Upsert(service("held.shop", [endpoint(1)]));
    catalog.apply(SourceId(0), upsert, Duration::ZERO);
    let (picked, leases) = agent.pick(&holder(&agent, ME), &pick("held.shop"), None).await.unwrap();
    leases.delivered();
    assert_eq!(tables_open("held.shop"), 1, "what this process alone counts in is no file");
    catalog.apply(SourceId(0), Change::Remove("held.shop".parse().unwrap()), Duration::ZERO);
    for _ in 0..2000 {
        if tables_open("held.shop") == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tables_open("held.shop"), 0);
    let lease = picked.picks[0].lease.to_string();
    let report = v1::Report { lease, outcome: v1::Outcome::Success.into(), ..Default::default() };
    let reported = agent.report(ME, v1::ReportRequest { reports: vec![report] }).unwrap();
    assert_eq!(reported.accepted, 1, "it ends as any other");
    tables.stop();
}
