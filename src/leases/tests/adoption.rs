//! What a successor makes of the leases that it takes over.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_adopted_lease_counts_is_known_by_its_name_and_ends_by_its_time() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    let open = world.leases.hand_over().open(1000);
    let successor = Leases::new();
    adopt(&world, &successor, open[0].clone());
    // A lease that is sent twice counts once.
    adopt(&world, &successor, open[0].clone());
    world.in_flight_is(2);
    let report = Report { event: SUCCESS, load: None, retry: false };
    assert_eq!(successor.report(OTHER, lease, &report), Reported::Unknown);
    assert_eq!(successor.report(ME, lease, &report), Reported::Accepted);
    world.in_flight_is(1);
    // An event of a lease that has ended here.
    adopt(&world, &successor, open[0].clone());
    assert_eq!(successor.open(), 0);
    world.in_flight_is(1);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_overtakes_the_news_of_its_lease_counts_when_that_comes() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    let open = world.leases.hand_over().open(1000);
    let successor = Leases::new();
    let report = Report { event: SUCCESS, load: None, retry: false };
    assert_eq!(successor.report(ME, lease, &report), Reported::Unknown, "nothing is awaited");
    successor.expect_events(true);
    assert_eq!(successor.report(ME, lease, &report), Reported::Accepted);
    adopt(&world, &successor, open[0].clone());
    assert_eq!((successor.open(), world.ended(Outcome::Success)), (0, 1));
    world.in_flight_is(1);
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
