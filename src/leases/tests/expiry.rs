//! The end of a lease by its time.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lease_nobody_reports_ends_by_its_time_without_a_judgement() {
    let world = World::new();
    world.pick(&on_any_connection(&world), 10 * SECOND);
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(world.leases.open(), 1);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!((world.leases.open(), world.ended(Outcome::Cancelled)), (0, 1));
    assert_eq!(world.tally.count_expired(), 1);
    world.in_flight_is(0);
}

#[tokio::test(start_paused = true)]
async fn a_pick_that_nobody_will_report_counts_for_its_time_and_is_not_judged() {
    let world = World::new();
    let lease = world.count(10 * SECOND);
    world.in_flight_is(1);
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Unknown, "it has no name");
    tokio::time::sleep(9 * SECOND).await;
    assert_eq!(world.leases.holders(), [(ME, 1)], "it is bounded as leases are");
    tokio::time::sleep(2 * SECOND).await;
    world.in_flight_is(0);
    assert_eq!((world.leases.open(), world.leases.remembered()), (0, 0));
    assert_eq!((world.ended(Outcome::Cancelled), world.tally.count_expired()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_lives_on() {
    let world = World::new();
    let connection = Arc::default();
    for holder in [on_any_connection(&world), on(&world, &connection)] {
        let lease = world.pick(&holder, 10 * SECOND);
        tokio::time::sleep(4 * SECOND).await;
        assert_eq!(world.report(ME, lease, Event::Renewed(30 * SECOND)), Reported::Accepted);
    }
    tokio::time::sleep(25 * SECOND).await;
    assert_eq!(world.leases.open(), 2);
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(world.leases.open(), 1);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(world.leases.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_lease_given_later_ends_in_its_own_time() {
    let world = World::new();
    world.pick(&on_any_connection(&world), MAX_TTL);
    tokio::time::sleep(SECOND).await;
    world.pick(&on_any_connection(&world), 2 * SECOND);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(world.leases.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_awaited_while_there_is_nothing_to_end() {
    let world = World::new();
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.leases.next_look.due(), None);
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    world.report(ME, lease, SUCCESS);
    // After the lease's time and the memory of its end, nothing is left to wait for.
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(world.leases.next_look.due(), None);
}

/// The most leases that end before another task of the same thread runs.
async fn most_ended_in_a_row(world: &World) -> usize {
    let mut open = world.leases.open();
    let mut most = 0;
    while open > 0 {
        tokio::task::yield_now().await;
        let left = world.leases.open();
        most = most.max(open - left);
        open = left;
    }
    most
}

#[tokio::test(start_paused = true)]
async fn others_have_their_turn_while_a_crashed_callers_leases_end() {
    let world = World::new();
    for _ in 0..20_000 {
        world.pick(&on_any_connection(&world), SECOND);
    }
    tokio::time::advance(2 * SECOND).await;
    let most = most_ended_in_a_row(&world).await;
    assert!((1..=128).contains(&most), "{most} in a row");
    assert_eq!(world.tally.count_expired(), 20_000);
}
