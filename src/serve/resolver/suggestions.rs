//! What was probably meant by a name that nothing has: searched beside the calls, never within one.
//!
//! A search looks at the name of every service there is, and a caller can misspell as fast as it can
//! pick. So one thread of a lower priority searches, for a small share of a core. An answer waits a
//! moment for it, which holds no thread; where too much is asked it goes without suggestions.
//!
//! - Callers take turns: each has one name searched at a time, so that one who asks for a million does
//!   not keep another from its suggestion.
//! - What was found is remembered until there are other services.
//! - Nobody is told of a namespace that it may not ask for: where access is restricted, each caller has
//!   a search of its own, and what was found is looked at again with each answer.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::oneshot;
use tracing::warn;

use super::access::CurrentAccess;
use crate::{
    catalog::{Catalog, ServiceName},
    clock,
    identity::Identity,
    serve::priority::lower_priority,
};

/// The searches take a core's time divided by this: 3%. Whoever misspells can wait; range 10 to 100.
const SHARE: u32 = 32;
/// Processor time that is saved up while nobody misspells, so that a person never waits: some searches
/// in a cluster of 10,000 services (1 to 3 ms each).
const SAVED: Duration = Duration::from_millis(20);
/// How long an answer waits for its suggestions at most: a person hardly notices it, and a node whose
/// processors are all busy still gives some.
const WAIT: Duration = Duration::from_millis(500);
/// Names that wait to be searched, each of another caller.
const QUEUED: usize = 64;
/// Answers that wait for one search.
const WAITING: usize = 64;
/// Names whose suggestions are remembered, the last ones; some 300 bytes each.
const REMEMBERED: usize = 1024;

type Near = Arc<[ServiceName]>;
type Search = Box<dyn Fn(&Question) -> Vec<ServiceName> + Send + Sync>;

/// A name, and who sees the services among which it is searched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    /// None: everyone, since access is not restricted.
    viewer: Option<Identity>,
    name: ServiceName,
}

/// Answers what was probably meant.
pub(super) struct Suggestions(Arc<Shared>);

struct Shared {
    catalog: Arc<Catalog>,
    access: Arc<CurrentAccess>,
    search: Search,
    started: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The first is being searched.
    queue: VecDeque<Queued>,
    found: FoundCache,
    ended: bool,
}

struct Queued {
    by: Identity,
    question: Question,
    answers: Vec<oneshot::Sender<Near>>,
}

enum Lookup {
    Cached(Near),
    Pending(oneshot::Receiver<Near>),
    Busy,
}

impl Suggestions {
    pub(super) fn new(catalog: Arc<Catalog>, access: Arc<CurrentAccess>) -> Self {
        let (names, rules) = (Arc::clone(&catalog), Arc::clone(&access));
        let search = move |Question { viewer, name }: &Question| {
            let visible = |service: &ServiceName| {
                viewer.is_none_or(|viewer| rules.allows(viewer, &service.namespace))
            };
            names.near(name, visible)
        };
        Self::by(catalog, access, Box::new(search))
    }

    fn by(catalog: Arc<Catalog>, access: Arc<CurrentAccess>, search: Search) -> Self {
        Self(Arc::new(Shared {
            catalog,
            access,
            search,
            started: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// The services that were probably meant, best first; none where that can't be told within `wait`.
    pub(super) async fn near(
        &self,
        identity: Identity,
        asked: &ServiceName,
        wait: Duration,
    ) -> Vec<String> {
        let near = match self.ask(identity, asked) {
            Lookup::Cached(near) => near,
            Lookup::Pending(answer) => match tokio::time::timeout(wait.min(WAIT), answer).await {
                Ok(Ok(near)) => near,
                _ => return Vec::new(),
            },
            Lookup::Busy => return Vec::new(),
        };
        // Access may have changed since it was searched.
        let allowed = near.iter().filter(|name| self.0.access.allows(identity, &name.namespace));
        allowed.map(ToString::to_string).collect()
    }

    fn ask(&self, identity: Identity, name: &ServiceName) -> Lookup {
        let shared = &self.0;
        // The searching thread may have been preempted while it holds the lock, and gets little: a
        // thread that serves must not wait for it.
        let Ok(mut state) = shared.state.try_lock() else { return Lookup::Busy };
        let viewer = (!shared.access.is_open()).then_some(identity);
        let question = Question { viewer, name: name.clone() };
        if let Some(near) = state.found.get(&question, shared.catalog.names_version()) {
            return Lookup::Cached(near);
        }
        let (answer, receiver) = oneshot::channel();
        if let Some(queued) = state.queue.iter_mut().find(|queued| queued.question == question) {
            if queued.answers.len() >= WAITING {
                return Lookup::Busy;
            }
            queued.answers.push(answer);
            return Lookup::Pending(receiver);
        }
        let has_turn = state.queue.iter().any(|queued| queued.by == identity);
        if has_turn || state.queue.len() >= QUEUED || !self.started() {
            return Lookup::Busy;
        }
        state.queue.push_back(Queued { by: identity, question, answers: vec![answer] });
        drop(state);
        shared.changed.notify_one();
        Lookup::Pending(receiver)
    }

    /// Starts the thread, with the first name that is misspelt; false where the system gives none.
    fn started(&self) -> bool {
        if self.0.started.swap(true, Relaxed) {
            return true;
        }
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("suggest".to_owned());
        let started = thread.spawn(move || shared.run());
        if let Err(error) = &started {
            warn!(%error, "no thread to search for what was meant: errors go without suggestions");
            self.0.started.store(false, Relaxed);
        }
        started.is_ok()
    }
}

impl Drop for Suggestions {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for Suggestions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suggestions").finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self) {
        lower_priority("searches for what was meant");
        let mut budget = Budget::new(clock::now());
        let mut paid = clock::thread_time();
        while let Some(question) = self.next() {
            // In this order, what was found among former services counts as theirs.
            let version = self.catalog.names_version();
            let near = (self.search)(&question);
            self.answer(version, near.into());
            let spent = clock::thread_time();
            let rest = budget.pay(spent.saturating_sub(paid), clock::now());
            paid = spent;
            if !rest.is_zero() {
                self.rest(rest);
            }
        }
    }

    /// What to search for next; none when there will be nothing more.
    fn next(&self) -> Option<Question> {
        let idle = |state: &mut State| !state.ended && state.queue.is_empty();
        let state = self.changed.wait_while(self.state(), idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return None;
        }
        state.queue.front().map(|queued| queued.question.clone())
    }

    fn answer(&self, version: u64, near: Near) {
        let mut state = self.state();
        let Some(Queued { question, answers, .. }) = state.queue.pop_front() else { return };
        state.found.insert(question, version, Arc::clone(&near));
        drop(state);
        for answer in answers {
            // Who asked may have gone.
            answer.send(Arc::clone(&near)).ok();
        }
    }

    fn rest(&self, time: Duration) {
        drop(self.changed.wait_timeout_while(self.state(), time, |state| !state.ended));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found for the names that were asked for last.
#[derive(Default)]
struct FoundCache {
    found: HashMap<Question, (u64, Near)>,
    /// The oldest first.
    order: VecDeque<Question>,
}

impl FoundCache {
    fn get(&self, question: &Question, version: u64) -> Option<Near> {
        let (found_in, near) = self.found.get(question)?;
        (*found_in == version).then(|| Arc::clone(near))
    }

    fn insert(&mut self, question: Question, version: u64, near: Near) {
        if self.found.insert(question.clone(), (version, near)).is_some() {
            return;
        }
        self.order.push_back(question);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
    }
}

/// Processor time that may be spent.
struct Budget {
    saved: Duration,
    as_of: Duration,
}

impl Budget {
    fn new(now: Duration) -> Self {
        Self { saved: SAVED, as_of: now }
    }

    /// So much was spent; how long to rest for it. Within any time no more than that divided by
    /// [`SHARE`] is spent, with [`SAVED`] and one search on top.
    fn pay(&mut self, spent: Duration, now: Duration) -> Duration {
        let earned = now.saturating_sub(self.as_of) / SHARE;
        self.saved = (self.saved + earned).min(SAVED);
        let rest = spent.saturating_sub(self.saved) * SHARE;
        self.saved = self.saved.saturating_sub(spent);
        // A rest pays for what was spent, and earns nothing beside.
        self.as_of = now + rest;
        rest
    }
}

#[cfg(test)]
mod tests;
