//! What one caller's leases cost the others, and its account of them.

use super::*;
use crate::publish::MOST_COST;

#[test]
fn what_leases_cost_has_a_bound_and_all_of_it_is_counted_exactly() {
    let leases = Leases::new();
    let me = leases.owner(ME);
    let held: Vec<_> = std::iter::from_fn(|| me.permit(10_000).ok()).collect();
    assert_eq!(held.len(), (MOST_COST / 4 * 3 / 10_000) as usize);
    assert_eq!(leases.holders(), [(ME, held.len())], "a refused one is not held");
    let said = me.permit(10_000).unwrap_err().to_string();
    assert!(said.contains("units of cost in flight are held by this caller"), "{said}");
    let another: Vec<_> =
        std::iter::from_fn(|| leases.owner(Identity::Uid(77)).permit(10_000).ok()).collect();
    assert_eq!(another.len(), 3);
    assert!(leases.owner(Identity::Uid(78)).permit(1).is_ok());
    drop(held);
    // The picker's counters hold this number exactly, and so do sums of it over the slots of a
    // page.
    const { assert!(MOST_COST <= 1 << 23) };
}

#[tokio::test]
async fn a_search_through_the_ended_leases_of_one_caller_delays_no_other_caller() {
    let world = World::new();
    // Some in each shard, so one shares its shard with the unknown lease.
    let leases: Vec<_> =
        (0..200).map(|_| world.pick(&on_any_connection(&world), 60 * SECOND)).collect();
    let liar = world.leases.owner(OTHER);
    let search = liar.hold_recently_ended();
    let reports = world.leases.clone();
    let report = Report { event: SUCCESS, load: None, retry: false };
    let said = report.clone();
    let lies = std::thread::spawn(move || reports.report(OTHER, LeaseId::random(), &said));
    std::thread::sleep(Duration::from_millis(200));
    assert!(!lies.is_finished(), "it waits for its own");
    let (done, ended) = std::sync::mpsc::channel();
    let reports = world.leases.clone();
    let others = std::thread::spawn(move || {
        for lease in leases {
            done.send(reports.report(ME, lease, &report)).unwrap();
        }
    });
    for _ in 0..200 {
        let said = ended.recv_timeout(Duration::from_secs(20)).expect("it waits for another");
        assert_eq!(said, Reported::Accepted);
    }
    drop(search);
    assert_eq!(lies.join().unwrap(), Reported::Unknown);
    others.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_account_has_what_was_given_by_name_and_who_let_some_run_out_is_forgetful() {
    let world = World::new();
    world.pick(&on_any_connection(&world), SECOND);
    world.pick(&on_any_connection(&world), 10 * SECOND);
    world.count(SECOND);
    let other = Holder { owner: world.leases.owner(OTHER), connection: None };
    let reported = world.pick(&other, 10 * SECOND);
    world.report(OTHER, reported, SUCCESS);
    tokio::time::sleep(2 * SECOND).await;
    let (mine, others) = (Account { given: 2, expired: 1 }, Account { given: 1, expired: 0 });
    assert_eq!(world.leases.accounts(), [(ME, mine), (OTHER, others)]);
    assert_eq!(world.leases.forgetful().collect::<Vec<_>>(), [(ME, mine)]);
    assert_eq!(world.leases.most(), 1 << 18);
}
