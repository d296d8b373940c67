//! One stream: requests in, responses out.
//!
//! The responses are a body that hyper polls when it has sent the last one but one. Only then the next
//! response is composed, from what is published at that moment. So a client that reads slowly costs two
//! responses, and no queue.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt, Stream, stream};
use prost::Message;
use tokio::sync::watch;
use tonic::{Status, Streaming};
use tracing::{debug, warn};
use xds::server::limits::beginning;

use super::{
    listen::Peer,
    machine::{Machine, Scope},
    metrics::Metrics,
    streams::{OpenStream, StreamFacts},
};
use crate::{
    clock,
    discovery::{self, Snapshot, View},
    quota::{Exhausted, Permit},
};

/// The requests of a stream that are read before other tasks run: a client that sends them without end
/// must not keep a thread.
const AT_A_TIME: usize = 16;

/// The longest id of a node that is kept, in bytes: the client chooses it, and a log line has it.
const LONGEST_NODE: usize = 256;

/// A stream's state between two responses.
struct Client<M: Machine> {
    /// The pages read it, too.
    machine: Arc<Mutex<M>>,
    peer: Peer,
    scope: Scope,
    /// What the first request says; None: there was none.
    client: Option<Known>,
    requests: Streaming<M::Request>,
    names: Permit<Peer>,
    snapshot: Arc<Snapshot>,
    changes: watch::Receiver<u64>,
    metrics: Arc<Metrics>,
}

/// A client that has said what it is.
struct Known {
    client: discovery::Client,
    open: OpenStream,
}

/// A source is telling something, which lasts for milliseconds. What is published may be a part of it.
struct Unsettled;

/// The responses to these requests. `names`: the quota of the names that they subscribe to.
pub(super) fn responses<M: Machine>(
    scope: Scope,
    peer: Peer,
    requests: Streaming<M::Request>,
    names: Permit<Peer>,
    snapshot: Arc<Snapshot>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Result<M::Response, Status>> + Send {
    let changes = snapshot.changes();
    let machine = Arc::<Mutex<M>>::default();
    let client =
        Client { machine, peer, scope, client: None, requests, names, snapshot, changes, metrics };
    stream::unfold(Some(client), |client| async {
        let mut client = client?;
        match client.next().await {
            Ok(Some(response)) => Some((Ok(response), Some(client))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
}

fn exhausted(exhausted: Exhausted) -> Status {
    Status::resource_exhausted(exhausted.to_string())
}

/// It is held for as long as one message takes.
fn locked<M>(machine: &Mutex<M>) -> MutexGuard<'_, M> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Machine> Client<M> {
    /// The next response; None: the client has ended the stream.
    async fn next(&mut self) -> Result<Option<M::Response>, Status> {
        loop {
            // All that the client has said comes first: it may have given up what would be sent.
            let mut taken = 0;
            while let Some(request) = self.requests.message().now_or_never() {
                match request? {
                    Some(request) => self.take(request)?,
                    None => return Ok(None),
                }
                taken += 1;
                if taken % AT_A_TIME == 0 {
                    tokio::task::yield_now().await;
                }
            }
            // Before the resources are read: what changes after this wakes the stream again.
            self.changes.mark_unchanged();
            match self.respond() {
                Ok(Some(response)) => {
                    // A wildcard grows with what is published.
                    self.resize_names()?;
                    return Ok(Some(response));
                }
                Ok(None) => {}
                Err(Unsettled) => {
                    self.snapshot.settled().await;
                    continue;
                }
            }
            tokio::select! {
                request = self.requests.message() => match request? {
                    Some(request) => self.take(request)?,
                    None => return Ok(None),
                },
                // The sender lives in `self`, so that this can't fail.
                _ = self.changes.changed() => {}
            }
        }
    }

    fn respond(&mut self) -> Result<Option<M::Response>, Unsettled> {
        let Some(Known { client, .. }) = &self.client else { return Ok(None) };
        let begin = clock::now();
        let resources = self.snapshot.resources(client.kind);
        let progress = self.snapshot.progress().ok_or(Unsettled)?;
        let view = View { resources: &resources, client, progress };
        let response = locked(&self.machine).next(&view, begin);
        drop(resources);
        let Some(response) = response else { return Ok(None) };
        let bytes = response.encoded_len() as u64;
        self.metrics.responded(M::response_type(&response), bytes, clock::now() - begin);
        Ok(Some(response))
    }

    fn resize_names(&mut self) -> Result<(), Status> {
        let names = locked(&self.machine).names();
        self.names.resize(names).map_err(exhausted)
    }

    fn take(&mut self, mut request: M::Request) -> Result<(), Status> {
        let node = M::node(&mut request);
        if self.client.is_none() {
            // A client without a node is served, as other servers do it.
            let node = node.unwrap_or_default();
            let client = discovery::Client::of(&node).map_err(Status::invalid_argument)?;
            let facts = StreamFacts {
                peer: self.peer,
                node: beginning(&node.id, LONGEST_NODE),
                client: client.kind.text(),
                variant: M::VARIANT,
                since: clock::now(),
            };
            debug!(
                node = facts.node,
                kind = facts.client,
                variant = facts.variant,
                "a stream began"
            );
            let open = self.metrics.stream(facts, self.machine.clone());
            self.client = Some(Known { client, open });
        }
        self.scope.check(M::type_url(&mut request)).map_err(Status::invalid_argument)?;
        let type_url = M::type_url(&mut request).clone();
        let answer = locked(&self.machine)
            .request(request)
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        self.resize_names()?;
        let Some(answer) = answer else { return Ok(()) };
        let Some(rejection) = answer.rejection else {
            self.metrics.accepted(&type_url, clock::now().saturating_sub(answer.sent));
            return Ok(());
        };
        self.metrics.rejected(&type_url);
        if self.metrics.rejection_lines.due(clock::now()) {
            warn!(
                node = self.client.as_ref().map_or("", |known| known.open.node()),
                resource_type = type_url,
                resources = ?rejection.names,
                "a client rejected a response: {}",
                rejection.message
            );
        }
        Ok(())
    }
}
