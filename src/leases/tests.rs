//! Tests leases with a real table, on tokio's paused time.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    catalog::{Catalog, Change, Endpoint, Labels, Locality, Port, Service, ServiceName, SourceId},
    policy::ConfigPolicies,
    publish::{MOST_COST, PickOptions, ServiceTable, Tables, Target},
};

mod handing_over;

const ME: Identity = Identity::Uid(1000);
const OTHER: Identity = Identity::Uid(1001);
const SECOND: Duration = Duration::from_secs(1);

/// One service of two endpoints, and leases that expire.
struct World {
    leases: Arc<Leases>,
    live: Arc<ServiceTable>,
    tables: Tables,
    tally: Arc<Tally>,
}

impl World {
    fn new() -> Self {
        let name = ServiceName::new("cart", "shop", None).unwrap();
        let endpoint = |last: u8| Endpoint {
            ready_since: Some(SystemTime::UNIX_EPOCH),
            ..Endpoint::at(([10, 0, 0, last], 80).into())
        };
        let service = Service::new(
            name.clone(),
            "test",
            vec![Port {
                name: None,
                number: Some(80),
                endpoints: [endpoint(1), endpoint(2)].into(),
            }],
        );
        let catalog = Arc::new(Catalog::new(["test"]));
        catalog.apply(SourceId(0), Change::Replace(vec![service]), Duration::ZERO);
        catalog.apply(SourceId(0), Change::Synced, Duration::ZERO);
        let tables =
            Tables::start(catalog, ConfigPolicies::default(), Locality::default(), 1).unwrap();
        let target = Target {
            service: name.clone(),
            port: (None, Some(80)),
            selector: Labels::new(),
            way: Default::default(),
        };
        let live = tables.open(&target).unwrap().unwrap();
        let leases = Leases::new();
        let running = leases.clone();
        tokio::spawn(async move { running.run().await });
        Self { leases, live, tables, tally: Arc::new(Tally::new(name)) }
    }

    fn pick(&self, holder: &Holder, ttl: Duration) -> LeaseId {
        self.pick_many(holder, ttl, 1).remove(0)
    }

    fn pick_many(&self, holder: &Holder, ttl: Duration, count: u32) -> Vec<LeaseId> {
        let want = PickOptions {
            exclude: &[],
            key: None,
            count,
            cost: 1,
            caller: holder.owner.identity(),
        };
        let picked = self.live.pick_endpoints(&want).unwrap();
        let give = |(index, held)| {
            let (permit, connection) =
                (holder.owner.permit(1).unwrap(), holder.connection.as_ref());
            self.leases.give(permit, held, index == 0, connection, ttl, &self.tally)
        };
        picked.picks.into_iter().enumerate().map(give).collect()
    }

    /// A pick that nobody will report.
    fn count(&self, time: Duration) -> LeaseId {
        let want = PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller: ME };
        let held = self.live.pick_endpoints(&want).unwrap().picks.remove(0);
        self.leases.count(self.leases.owner(ME).permit(1).unwrap(), held, time, &self.tally)
    }

    fn report(&self, identity: Identity, lease: LeaseId, event: Event) -> Reported {
        self.leases.report(identity, lease, &Report { event, load: None, retry: false })
    }

    /// Waits, in real time, until the table has `expected` requests in flight.
    fn in_flight_is(&self, expected: u32) {
        for _ in 0..400 {
            if self.live.endpoints().iter().map(|each| each.in_flight).sum::<u32>() == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("in flight: {:?}, not {expected}", self.live.endpoints());
    }

    fn ended(&self, outcome: Outcome) -> u64 {
        let index = OUTCOMES.iter().position(|each| *each == outcome).unwrap();
        self.tally.count_ended()[index]
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tables.stop();
    }
}

fn on_any_connection(world: &World) -> Holder {
    Holder { owner: world.leases.owner(ME), connection: None }
}

fn on(world: &World, connection: &Arc<Connection>) -> Holder {
    Holder { owner: world.leases.owner(ME), connection: Some(connection.clone()) }
}

const SUCCESS: Event = Event::Ended(Outcome::Success, Some(Duration::from_millis(3)));

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

#[tokio::test(start_paused = true)]
async fn nothing_is_awaited_while_there_is_nothing_to_end() {
    let world = World::new();
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.leases.next_look.load(SeqCst), u64::MAX);
    let lease = world.pick(&on_any_connection(&world), DEFAULT_TTL);
    world.report(ME, lease, SUCCESS);
    // After the lease's time and the memory of its end, nothing is left to wait for.
    tokio::time::sleep(100 * SECOND).await;
    assert_eq!(world.leases.next_look.load(SeqCst), u64::MAX);
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

/// Adopts a lease as a successor does.
fn adopt(world: &World, successor: &Leases, lease: HandedLease) -> bool {
    let HandedLease { id, identity, address, cost, in_flight, no_report, ttl, .. } = lease;
    let held = world.live.adopt(address, cost, in_flight, identity).unwrap();
    let adopted = AdoptedLease { in_flight, no_report, ttl, tally: &world.tally };
    successor.adopt(id, held, identity, adopted)
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
