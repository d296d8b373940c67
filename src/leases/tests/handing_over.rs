//! What a successor is sent, and in which parts.

use std::collections::BTreeSet;

use super::*;
use crate::publish::ServerLoad;

const LOAD: ServerLoad = ServerLoad { utilization: 0.5, in_flight: 3, qps: 100.0, eps: 1.0 };

fn reports(world: &World, lease: LeaseId, event: Event, load: Option<ServerLoad>, retry: bool) {
    let report = Report { event, load, retry };
    assert_eq!(world.leases.report(ME, lease, &report), Reported::Accepted);
}

/// Has the successor read all events. Returns how many there were.
async fn hear_all(world: &World, successor: &Leases, handoff: &mut Handoff) -> usize {
    let mut heard = 0;
    while let Some(events) = handoff.events(1000).await {
        heard += events.len();
        for each in events {
            match each {
                LeaseEvent::Given(lease) => drop(adopt(world, successor, lease)),
                LeaseEvent::Reported { id, identity, event, load, retry } => {
                    successor.report(identity, id, &Report { event, load, retry });
                }
            }
        }
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn a_successor_has_the_open_leases_and_hears_of_later_ones_and_of_reports() {
    let world = World::new();
    let before = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    tokio::time::sleep(10 * SECOND).await;
    let mut handoff = world.leases.hand_over();
    let lease = handoff.open(1000).remove(0);
    assert_eq!((lease.id, lease.ttl, lease.in_flight), (before, 50 * SECOND, true));
    assert!(handoff.open(1000).is_empty());
    let connection = Arc::default();
    let after = world.pick(&on(&world, &connection), DEFAULT_TTL);
    let told = handoff.events(1000).await.unwrap();
    assert!(matches!(&told[..], [LeaseEvent::Given(given)] if given.id == after));

    let load = Some(ServerLoad { utilization: 0.5, in_flight: 3, qps: 100.0, eps: 0.0 });
    world.leases.report(ME, before, &Report { event: SUCCESS, load, retry: false });
    world.leases.withdraw(&[after]);
    let reported =
        |id, event, load| LeaseEvent::Reported { id, identity: ME, event, load, retry: false };
    world.leases.end_events();
    let told = handoff.events(1000).await.unwrap();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&reported(before, SUCCESS, load)));
    assert!(told.contains(&reported(after, Event::Ended(Outcome::Cancelled, None), None)));
    assert_eq!(handoff.events(1000).await, None);
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
async fn a_successor_that_stalls_hears_all_that_matters_and_no_more() {
    let world = World::new();
    let successor = Leases::new();
    let mut old: Vec<LeaseId> =
        (0..3000).map(|_| world.pick(&on_any_connection(&world), DEFAULT_TTL)).collect();
    let mut handoff = world.leases.hand_over();
    loop {
        let open = handoff.open(1000);
        if open.is_empty() {
            break;
        }
        for lease in open {
            assert!(adopt(&world, &successor, lease));
        }
    }
    assert_eq!(successor.open(), 3000);
    // The successor does not read while 60,000 requests begin and end here.
    for _ in 0..60_000 {
        let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
        assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    }
    let kept = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    assert_eq!(world.report(ME, kept, Event::Renewed(MAX_TTL)), Reported::Accepted);
    let renewed = old.pop().unwrap();
    for _ in 0..10 {
        world.report(ME, renewed, Event::Renewed(MAX_TTL));
    }
    for lease in old {
        assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    }
    assert_eq!(
        world.leases.pending_changes(),
        3001,
        "one for each lease that it knows or has to know"
    );
    world.leases.end_events();
    assert_eq!(hear_all(&world, &successor, &mut handoff).await, 3001);
    assert_eq!(successor.open(), 2);
    let deadlines = |leases: &Leases| -> Vec<_> {
        let shards = leases.shards.iter();
        shards.flat_map(|shard| lock(shard).deadlines.iter().copied().collect::<Vec<_>>()).collect()
    };
    assert_eq!(deadlines(&successor), deadlines(&world.leases));
    for lease in [kept, renewed] {
        assert_eq!(
            successor.report(ME, lease, &Report { event: SUCCESS, load: None, retry: false }),
            Reported::Accepted
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_of_a_lease_that_only_the_successor_knows_is_passed_on_as_far_as_there_is_room() {
    let world = World::new();
    let mut handoff = world.leases.hand_over();
    let event = Event::Renewed(DEFAULT_TTL);
    assert_eq!(world.report(ME, LeaseId::random(), event), Reported::Unknown);
    let (mut accepted, mut unknown) = (0, 0);
    for _ in 0..100_000 {
        match world.report(ME, LeaseId::random(), SUCCESS) {
            Reported::Accepted => accepted += 1,
            Reported::Unknown => unknown += 1,
        }
    }
    assert!(unknown > 0, "a caller that makes leases up does not fill the memory");
    world.leases.end_events();
    assert_eq!(hear_all(&world, &Leases::new(), &mut handoff).await, accepted);
    let lease = LeaseId::random();
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted, "there is room again");
}
