//! The leases of a connection, and what becomes of them when it is gone.

use tokio::time::Instant;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_connection_outlives_it_by_five_seconds() {
    let world = World::new();
    let connection = Arc::new(Connection::default());
    let lease = world.pick(&on(&world, &connection), DEFAULT_TTL);
    world.pick(&on_any_connection(&world), DEFAULT_TTL);
    world.leases.close(&connection);
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(world.leases.open(), 2);
    // A renewal on another connection does not make up for it.
    assert_eq!(world.report(ME, lease, Event::Renewed(60 * SECOND)), Reported::Accepted);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(world.leases.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_given_as_its_connection_goes_ends_with_it() {
    let world = World::new();
    let connection = Arc::new(Connection::default());
    world.leases.close(&connection);
    world.pick(&on(&world, &connection), DEFAULT_TTL);
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(world.leases.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_may_be_reported_after_its_connection_went() {
    let world = World::new();
    let connection = Arc::new(Connection::default());
    let lease = world.pick(&on(&world, &connection), DEFAULT_TTL);
    world.leases.close(&connection);
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(world.report(ME, lease, SUCCESS), Reported::Accepted);
    assert_eq!(world.ended(Outcome::Success), 1);
}

#[tokio::test(start_paused = true)]
async fn others_have_their_turn_while_a_large_connection_closes() {
    let world = World::new();
    let connection = Arc::new(Connection::default());
    for _ in 0..20_000 {
        world.pick(&on(&world, &connection), DEFAULT_TTL);
    }
    let shortened = || {
        let latest = Instant::now() + AFTER_CONNECTION;
        let shards = world.leases.shards.iter();
        shards.map(|shard| lock(shard).open.values().filter(|o| o.deadline <= latest).count()).sum()
    };
    world.leases.close(&connection);
    let (mut before, mut most): (usize, usize) = (0, shortened());
    while before < 20_000 {
        tokio::task::yield_now().await;
        let now: usize = shortened();
        most = most.max(now - before);
        before = now;
    }
    assert!((1..=128).contains(&most), "{most} in a row");
    tokio::time::sleep(6 * SECOND).await;
    assert_eq!(world.leases.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_keeps_nothing_of_a_lease_that_has_ended() {
    let world = World::new();
    let connection = Arc::new(Connection::default());
    let pick = |ttl| world.pick(&on(&world, &connection), ttl);
    let [reported, withdrawn, open] = [(); 3].map(|()| pick(DEFAULT_TTL));
    pick(SECOND);
    world.report(ME, reported, SUCCESS);
    world.leases.withdraw(&[withdrawn]);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(connection.close().into_iter().collect::<Vec<_>>(), [open]);
}
