//! One watch that never ends: lists, then follows; after a failure it waits and goes on, from a new
//! list where the API server has forgotten what came since.
//!
//! What came of a list is told only when all of it is there. So nobody sees half of a service, and
//! what vanished while the watch was away is known by not being in it. (kube's own `watcher` does
//! the same, and does not say when a watch runs again: a problem would be shown until something
//! changes in the cluster, and a quiet service changes on no day.)

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api,
    api::{ListParams, WatchParams},
    core::{Resource as KubeResource, WatchEvent},
};
use rand::RngExt;
use serde::de::DeserializeOwned;
use tracing::debug;

use super::{
    api_error::{self, Resource},
    backoff::Backoff,
    problems::Problems,
    reachability::Reachability,
    request_queue::{RequestQueue, Urgency},
};

/// Objects of a page of a list: client-go's. A cluster's names come in several.
const PAGE: u32 = 500;
/// The API server ends a watch after at most so long, and it goes on from where it was. As kubectl
/// and kube have it: below the five minutes after which balancers drop a quiet connection.
const WATCH: Duration = Duration::from_secs(290);
/// A watch that says nothing for so much longer has lost its API server.
const WATCH_MARGIN: Duration = Duration::from_secs(10);

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Update<K> {
    /// All that there is now.
    Listed(Vec<K>),
    /// A new or changed object.
    Applied(Box<K>),
    /// It is no more.
    Deleted(Box<K>),
    /// Why there is nothing to hear for now.
    Interrupted(Arc<str>),
    /// It is watched again, and nothing was missed.
    Resumed,
}

impl<K> Update<K> {
    pub(super) fn interruption(&self) -> Option<Arc<str>> {
        match self {
            Self::Interrupted(why) => Some(why.clone()),
            _ => None,
        }
    }
}

/// Which objects are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    pub(super) fields: Option<String>,
    pub(super) labels: Option<String>,
}

/// What is watched, for a person.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) resource: Resource,
    /// Whose problems these are.
    pub(super) finder: Arc<str>,
    /// Where the API server is.
    pub(super) server: Arc<str>,
}

/// When it may ask.
#[derive(Clone)]
pub(super) struct Pace {
    pub(super) reachability: Reachability,
    pub(super) queue: RequestQueue,
    /// How much a list of all of it matters now.
    pub(super) list: Arc<dyn Fn() -> Urgency + Send + Sync>,
    /// How much it matters that what came since is watched.
    pub(super) begin: Urgency,
}

/// Until when it asks nobody.
#[derive(Clone, Copy, Debug, Default)]
enum Wait {
    #[default]
    No,
    /// What it asked for was refused.
    For(Duration),
    /// Nobody is there to be asked.
    UntilReached,
}

/// How far it has come.
enum Phase<K> {
    /// All of it is asked for, page by page.
    List { listed: Vec<K>, next: Option<String> },
    /// What came after this version is to be watched.
    Since(String),
    /// It is.
    Following { since: String, events: BoxStream<'static, kube::Result<WatchEvent<K>>> },
}

impl<K> Phase<K> {
    fn anew() -> Self {
        Self::List { listed: Vec::new(), next: None }
    }
}

struct Watch<K> {
    api: Api<K>,
    selector: Selector,
    subject: Subject,
    problems: Problems,
    pace: Pace,
    backoff: Backoff,
    wait: Wait,
    silent: bool,
    phase: Phase<K>,
}

/// Watches for ever.
pub(super) fn watch<K>(
    api: Api<K>,
    selector: Selector,
    subject: Subject,
    problems: Problems,
    pace: Pace,
) -> impl Stream<Item = Update<K>> + Send
where
    K: KubeResource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let watch = Watch {
        api,
        selector,
        subject,
        problems,
        pace,
        backoff: Backoff::default(),
        wait: Wait::No,
        silent: false,
        phase: Phase::anew(),
    };
    // Within the stream, a wait goes on when whoever listens hears something else meanwhile.
    stream::unfold(watch, |mut watch| async move {
        let update = watch.next().await;
        Some((update, watch))
    })
}

impl<K> Watch<K>
where
    K: KubeResource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    async fn next(&mut self) -> Update<K> {
        loop {
            match std::mem::take(&mut self.wait) {
                Wait::No => {}
                Wait::For(time) => tokio::time::sleep(time).await,
                Wait::UntilReached => self.pace.reachability.ready().await,
            }
            let phase = std::mem::replace(&mut self.phase, Phase::anew());
            let update = match phase {
                Phase::List { listed, next } => self.list(listed, next).await,
                Phase::Since(version) => self.begin(version).await,
                Phase::Following { since, events } => self.follow(since, events).await,
            };
            if let Some(update) = update {
                return update;
            }
        }
    }

    async fn list(&mut self, mut listed: Vec<K>, next: Option<String>) -> Option<Update<K>> {
        let params = ListParams {
            label_selector: self.selector.labels.clone(),
            field_selector: self.selector.fields.clone(),
            limit: Some(PAGE),
            continue_token: next,
            ..ListParams::default()
        };
        let urgency = (self.pace.list)();
        let page = match self.pace.queue.run(urgency, self.api.list(&params)).await {
            Ok(page) => page,
            // Half of a list is none: it begins anew.
            Err(error) => return Some(self.failed(&error, "list", None)),
        };
        // Who wrote which field is most of an object's memory, and nobody here asks for it.
        listed.extend(page.items.into_iter().map(|mut object| {
            object.meta_mut().managed_fields = None;
            object
        }));
        if let Some(next) = page.metadata.continue_.filter(|next| !next.is_empty()) {
            self.phase = Phase::List { listed, next: Some(next) };
            return None;
        }
        self.backoff.succeeded();
        self.silent = false;
        self.phase = Phase::Since(page.metadata.resource_version.unwrap_or_default());
        Some(Update::Listed(listed))
    }

    async fn begin(&mut self, since: String) -> Option<Update<K>> {
        // Watches that began together do not end together.
        let seconds = rand::rng().random_range(WATCH.as_secs() / 2..=WATCH.as_secs());
        let params = WatchParams {
            label_selector: self.selector.labels.clone(),
            field_selector: self.selector.fields.clone(),
            timeout: u32::try_from(seconds).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        match self.pace.queue.run(self.pace.begin, self.api.watch(&params, &since)).await {
            Ok(events) => {
                self.backoff.succeeded();
                self.problems.mended(&self.subject.finder);
                debug!(of = %self.subject.finder, since, "watching");
                self.phase = Phase::Following { since, events: events.boxed() };
                std::mem::take(&mut self.silent).then_some(Update::Resumed)
            }
            Err(error) => Some(self.failed(&error, "watch", Some(since))),
        }
    }

    async fn follow(
        &mut self,
        since: String,
        mut events: BoxStream<'static, kube::Result<WatchEvent<K>>>,
    ) -> Option<Update<K>> {
        let Ok(event) = tokio::time::timeout(WATCH + WATCH_MARGIN, events.next()).await else {
            self.phase = Phase::Since(since);
            return None;
        };
        let version = |object: &K| object.meta().resource_version.clone();
        let (since, update) = match event {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                (version(&object).unwrap_or(since), Some(Update::Applied(Box::new(object))))
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                (version(&object).unwrap_or(since), Some(Update::Deleted(Box::new(object))))
            }
            // Nothing changed here, and much did elsewhere: from here it can be gone on for longer.
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                let since = bookmark.metadata.resource_version;
                debug!(of = %self.subject.finder, since, "nothing new");
                (since, None)
            }
            Some(Ok(WatchEvent::Error(status))) => {
                let error = kube::Error::Api(status);
                return Some(self.failed(&error, "watch", Some(since)));
            }
            Some(Err(error)) => return Some(self.failed(&error, "watch", Some(since))),
            // Its time was over.
            None => {
                self.phase = Phase::Since(since);
                return None;
            }
        };
        self.phase = Phase::Following { since, events };
        update
    }

    /// `since`: from where it can go on, if the API server remembers.
    fn failed(&mut self, error: &kube::Error, verb: &str, since: Option<String>) -> Update<K> {
        let failure = api_error::of_call(error, verb, self.subject.resource, &self.subject.server);
        self.wait = match error {
            // What it is told is about itself, and what all are told is everybody's.
            kube::Error::Api(_) => {
                Wait::For(self.backoff.failed().max(failure.retry_after.unwrap_or_default()))
            }
            _ if self.pace.reachability.is_down() => Wait::UntilReached,
            _ => Wait::For(self.backoff.failed()),
        };
        self.phase = match since {
            Some(since) if !failure.gone => Phase::Since(since),
            _ => Phase::anew(),
        };
        if failure.gone {
            // It has nothing to do with anybody: the API server was away, or the agent was.
            debug!(of = %self.subject.finder, "listing anew: {}", failure.what);
        } else {
            self.problems.found(&self.subject.finder, &failure.what);
        }
        self.silent = true;
        Update::Interrupted(failure.what.into())
    }
}
