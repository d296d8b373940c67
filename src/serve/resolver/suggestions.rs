//! Suggests similar names for an unknown one.
//!
//! A search looks at the name of every service, and a caller can misspell as fast as it can pick. So one
//! thread of lower priority searches, for a small share of a core. An answer waits a moment for it,
//! without holding a thread. When there are too many searches, answers have no suggestions.
//!
//! - Callers take turns: each has one search at a time, so that a caller with a million names does not
//!   keep others from their suggestions.
//! - Results are cached until the set of services changes.
//! - A caller never gets names of a namespace that it may not ask for. Where access is restricted, each
//!   caller has its own searches, and access is checked again with each answer.

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

/// Searches take this fraction of a core: 1/32, about 3%. Range 10 to 100.
const SHARE: u32 = 32;
/// Processor time that is saved up while there are no searches, so that a person does not wait. Enough
/// for some searches in a cluster of 10,000 services (1 to 3 ms each).
const SAVED: Duration = Duration::from_millis(20);
/// The most time that an answer waits for suggestions. A person hardly notices it, and a busy node still
/// gives some.
const WAIT: Duration = Duration::from_millis(500);
/// Searches that wait, each of another caller.
const QUEUED: usize = 64;
/// Answers that wait for one search.
const WAITING: usize = 64;
/// Cached results; some 300 bytes each.
const REMEMBERED: usize = 1024;

type Near = Arc<[ServiceName]>;
type Search = Box<dyn Fn(&Question) -> Vec<ServiceName> + Send + Sync>;

/// A name to search for, and the caller that has to see the results.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    /// `None`: any caller, since access is not restricted.
    viewer: Option<Identity>,
    name: ServiceName,
}

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
    /// The first is under way.
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

    /// Similar names, best first; none if the search takes longer than `wait`.
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
        // Access may have changed since the search.
        let allowed = near.iter().filter(|name| self.0.access.allows(identity, &name.namespace));
        allowed.map(ToString::to_string).collect()
    }

    fn ask(&self, identity: Identity, name: &ServiceName) -> Lookup {
        let shared = &self.0;
        // The searching thread has a low priority and may be preempted while it holds the lock, so
        // that a serving thread must not wait for it.
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

    /// Starts the thread at the first search; false if the system gives none.
    fn started(&self) -> bool {
        if self.0.started.swap(true, Relaxed) {
            return true;
        }
        let shared = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("suggest".to_owned());
        let started = thread.spawn(move || shared.run());
        if let Err(error) = &started {
            warn!(%error, "the thread for suggestions could not start: errors have no suggestions");
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
        lower_priority("the search for suggestions");
        let mut budget = Budget::new(clock::now());
        let mut paid = clock::thread_time();
        while let Some(question) = self.next() {
            // Read before the search, so that a result is never taken for a newer set of services.
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

    /// The next search; `None` at the end.
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
            // The caller may have gone.
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

/// The results of the last searches.
#[derive(Default)]
struct FoundCache {
    found: HashMap<Question, (u64, Near)>,
    /// Oldest first.
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

/// The processor time that searches may spend.
struct Budget {
    saved: Duration,
    as_of: Duration,
}

impl Budget {
    fn new(now: Duration) -> Self {
        Self { saved: SAVED, as_of: now }
    }

    /// Pays for a search. Returns how long to rest. Within any period searches spend no more than the
    /// period divided by [`SHARE`], plus [`SAVED`] and one search.
    fn pay(&mut self, spent: Duration, now: Duration) -> Duration {
        let earned = now.saturating_sub(self.as_of) / SHARE;
        self.saved = (self.saved + earned).min(SAVED);
        let rest = spent.saturating_sub(self.saved) * SHARE;
        self.saved = self.saved.saturating_sub(spent);
        // A rest pays for the search, and earns nothing more.
        self.as_of = now + rest;
        rest
    }
}

#[cfg(test)]
mod tests;
