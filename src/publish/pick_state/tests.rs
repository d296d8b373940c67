//! Tests picks and ends under the callers' lock, on virtual time, with the shipped publisher.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use pointsman_table::{Outcome, Pick};

use super::PickState;
use crate::{
    catalog::{
        Endpoint, EndpointRef, Locality,
        sample::{address, endpoint},
    },
    identity::Identity,
    load::Totals,
    plan::State,
    policy::{Policy, ZoneMode},
    publish::{
        Memory, PickOptions, ServicePublisher, Setup, share::MOST_USERS, wake_event::WakeEvent,
        wakeup::Wakeups,
    },
};

const MS: Duration = Duration::from_millis(1);

const X: Identity = Identity::Uid(1);
const Y: Identity = Identity::Uid(2);

const fn by(caller: Identity) -> PickOptions<'static> {
    PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller }
}

fn endpoints(numbers: impl IntoIterator<Item = u8>) -> Vec<EndpointRef> {
    let list: Arc<[Endpoint]> = numbers.into_iter().map(endpoint).collect();
    EndpointRef::all(&list).collect()
}

/// One service, and what the picks of its callers share.
struct Stage {
    publisher: ServicePublisher,
    state: PickState,
    now: Duration,
}

impl Stage {
    /// Endpoints with the numbers 0, 1 and so on.
    fn new(count: u8) -> Self {
        Self::with(endpoints(0..count), Locality::default())
    }

    fn with(endpoints: Vec<EndpointRef>, locality: Locality) -> Self {
        let now = Duration::from_secs(10);
        let mut publisher = ServicePublisher::new(Setup {
            name: "cart.shop".into(),
            policy: Arc::new(Policy { zone: ZoneMode::Off, ..Policy::default() }),
            locality,
            memory: Memory::Heap,
            endpoints,
            virtual_port: None,
            now,
        })
        .expect("heap memory");
        let wakeups = Wakeups::new(WakeEvent::new().expect("an eventfd"));
        let waker = wakeups.waker(0);
        let state = PickState::attach(&mut publisher, 1, &waker, false, &Arc::default());
        Self { publisher, state: state.expect("heap memory"), now }
    }

    fn update(&mut self, endpoints: Vec<EndpointRef>) {
        let policy = self.publisher.policy().clone();
        self.update_with(endpoints, policy);
    }

    fn update_with(&mut self, endpoints: Vec<EndpointRef>, policy: Arc<Policy>) {
        let superseded = self.publisher.update(endpoints, policy, self.now).expect("heap memory");
        assert!(!superseded, "there is room for a few more");
        self.state.learn(&self.publisher);
    }

    /// Publishes after this time, and takes in what ended.
    fn pass_after(&mut self, time: Duration) {
        self.now += time;
        self.publisher.pass(self.now, MS);
        self.state.learn(&self.publisher);
    }

    fn address(&self, pick: Pick) -> SocketAddr {
        self.state.planned(pick.slot).expect("an endpoint").endpoint.address
    }

    fn picked(&mut self, want: &PickOptions<'_>) -> Option<Pick> {
        self.state.pick(want, self.now);
        self.state.picked().first().copied()
    }

    /// Makes a request that ends at once, and returns where it went.
    fn request(&mut self, caller: Identity) -> SocketAddr {
        let pick = self.picked(&by(caller)).expect("an endpoint");
        self.end(pick, caller, Outcome::Success);
        self.address(pick)
    }

    /// Where some requests of this caller go.
    fn destinations(&mut self, caller: Identity) -> BTreeSet<SocketAddr> {
        (0..40)
            .map(|_| {
                let pick = self.picked(&by(caller)).expect("an endpoint");
                // Nobody judges it, so that it changes nothing.
                self.end(pick, caller, Outcome::Cancelled);
                self.address(pick)
            })
            .collect()
    }

    fn end(&mut self, pick: Pick, caller: Identity, outcome: Outcome) -> bool {
        self.state.end(pick, caller, self.now, (outcome, None), self.now)
    }

    /// Makes a request to this endpoint that ends at once. Returns whether its caller avoids it
    /// from now on.
    fn request_to(&mut self, number: u8, caller: Identity, outcome: Outcome) -> bool {
        let pick = self.start_at(number, caller);
        self.end(pick, caller, outcome)
    }

    fn start_at(&mut self, number: u8, caller: Identity) -> Pick {
        let slot = self.state.slot_of(address(number)).expect("an endpoint");
        let pick = Pick { slot, cost: 1 };
        self.state.start(pick, caller, self.now);
        pick
    }

    /// A failure of X at endpoint 0, which Y reaches: X avoids it.
    fn deny(&mut self) {
        assert!(!self.request_to(0, Y, Outcome::Success));
        assert!(self.request_to(0, X, Outcome::Unreachable));
    }

    fn totals(&self, number: u8) -> Totals {
        let mut planned = self.publisher.plan().endpoints.iter();
        let index = planned.position(|planned| planned.endpoint.address == address(number));
        self.publisher.loads()[index.expect("an endpoint")].total
    }

    fn state_of(&self, number: u8) -> State {
        let mut planned = self.publisher.plan().endpoints.iter();
        planned.find(|it| it.endpoint.address == address(number)).expect("an endpoint").state
    }
}

#[test]
fn callers_pick_from_the_table_that_they_attached_to_until_a_larger_one_supersedes_it() {
    let mut stage = Stage::new(2);
    assert!(stage.state.pick_from(&stage.publisher.table()));
    let policy = stage.publisher.policy().clone();
    let superseded = stage.publisher.update(endpoints(0..200), policy, stage.now);
    assert!(superseded.expect("heap memory"));
    assert!(!stage.state.pick_from(&stage.publisher.table()));
}

#[test]
fn an_address_is_excluded_as_soon_as_its_endpoint_is_known() {
    let mut stage = Stage::new(2);
    let exclude: Vec<SocketAddr> = [0, 1, 2].map(address).into();
    let but = |exclude| PickOptions { exclude, ..by(X) };
    assert_eq!(stage.picked(&but(&exclude)), None);
    assert!(
        stage.picked(&but(&exclude[1..])).is_some_and(|pick| stage.address(pick) == address(0))
    );
    stage.update(endpoints(1..3));
    assert_eq!(stage.picked(&but(&exclude)), None);
    assert_eq!((stage.state.slot_of(address(0)), stage.state.slot_of(address(7))), (None, None));
    assert!(
        stage.picked(&but(&exclude[..2])).is_some_and(|pick| stage.address(pick) == address(2))
    );
}

#[test]
fn a_node_knows_which_endpoints_are_in_another_zone_if_it_knows_both_zones() {
    let zones = [Some("a"), Some("b"), None];
    let list: Arc<[Endpoint]> = (0..)
        .zip(zones)
        .map(|(number, zone)| Endpoint { zone: zone.map(Into::into), ..endpoint(number) })
        .collect();
    for (own, elsewhere) in [(Some("a"), [false, true, false]), (None, [false; 3])] {
        let locality = Locality { zone: own.map(Into::into), ..Locality::default() };
        let mut stage = Stage::with(EndpointRef::all(&list).collect(), locality);
        let found = [0, 1, 2].map(|number| {
            let slot = stage.state.slot_of(address(number)).expect("an endpoint");
            stage.state.is_elsewhere(stage.state.planned(slot).expect("an endpoint"))
        });
        assert_eq!(found, elsewhere, "from {own:?}");
    }
}

#[test]
fn the_first_sixteen_identities_that_pick_are_the_users_each_once() {
    let mut stage = Stage::new(2);
    for uid in [7, 7].into_iter().chain(0..40).chain(0..40) {
        stage.request(Identity::Uid(uid));
    }
    let users: Vec<Identity> = stage.state.users.to_vec();
    let first: Vec<Identity> =
        std::iter::once(7).chain((0..40).filter(|uid| *uid != 7)).map(Identity::Uid).collect();
    assert_eq!(users, first[..MOST_USERS]);
}

#[test]
fn the_first_pick_counts_in_flight_and_another_one_from_its_start_on() {
    let mut stage = Stage::new(3);
    stage.state.pick(&PickOptions { count: 9, cost: 4, ..by(X) }, stage.now);
    let [first, second, third] = *stage.state.picked() else { panic!("not three") };
    stage.pass_after(MS);
    assert_eq!(stage.publisher.pass(stage.now, MS).in_flight, 4);
    stage.state.start(second, X, stage.now);
    assert_eq!(stage.publisher.pass(stage.now, MS).in_flight, 8);
    stage.end(first, X, Outcome::Success);
    stage.end(second, X, Outcome::Cancelled);
    assert_eq!(stage.publisher.pass(stage.now, MS).in_flight, 0);
    assert_eq!(BTreeSet::from([first, second, third].map(|pick| pick.slot)).len(), 3);
}

#[test]
fn a_single_pick_is_sampled_with_what_it_compared() {
    let mut stage = Stage::new(2);
    let chosen = stage.request(X);
    let [sample] = &stage.state.samples()[..] else { panic!("not one") };
    assert_eq!((sample.chosen, sample.group), (Some(chosen), Some(0)));
    let compared: BTreeSet<SocketAddr> = sample.candidates.iter().map(|each| each.0).collect();
    assert_eq!(compared, BTreeSet::from([address(0), address(1)]));
    stage.state.pick(&PickOptions { count: 2, ..by(X) }, stage.now);
    assert_eq!(stage.state.samples().len(), 1, "several picks at once have no sample");
}

#[test]
fn a_caller_avoids_the_endpoint_that_it_alone_can_not_reach() {
    let mut stage = Stage::new(2);
    stage.deny();
    assert_eq!(stage.destinations(X), BTreeSet::from([address(1)]));
    assert_eq!(stage.destinations(Y), BTreeSet::from([address(0), address(1)]));
    let [(verdict, of)] = stage.state.verdicts()[..] else { panic!("not one") };
    assert_eq!((verdict.caller, of), (X, address(0)));
}

#[test]
fn a_caller_that_excludes_every_other_endpoint_gets_the_one_that_it_avoids() {
    let mut stage = Stage::new(2);
    stage.deny();
    let want = PickOptions { exclude: &[address(1)], ..by(X) };
    assert!(stage.picked(&want).is_some_and(|pick| stage.address(pick) == address(0)));
}

#[test]
fn where_a_caller_avoids_nothing_a_pick_that_finds_nothing_is_not_repeated() {
    let mut stage = Stage::new(2);
    stage.deny();
    assert_eq!(stage.picked(&PickOptions { exclude: &[address(0), address(1)], ..by(Y) }), None);
    assert_eq!(stage.state.samples().len(), 1);
}

#[test]
fn one_pick_probes_what_a_caller_avoids_once_the_time_is_over() {
    let mut stage = Stage::new(2);
    stage.deny();
    stage.now += Duration::from_secs(1);
    let probe = loop {
        let pick = stage.picked(&by(X)).expect("an endpoint");
        if stage.address(pick) == address(0) {
            break pick;
        }
        stage.end(pick, X, Outcome::Success);
    };
    assert_eq!(stage.destinations(X), BTreeSet::from([address(1)]), "while the probe is under way");
    assert!(!stage.end(probe, X, Outcome::Unreachable), "it avoids it already");
    stage.now += Duration::from_millis(1_999);
    assert_eq!(stage.destinations(X), BTreeSet::from([address(1)]), "for twice the time");
    stage.now += MS;
    assert_eq!(stage.destinations(X), BTreeSet::from([address(0), address(1)]));
}

#[test]
fn a_success_ends_what_a_caller_avoids() {
    let mut stage = Stage::new(2);
    stage.deny();
    stage.request_to(0, X, Outcome::Success);
    assert_eq!(stage.destinations(X), BTreeSet::from([address(0), address(1)]));
    assert!(stage.state.verdicts().is_empty());
}

#[test]
fn a_probe_without_a_result_is_followed_by_the_next_after_the_same_time() {
    for outcome in [Outcome::Cancelled, Outcome::Rejected] {
        let mut stage = Stage::new(2);
        stage.deny();
        stage.now += Duration::from_secs(1);
        stage.request_to(0, X, outcome);
        stage.now += Duration::from_millis(999);
        assert_eq!(stage.destinations(X), BTreeSet::from([address(1)]), "{outcome:?}");
        stage.now += MS;
        assert_eq!(stage.destinations(X), BTreeSet::from([address(0), address(1)]), "{outcome:?}");
    }
}

#[test]
fn what_a_caller_avoids_is_forgotten_with_its_endpoint() {
    let mut stage = Stage::new(3);
    stage.deny();
    stage.update(endpoints([0, 2]));
    assert_eq!(stage.state.verdicts().len(), 1, "another one went");
    stage.update(endpoints([2]));
    stage.update(endpoints([0, 2]));
    assert_eq!(stage.destinations(X), BTreeSet::from([address(0), address(2)]));
}

#[test]
fn a_failure_that_others_contradict_counts_for_its_caller_alone() {
    let outcomes = [Outcome::Unreachable, Outcome::Failure, Outcome::Expired];
    for (judges, expected) in [(true, 0), (false, 1)] {
        for outcome in outcomes {
            let mut stage = Stage::new(2);
            let mut policy = Policy::clone(stage.publisher.policy());
            policy.outlier.enabled = judges;
            stage.update_with(endpoints(0..2), Arc::new(policy));
            stage.request_to(0, Y, Outcome::Success);
            let avoids = stage.request_to(0, X, outcome);
            assert_eq!(avoids, judges && outcome == Outcome::Unreachable, "{outcome:?}");
            stage.pass_after(100 * MS);
            let totals = stage.totals(0);
            assert_eq!((totals.succeeded, totals.failed), (1, expected), "{judges}, {outcome:?}");
        }
    }
}

#[test]
fn only_a_request_from_the_probation_on_says_something_about_the_endpoint() {
    for outcome in [Outcome::Success, Outcome::Unreachable, Outcome::Failure, Outcome::Expired] {
        let mut stage = Stage::new(2);
        let streams = [stage.start_at(0, X), stage.start_at(0, X)];
        stage.request_to(0, X, Outcome::Unreachable);
        stage.pass_after(MS);
        assert_eq!(stage.state_of(0), State::Ejected);
        stage.pass_after(Duration::from_secs(1));
        assert_eq!(stage.state_of(0), State::Probing);
        let slot = streams[0].slot;
        let planned = stage.state.planned(slot).expect("an endpoint");
        let since = planned.probed_since().expect("it is on probation");
        let before = stage.totals(0);
        let judged = |stage: &Stage| {
            let Totals { succeeded, failed, .. } = stage.totals(0);
            (succeeded - before.succeeded, failed - before.failed)
        };

        let [early, probe] = streams;
        let just_before = since - Duration::from_nanos(1);
        stage.state.end(early, X, just_before, (outcome, None), stage.now);
        stage.pass_after(100 * MS);
        assert_eq!(judged(&stage), (0, 0), "{outcome:?}");
        stage.state.end(probe, X, since, (outcome, None), stage.now);
        stage.pass_after(100 * MS);
        let expected = if outcome == Outcome::Success { (1, 0) } else { (0, 1) };
        assert_eq!(judged(&stage), expected, "{outcome:?}");
    }
}
