//! Services that their source says on demand, and callers that ask for them.

use tonic::Code;

use super::*;
use crate::{
    api::v1,
    catalog::{
        Change, SourceId,
        sample::{endpoint, service},
    },
    plan::Here,
    publish::leases::Holder,
    serve::Agent,
};

const ME: Identity = Identity::Uid(1);
const SOMEBODY: Identity = Identity::Uid(2);

/// An agent that knows the names of so many services.
fn agent(services: usize) -> (Agent, Arc<Catalog>, Tables) {
    let catalog = Arc::new(Catalog::new(["test"]));
    let names = (0..services).map(|n| format!("s{n}.shop").parse().unwrap()).collect();
    catalog.apply(SourceId(0), Change::Names(names), Duration::ZERO);
    catalog.apply(SourceId(0), Change::Synced, Duration::ZERO);
    let (policies, here) = (ConfigPolicies::default(), Here::default());
    let tables = Tables::start(catalog.clone(), policies, here, 1).unwrap();
    (Agent::new(catalog.clone(), tables.clone(), Access::default()), catalog, tables)
}

fn pick(service: &str) -> v1::PickRequest {
    let wait = Some(Duration::ZERO.into());
    v1::PickRequest { service: service.to_owned(), wait, ..v1::PickRequest::default() }
}

fn holder(identity: Identity) -> Holder {
    Holder { identity, connection: None }
}

#[tokio::test]
async fn a_service_stays_asked_for_while_a_lease_of_it_is_open() {
    let (agent, catalog, tables) = agent(1);
    let upsert = Change::Upsert(service("s0.shop", [endpoint(1)]));
    catalog.apply(SourceId(0), upsert, Duration::ZERO);
    let (picked, leases) = agent.pick(&holder(ME), &pick("s0.shop"), None).await.unwrap();
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
        let asked = agent.pick(&holder(ME), &pick(&format!("s{n}.shop")), None).await;
        assert_eq!(asked.unwrap_err().code(), Code::DeadlineExceeded, "s{n}: its source is asked");
    }
    let refused = agent.pick(&holder(ME), &pick("s1500.shop"), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let said = refused.to_string();
    assert!(said.starts_with("1500 followed services are held by this caller"), "{said}");
    let other = agent.pick(&holder(SOMEBODY), &pick("s1500.shop"), None).await.unwrap_err();
    assert_eq!(other.code(), Code::DeadlineExceeded);
    // It is asked for now, on whose account matters to nobody else.
    let shared = agent.pick(&holder(ME), &pick("s1500.shop"), None).await.unwrap_err();
    assert_eq!(shared.code(), Code::DeadlineExceeded);
    tables.stop();
}
