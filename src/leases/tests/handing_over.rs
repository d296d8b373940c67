//! What a successor is sent, and in which parts.

use std::collections::BTreeSet;

use super::*;

const LOAD: ServerLoad = ServerLoad { utilization: 0.5, in_flight: 3, qps: 100.0, eps: 1.0 };

fn reports(world: &World, lease: LeaseId, event: Event, load: Option<ServerLoad>, retry: bool) {
    let report = Report { event, load, retry };
    assert_eq!(world.leases.report(ME, lease, &report), Reported::Accepted);
}

#[tokio::test(start_paused = true)]
async fn open_leases_and_news_come_in_parts_of_the_size_that_is_asked_for() {
    let world = World::new();
    let given: BTreeSet<LeaseId> =
        (0..100).map(|_| world.pick(&on_any_connection(&world), DEFAULT_TTL)).collect();
    let mut handoff = world.leases.hand_over();
    assert_eq!(world.leases.pending_changes(), 100);
    let mut told = BTreeSet::new();
    loop {
        let open = handoff.open(7);
        assert!(open.len() <= 7);
        if open.is_empty() {
            break;
        }
        told.extend(open.iter().map(|lease| lease.id));
    }
    assert_eq!((told == given, world.leases.pending_changes()), (true, 0));
    for lease in given {
        world.report(ME, lease, SUCCESS);
    }
    world.leases.end_events();
    let mut parts = Vec::new();
    while let Some(events) = handoff.events(7).await {
        parts.push(events.len());
    }
    assert_eq!(parts.iter().sum::<usize>(), 100);
    assert!(parts.iter().all(|part| *part <= 7) && parts.len() < 30, "{parts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_several_reports_said_of_a_lease_comes_in_one() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    let mut handoff = world.leases.hand_over();
    handoff.open(10);
    let told =
        |event, load, retry| LeaseEvent::Reported { id: lease, identity: ME, event, load, retry };
    reports(&world, lease, Event::Renewed(10 * SECOND), Some(LOAD), true);
    reports(&world, lease, Event::Renewed(20 * SECOND), None, false);
    let events = handoff.events(10).await.unwrap();
    assert_eq!(events, [told(Event::Started(20 * SECOND), Some(LOAD), true)]);
    reports(&world, lease, Event::Renewed(20 * SECOND), Some(LOAD), false);
    reports(&world, lease, SUCCESS, None, false);
    assert_eq!(handoff.events(10).await.unwrap(), [told(SUCCESS, Some(LOAD), false)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_a_lease_before_it_is_sent_is_sent_with_it() {
    let world = World::new();
    let leases = world.pick_many(&on_any_connection(&world), DEFAULT_TTL, 2);
    let mut handoff = world.leases.hand_over();
    reports(&world, leases[1], Event::Renewed(10 * SECOND), Some(LOAD), false);
    let mut events = handoff.events(10).await.unwrap();
    let said = events.iter().position(|each| matches!(each, LeaseEvent::Reported { .. })).unwrap();
    let (event, load) = (Event::Renewed(10 * SECOND), Some(LOAD));
    let expected = LeaseEvent::Reported { id: leases[1], identity: ME, event, load, retry: false };
    assert_eq!(events.remove(said), expected, "it is not in flight");
    assert!(matches!(&events[said - 1], LeaseEvent::Given(lease) if lease.id == leases[1]));
    assert_eq!(events.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_kept_for_a_successor_ends_the_lease_if_it_comes_here() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    let open = world.leases.hand_over().open(1000);
    let middle = Leases::new();
    let mut handoff = middle.hand_over();
    let report = Report { event: SUCCESS, load: None, retry: false };
    for _ in 0..2 {
        assert_eq!(middle.report(OTHER, lease, &report), Reported::Accepted);
        assert_eq!(middle.pending_changes(), 1);
    }
    assert!(adopt(&world, &middle, open[0].clone()));
    assert_eq!(middle.open(), 1, "it is another's lease");
    assert_eq!(middle.report(ME, lease, &report), Reported::Accepted);
    assert_eq!((middle.open(), world.ended(Outcome::Success)), (0, 1));
    middle.end_events();
    while handoff.events(10).await.is_some() {}

    let successor = Leases::new();
    let handoff = successor.hand_over();
    assert_eq!(successor.report(ME, lease, &report), Reported::Accepted);
    assert!(adopt(&world, &successor, open[0].clone()));
    assert_eq!(
        (successor.open(), successor.pending_changes(), world.ended(Outcome::Success)),
        (0, 0, 2)
    );
    drop(handoff);
    assert_eq!(successor.report(ME, LeaseId::random(), &report), Reported::Unknown);
}
