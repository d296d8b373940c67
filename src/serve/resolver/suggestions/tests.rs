//! One thread that searches, and callers that ask for more than its budget.

use std::sync::{
    atomic::{AtomicUsize, Ordering::SeqCst},
    mpsc,
};

use super::*;
use crate::{
    catalog::{
        Change, SourceId,
        sample::{endpoint, service},
    },
    config::{AccessEntry, Callers},
    identity::Pods,
    serve::resolver::access::Access,
};

const ALICE: Identity = Identity::Uid(1);
const BOB: Identity = Identity::Uid(2);
const LONG: Duration = Duration::from_secs(5);

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn catalog(names: &[&str]) -> Arc<Catalog> {
    let catalog = Arc::new(Catalog::new(["test"]));
    for name in names {
        let change = Change::Upsert(service(name, [endpoint(1)]));
        catalog.apply(SourceId(0), change, Duration::ZERO);
    }
    catalog
}

/// Access to these namespaces.
fn entry(uid: u32, namespaces: &[&str]) -> AccessEntry {
    let namespaces = Some(namespaces.iter().map(|namespace| Arc::from(*namespace)).collect());
    AccessEntry { callers: Callers::Uids(uid..=uid), namespaces, own_namespace: false }
}

/// Access to one namespace each, by uid.
fn access(entries: &[(u32, &str)]) -> Arc<CurrentAccess> {
    let entries = entries.iter().map(|(uid, namespace)| entry(*uid, &[namespace]));
    Arc::new(CurrentAccess::new(Access(entries.collect()), Arc::<Pods>::default()))
}

/// The searches wait until they are released, and are counted.
fn held_up() -> (Suggestions, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (let_go, held) = mpsc::channel();
    let (held, searches) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&searches);
    let search = move |question: &Question| {
        counted.fetch_add(1, SeqCst);
        held.lock().unwrap().recv().ok();
        vec![question.name.clone()]
    };
    let open = Arc::new(CurrentAccess::new(Access::default(), Arc::<Pods>::default()));
    (Suggestions::by(catalog(&[]), open, Box::new(search)), let_go, searches)
}

async fn searching(searches: &AtomicUsize, number: usize) {
    while searches.load(SeqCst) < number {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_first_answer_waits_for_its_suggestion_and_the_next_has_it_at_once() {
    let catalog = catalog(&["cart.shop", "users.shop"]);
    let suggestions = Suggestions::new(Arc::clone(&catalog), access(&[(1, "shop")]));
    assert_eq!(suggestions.near(ALICE, &name("crat.shop"), LONG).await, ["cart.shop"]);
    let at_once = suggestions.near(ALICE, &name("crat.shop"), Duration::ZERO).await;
    assert_eq!(at_once, ["cart.shop"], "it is remembered");
    let change = Change::Upsert(service("brat.shop", [endpoint(1)]));
    catalog.apply(SourceId(0), change, Duration::ZERO);
    let again = suggestions.near(ALICE, &name("crat.shop"), LONG).await;
    assert_eq!(again, ["brat.shop", "cart.shop"], "there is another service now");
}

#[tokio::test]
async fn nobody_is_told_of_a_namespace_that_it_may_not_ask_for() {
    let catalog = catalog(&["cart.shop", "cart.bank"]);
    let access = access(&[(1, "shop"), (2, "bank")]);
    let suggestions = Suggestions::new(catalog, Arc::clone(&access));
    let asked = name("cart.default");
    assert_eq!(suggestions.near(ALICE, &asked, LONG).await, ["cart.shop"]);
    assert_eq!(suggestions.near(BOB, &asked, LONG).await, ["cart.bank"]);
    assert_eq!(suggestions.near(ALICE, &asked, LONG).await, ["cart.shop"]);
    // A remembered answer is filtered by the present access.
    access.replace(Access(vec![entry(1, &[])]));
    assert!(suggestions.near(ALICE, &asked, LONG).await.is_empty());
    access.replace(Access::default());
    assert_eq!(suggestions.near(ALICE, &asked, LONG).await, ["cart.bank", "cart.shop"]);
}

#[tokio::test]
async fn whoever_misspells_more_than_is_searched_is_answered_at_once_and_keeps_no_other_waiting() {
    let (suggestions, let_go, searches) = held_up();
    let suggestions = Arc::new(suggestions);
    let ask = |by, text: &str| {
        let (suggestions, asked) = (Arc::clone(&suggestions), name(text));
        tokio::spawn(async move { suggestions.near(by, &asked, LONG).await })
    };
    let first = ask(ALICE, "a.shop");
    searching(&searches, 1).await;
    for number in 0..1000 {
        let text = format!("x{number}.shop");
        assert!(suggestions.near(ALICE, &name(&text), LONG).await.is_empty(), "{text}");
    }
    let (same, other) = (ask(ALICE, "a.shop"), ask(BOB, "b.shop"));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let_go.send(()).unwrap();
    let_go.send(()).unwrap();
    assert_eq!(first.await.unwrap(), ["a.shop"]);
    assert_eq!(same.await.unwrap(), ["a.shop"], "it waits for the search that is under way");
    assert_eq!(other.await.unwrap(), ["b.shop"]);
    assert_eq!(searches.load(SeqCst), 2);
}

#[tokio::test]
async fn an_answer_goes_without_when_its_suggestion_takes_too_long() {
    let (suggestions, let_go, _) = held_up();
    let begin = tokio::time::Instant::now();
    assert!(suggestions.near(ALICE, &name("a.shop"), LONG).await.is_empty());
    assert!(begin.elapsed() >= WAIT && begin.elapsed() < LONG, "{:?}", begin.elapsed());
    let zero = suggestions.near(ALICE, &name("a.shop"), Duration::ZERO).await;
    assert!(zero.is_empty(), "who waits for nothing does not wait for this");
    drop(let_go);
}

#[test]
fn the_last_names_are_remembered_and_no_more() {
    let mut remembered = FoundCache::default();
    let question = |n: usize| Question { viewer: None, name: name(&format!("s{n}.shop")) };
    for n in 0..=REMEMBERED {
        remembered.insert(question(n), 7, Arc::from([]));
        remembered.insert(question(n), 7, Arc::from([]));
    }
    assert_eq!((remembered.found.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
    assert!(remembered.get(&question(0), 7).is_none());
    assert!(remembered.get(&question(REMEMBERED), 7).is_some());
    assert!(remembered.get(&question(REMEMBERED), 8).is_none());
}

#[test]
fn within_any_second_a_small_share_of_a_core_is_spent() {
    for cost in [10, 300, 3_000, 40_000].map(Duration::from_micros) {
        let mut now = LONG;
        let mut budget = Budget::new(now);
        let mut spent: Vec<Duration> = Vec::new();
        while now < LONG * 4 {
            now += cost;
            spent.push(now);
            now += budget.pay(cost, now);
        }
        let second = Duration::from_secs(1);
        for (first, begin) in spent.iter().enumerate() {
            let within = spent[first..].iter().take_while(|end| **end < *begin + second).count();
            let allowed = second / SHARE + SAVED + cost;
            let within = cost * u32::try_from(within).unwrap();
            assert!(within <= allowed, "{within:?} within a second from {begin:?}, {cost:?} each");
        }
        // The budget is used: no search waits without need.
        let share = (cost * u32::try_from(spent.len()).unwrap()).as_secs_f64() / 15.0;
        assert!(share > 0.9 / f64::from(SHARE), "{share}");
    }
}
