//! One watch that never ends: lists, then follows; after a failure it waits and goes on, from a new
//! list where the API server has forgotten what came since.
//!
//! What came of a list is told only when all of it is there. So nobody sees half of a service, and
//! what vanished while the watch was away is known by not being in it.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use kube::runtime::watcher::{self, Event};

use super::{
    access::{self, Resource},
    backoff::Backoff,
    problems::Problems,
};

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Heard<K> {
    /// All that there is now.
    All(Vec<K>),
    /// A new or changed object.
    Put(K),
    /// It is no more.
    Gone(K),
    /// Why there is nothing to hear for now.
    Silence(Arc<str>),
}

impl<K> Heard<K> {
    pub(super) fn silence(&self) -> Option<Arc<str>> {
        match self {
            Self::Silence(why) => Some(why.clone()),
            _ => None,
        }
    }
}

/// Who watches what, for a person.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) resource: Resource,
    /// Whose problems these are.
    pub(super) finder: Arc<str>,
    /// Where the API server is.
    pub(super) server: Arc<str>,
}

type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

struct Watch<K, F> {
    open: F,
    events: Events<K>,
    subject: Subject,
    problems: Problems,
    backoff: Backoff,
    listed: Vec<K>,
    wait: Duration,
}

/// Watches for ever; `open` begins one of kube's watches.
pub(super) fn watch<K, F>(
    open: F,
    subject: Subject,
    problems: Problems,
) -> impl Stream<Item = Heard<K>> + Send
where
    K: Debug + Send + 'static,
    F: Fn() -> Events<K> + Send,
{
    let watch = Watch {
        events: open(),
        open,
        subject,
        problems,
        backoff: Backoff::default(),
        listed: Vec::new(),
        wait: Duration::ZERO,
    };
    stream::unfold(watch, |mut watch| async move {
        let heard = watch.next().await;
        Some((heard, watch))
    })
}

impl<K, F: Fn() -> Events<K>> Watch<K, F> {
    async fn next(&mut self) -> Heard<K> {
        loop {
            let wait = std::mem::take(&mut self.wait);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            match self.events.next().await {
                Some(Ok(event)) => {
                    if let Some(heard) = self.take(event) {
                        self.backoff.succeeded();
                        self.problems.mended(&self.subject.finder);
                        return heard;
                    }
                }
                Some(Err(error)) => return self.failed(&error),
                // kube's never ends; were that to change, another one goes on.
                None => {
                    self.events = (self.open)();
                    self.wait = self.backoff.failed();
                }
            }
        }
    }

    fn take(&mut self, event: Event<K>) -> Option<Heard<K>> {
        match event {
            Event::Init => {
                self.listed.clear();
                None
            }
            Event::InitApply(object) => {
                self.listed.push(object);
                None
            }
            Event::InitDone => Some(Heard::All(std::mem::take(&mut self.listed))),
            Event::Apply(object) => Some(Heard::Put(object)),
            Event::Delete(object) => Some(Heard::Gone(object)),
        }
    }

    fn failed(&mut self, error: &watcher::Error) -> Heard<K> {
        let failure = access::of_watch(error, self.subject.resource, &self.subject.server);
        self.wait = self.backoff.failed().max(failure.retry_after.unwrap_or_default());
        if failure.gone {
            // Within a watch kube begins anew by itself, but not when it can't begin one.
            self.events = (self.open)();
        } else {
            self.problems.found(&self.subject.finder, &failure.what);
        }
        Heard::Silence(failure.what.into())
    }
}
