//! Tests that every plan has a table that holds it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use pointsman_table::{Capacity, Picker, TableWriter};
use proptest::{collection::vec, prelude::*};

use super::{Memory, ServicePublisher, Setup, segment::Segment, structure::structure};
use crate::{
    catalog::{Endpoint, EndpointRef, Locality},
    plan::{Group, OutlierState, Plan, PlannedEndpoint},
    policy::Policy,
};

/// The numbers of endpoints, of labels of each, of bytes of a label, and of zones.
type Step = (u8, u8, u16, u8);

fn endpoints((count, labels, bytes, zones): Step) -> Vec<EndpointRef> {
    let endpoint = |number: u8| {
        let label = |key: u8| {
            let value = format!("{number}-{}", "x".repeat(bytes.into()));
            (format!("label-{key}").into(), value.into())
        };
        Endpoint {
            zone: Some(format!("zone-{}", number % zones.max(1)).into()),
            labels: Arc::new((0..labels).map(label).collect()),
            ..Endpoint::at(([10, 0, 0, number], 80).into())
        }
    };
    let list: Arc<[Endpoint]> = (0..count).map(endpoint).collect();
    EndpointRef::all(&list).collect()
}

fn publisher(first: Step) -> ServicePublisher {
    let setup = Setup {
        name: "cart.shop".into(),
        policy: Arc::new(Policy::default()),
        locality: Locality { zone: Some("zone-0".into()), ..Locality::default() },
        memory: Memory::Heap,
        endpoints: endpoints(first),
        virtual_port: None,
        now: Duration::from_secs(10),
    };
    ServicePublisher::new(setup).expect("heap memory")
}

/// A plan with a group of one endpoint for each draw weight.
fn plan(draws: &[f64]) -> Plan {
    let endpoint = |(index, draw): (usize, &f64)| {
        let endpoints = endpoints((index as u8 + 1, 0, 0, 1));
        let mut planned = PlannedEndpoint::new(endpoints[index].clone(), OutlierState::default());
        (planned.group, planned.draw) = (Some(index), *draw);
        planned
    };
    let group = |index: usize| Group {
        name: format!("group {index}"),
        share: 1.0 / draws.len() as f64,
        members: vec![index as u32],
        choices: 2,
        overflow: None,
        spill_at: f32::MAX,
        spill_margin: 0.0,
        reason: String::new(),
    };
    Plan {
        version: 1,
        groups: (0..draws.len()).map(group).collect(),
        endpoints: draws.iter().enumerate().map(endpoint).collect(),
        ..Plan::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_endpoint_can_be_picked_however_many_and_however_they_are_labelled(
        steps in vec((0..60u8, 0..9u8, 0..400u16, 1..13u8), 1..8)
    ) {
        let mut publisher = publisher(steps[0]);
        for step in steps {
            let list = endpoints(step);
            publisher.update(list.clone(), Arc::new(Policy::default()), Duration::from_secs(10))
                .expect("heap memory");
            let counters = publisher.new_counters(1).expect("heap memory");
            let picker: Picker = Picker::new(publisher.table(), counters, 1, None);
            let known: BTreeMap<SocketAddr, usize> = (picker.structure().endpoints.iter())
                .map(|record| (record.address, record.labels.len()))
                .collect();
            let asked: BTreeMap<SocketAddr, usize> =
                list.iter().map(|endpoint| (endpoint.address, endpoint.labels.len())).collect();
            prop_assert_eq!(known, asked);
        }
    }

    #[test]
    fn any_plan_makes_a_structure_that_a_table_made_for_it_holds(
        draws in vec(prop_oneof![Just(0.0), Just(f64::NAN), Just(f64::INFINITY), 0.0..9.0], 1..40)
    ) {
        let plan = plan(&draws);
        let slots: Vec<u32> = (0..draws.len() as u32).collect();
        let structure = structure(&plan, &slots, 0.5);
        let least = Capacity::of(&structure);
        prop_assert_eq!(TableWriter::fits(&structure, least), Ok(()));
        let mut segment = Segment::new("cart.shop", Memory::Heap, 1, &least, None).expect("heap memory");
        prop_assert!(segment.write_structure(&structure).is_ok());
    }
}
