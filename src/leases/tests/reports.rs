//! A lease's reports: what counts, and what is answered.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lease_counts_in_flight_until_it_is_reported() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    world.in_flight_is(1);
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    world.in_flight_is(0);
    assert_eq!((world.leases.open(), world.ended(Outcome::Success)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_ended_lease_is_accepted_again_for_a_minute_and_counted_once() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    world.report(ME, lease, SUCCESS);
    tokio::time::sleep(59 * SECOND).await;
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    assert_eq!(world.ended(Outcome::Success), 1);
    tokio::time::sleep(22 * SECOND).await;
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Unknown);
    assert_eq!(world.leases.remembered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_unknown_to_others() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    assert_eq!(world.report(OTHER, lease, SUCCESS), Reported::Unknown);
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    assert_eq!(world.report(OTHER, lease, SUCCESS), Reported::Unknown);
    assert_eq!(world.report(ME, LeaseId::random(), SUCCESS), Reported::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_report_after_the_end_by_time_is_accepted_and_changes_nothing() {
    let world = World::new();
    let lease = world.pick(&on_any_connection(&world), SECOND);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    assert_eq!((world.ended(Outcome::Success), world.ended(Outcome::Cancelled)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_can_neither_go_on_nor_start() {
    let world = World::new();
    let reported = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    let forgotten = world.pick_many(&on_any_connection(&world), SECOND, 2);
    world.report(ME, reported, SUCCESS);
    tokio::time::sleep(2 * SECOND).await;
    for lease in [reported, forgotten[0], forgotten[1]] {
        for event in [Event::Renewed(DEFAULT_TTL), Event::Started(DEFAULT_TTL)] {
            assert_eq!(world.report(ME, lease, event), Reported::Unknown);
        }
        assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    }
    world.in_flight_is(0);
    assert_eq!(world.ended(Outcome::Success), 1);
}

#[tokio::test(start_paused = true)]
async fn of_several_picks_the_first_is_in_flight_and_the_others_once_started() {
    let world = World::new();
    let leases = world.pick_many(&on_any_connection(&world), DEFAULT_TTL, 2);
    world.in_flight_is(1);
    world.report(ME, leases[1], Event::Started(DEFAULT_TTL));
    world.report(ME, leases[1], Event::Started(DEFAULT_TTL));
    world.in_flight_is(2);
    for lease in leases {
        world.report(ME, lease, SUCCESS);
    }
    world.in_flight_is(0);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_counts_though_nobody_said_started() {
    let world = World::new();
    let leases = world.pick_many(&on_any_connection(&world), DEFAULT_TTL, 2);
    world.report(ME, leases[1], Event::Ended(Outcome::Failure, None));
    for _ in 0..400 {
        if world.live.endpoints().iter().any(|each| each.failures == 1) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the failure is lost: {:?}", world.live.endpoints());
}

#[tokio::test]
async fn reports_renewals_and_ends_from_many_threads_count_each_lease_once() {
    let world = World::new();
    let connection = Arc::new(Connection::default());
    let leases: Vec<LeaseId> =
        (0..2000).map(|_| world.pick(&on(&world, &connection), DEFAULT_TTL)).collect();
    std::thread::scope(|scope| {
        for turn in 0..4_usize {
            let (world, leases, connection) = (&world, &leases, &connection);
            scope.spawn(move || {
                for (index, lease) in leases.iter().enumerate() {
                    match (index + turn) % 3 {
                        0 => drop(world.report(ME, *lease, Event::Renewed(DEFAULT_TTL))),
                        _ => drop(world.report(ME, *lease, SUCCESS)),
                    }
                    if index == 1500 && turn == 3 {
                        world.leases.close(connection);
                    }
                }
                for lease in leases {
                    world.report(ME, *lease, SUCCESS);
                }
            });
        }
    });
    assert_eq!((world.leases.open(), world.ended(Outcome::Success)), (0, 2000));
    assert_eq!(world.leases.shards.iter().map(|s| lock(s).deadlines.len()).sum::<usize>(), 0);
    world.in_flight_is(0);
}
