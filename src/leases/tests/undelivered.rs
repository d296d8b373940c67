//! The leases of an answer that may get lost.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_answer_that_gets_lost_ends_its_picks_unused() {
    let world = World::new();
    let leases = world.pick_many(&on_any_connection(&world), DEFAULT_TTL, 2);
    let lost = Undelivered::new(world.leases.clone(), leases.clone());
    world.in_flight_is(1);
    drop(lost);
    world.in_flight_is(0);
    assert_eq!(world.leases.open(), 0);
    assert_eq!(world.report(ME, leases[0], SUCCESS), Reported::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_delivered_answer_leaves_its_leases_open() {
    let world = World::new();
    let leases = world.pick_many(&on_any_connection(&world), DEFAULT_TTL, 2);
    Undelivered::new(world.leases.clone(), leases).delivered();
    assert_eq!(world.leases.open(), 2);
}
