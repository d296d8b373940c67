//! One watch that never ends: it lists, then watches. After a failure it waits and resumes, with a
//! new list if the API server no longer has the changes since.
//!
//! A list is passed on only when it is complete. So no reader sees half of a service, and an object
//! that vanished during an outage is noticed because the list lacks it. (kube's own `watcher` does
//! the same, but does not report when a watch runs again. A problem would be shown until something
//! changes in the cluster, which may take days for a quiet service.)

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
    reachability::Reachability,
    read_up_to::ReadUpTo,
    request_queue::{RequestQueue, Urgency},
};
use crate::{source::backoff::Backoff, source::current_problems::Problems};

/// Objects per page of a list, as in client-go.
const PAGE: u32 = 500;
/// The API server ends a watch after at most this time, and the watch resumes where it was. As in
/// kubectl and kube, it is below the five minutes after which load balancers drop a quiet
/// connection.
const WATCH: Duration = Duration::from_secs(290);
/// A watch that is silent for this much longer has lost its API server.
const WATCH_MARGIN: Duration = Duration::from_secs(10);

/// An update of a watch.
#[derive(Debug)]
pub(super) enum Update<K> {
    /// All objects there are now.
    Listed(Vec<K>),
    /// A new or changed object.
    Applied(Box<K>),
    /// A deleted object.
    Deleted(Box<K>),
    /// The watch is interrupted, and why.
    Interrupted(Arc<str>),
    /// The same, because the agent has no right to it.
    Refused(Arc<str>),
    /// The watch runs again, and missed nothing.
    Resumed,
    /// Nothing has changed up to a later version, of which [`Subject::read`] was told.
    Unchanged,
}

impl<K> Update<K> {
    pub(super) fn interruption(&self) -> Option<Arc<str>> {
        match self {
            Self::Interrupted(why) | Self::Refused(why) => Some(why.clone()),
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
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) resource: Resource,
    /// The finder of its problems.
    pub(super) finder: Arc<str>,
    /// The API server's URL.
    pub(super) server: Arc<str>,
    /// Is told how far the watch has read.
    pub(super) read: Option<Arc<ReadUpTo>>,
}

/// When a watch may send requests.
#[derive(Clone)]
pub(super) struct Pace {
    pub(super) reachability: Reachability,
    pub(super) queue: RequestQueue,
    /// The current urgency of a list.
    pub(super) list: Arc<dyn Fn() -> Urgency + Send + Sync>,
    /// The urgency of beginning a watch.
    pub(super) begin: Urgency,
}

/// How long to wait before the next request.
#[derive(Clone, Copy, Debug, Default)]
enum Wait {
    #[default]
    No,
    /// Its request failed.
    For(Duration),
    /// The API server is unreachable.
    UntilReached,
}

/// The phase of a watch.
enum Phase<K, R> {
    /// Lists page by page. `newest`: the highest version of an object so far.
    List { listed: Vec<R>, newest: u64, next: Option<String> },
    /// About to watch the changes after this version.
    Since(String),
    /// Watches.
    Following { since: String, events: BoxStream<'static, kube::Result<WatchEvent<K>>> },
}

impl<K, R> Phase<K, R> {
    fn anew() -> Self {
        Self::List { listed: Vec::new(), newest: 0, next: None }
    }
}

struct Watch<K, R> {
    api: Api<K>,
    reduce: Reduce<K, R>,
    selector: Selector,
    subject: Subject,
    problems: Problems,
    pace: Pace,
    backoff: Backoff,
    wait: Wait,
    silent: bool,
    phase: Phase<K, R>,
}

/// What is kept of an object.
type Reduce<K, R> = Box<dyn FnMut(K) -> R + Send>;

/// Keeps an object without its `managedFields`, which are most of its memory, and unused here.
pub(super) fn whole<K: KubeResource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// Lists and watches, forever. `reduce`: what is kept of an object. A list is reduced page by page, so that
/// no more than a page of whole objects is held.
pub(super) fn watch<K, R>(
    api: Api<K>,
    reduce: impl FnMut(K) -> R + Send + 'static,
    selector: Selector,
    subject: Subject,
    problems: Problems,
    pace: Pace,
) -> impl Stream<Item = Update<R>> + Send
where
    K: KubeResource + Clone + Debug + DeserializeOwned + Send + 'static,
    R: Send + 'static,
{
    let watch = Watch {
        api,
        reduce: Box::new(reduce),
        selector,
        subject,
        problems,
        pace,
        backoff: Backoff::default(),
        wait: Wait::No,
        silent: false,
        phase: Phase::anew(),
    };
    // A stream, so that a wait continues even if the receiver handles another event meanwhile.
    stream::unfold(watch, |mut watch| async move {
        let update = watch.next().await;
        Some((update, watch))
    })
}

impl<K, R> Watch<K, R>
where
    K: KubeResource + Clone + Debug + DeserializeOwned + Send + 'static,
    R: Send + 'static,
{
    async fn next(&mut self) -> Update<R> {
        loop {
            match std::mem::take(&mut self.wait) {
                Wait::No => {}
                Wait::For(time) => tokio::time::sleep(time).await,
                Wait::UntilReached => self.pace.reachability.ready().await,
            }
            let phase = std::mem::replace(&mut self.phase, Phase::anew());
            let update = match phase {
                Phase::List { listed, newest, next } => self.list(listed, newest, next).await,
                Phase::Since(version) => self.begin(version).await,
                Phase::Following { since, events } => self.follow(since, events).await,
            };
            if let Some(update) = update {
                return update;
            }
        }
    }

    async fn list(
        &mut self,
        mut listed: Vec<R>,
        newest: u64,
        next: Option<String>,
    ) -> Option<Update<R>> {
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
            // An incomplete list is worthless: begin anew.
            Err(error) => return Some(self.failed(&error, "list", None)),
        };
        let versions =
            page.items.iter().filter_map(|object| object.meta().resource_version.as_ref());
        let newest = versions.filter_map(|version| version.parse().ok()).fold(newest, u64::max);
        listed.extend(page.items.into_iter().map(&mut self.reduce));
        if let Some(next) = page.metadata.continue_.filter(|next| !next.is_empty()) {
            self.phase = Phase::List { listed, newest, next: Some(next) };
            return None;
        }
        self.backoff.succeeded();
        self.silent = false;
        let version = page.metadata.resource_version.unwrap_or_default();
        if let Some(read) = &self.subject.read {
            read.listed(self.subject.resource, &version, newest);
        }
        self.phase = Phase::Since(version);
        Some(Update::Listed(listed))
    }

    async fn begin(&mut self, since: String) -> Option<Update<R>> {
        // Random, so that watches that began together do not end together.
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
    ) -> Option<Update<R>> {
        let Ok(event) = tokio::time::timeout(WATCH + WATCH_MARGIN, events.next()).await else {
            self.phase = Phase::Since(since);
            return None;
        };
        let version = |object: &K| object.meta().resource_version.clone();
        let (since, update) = match event {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                let since = version(&object).unwrap_or(since);
                (since, Some(Update::Applied(Box::new((self.reduce)(object)))))
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                let since = version(&object).unwrap_or(since);
                (since, Some(Update::Deleted(Box::new((self.reduce)(object)))))
            }
            // A bookmark: nothing changed here, but other objects did. Resuming from it works for
            // longer.
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
            // The watch's time was over.
            None => {
                self.phase = Phase::Since(since);
                return None;
            }
        };
        let update = match (&self.subject.read, update) {
            (Some(read), Some(update)) => {
                read.changed(self.subject.resource, &since);
                Some(update)
            }
            (Some(read), None) => {
                read.unchanged(self.subject.resource, &since);
                Some(Update::Unchanged)
            }
            (None, update) => update,
        };
        self.phase = Phase::Following { since, events };
        update
    }

    /// `since`: the version to resume from, if the API server still has it.
    fn failed(&mut self, error: &kube::Error, verb: &str, since: Option<String>) -> Update<R> {
        let failure = api_error::of_call(error, verb, self.subject.resource, &self.subject.server);
        self.wait = match error {
            // An answer concerns this watch only; anything else may concern all connections.
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
            // No problem to report: the API server or the agent was away.
            debug!(of = %self.subject.finder, "listing again: {}", failure.what);
        } else {
            self.problems.found(&self.subject.finder, &failure.what);
        }
        self.silent = true;
        match failure.forbidden {
            true => Update::Refused(failure.what.into()),
            false => Update::Interrupted(failure.what.into()),
        }
    }
}
