//! A control plane as a source: services by incremental xDS.
//!
//! Knows the names of all services, and follows those that callers on this node ask for. While the control
//! plane is away, its last good state stays; a new stream is told what is known, and sends what differs.
//!
//! - [`server`]: which control plane, and how much of it; [`connection`]: the stream to it
//! - `services`: what it has told, and the services made of it, without IO

use std::{collections::HashMap, sync::Arc, time::Duration};

use ::xds::{
    client::delta::SILENCE,
    proto::envoy::config::core::v3::{Locality as NodeLocality, Node},
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use self::{
    connection::{Cause, Connection, Event, room},
    services::{Services, hold::LONGEST_HOLD, news::News},
};
use super::{Status, current_problems::Problems, interest_end::until_nobody_asks};
use crate::{
    catalog::{Catalog, Interest, Locality, ServiceName, SourceId, last_good::STALE_AFTER},
    clock,
    discovery::client::{AGENT, host_name},
};

/// Responses that may wait to be answered, before no more are read.
const MOST_UNANSWERED: usize = 16;
/// A service with more ports than this counts as several followed services. A node follows 2,000, so that it
/// subscribes to 16,000 clusters at most: servers have limits, too, and one beyond them ends the stream for
/// all callers of the node.
const PORTS_PER_SERVICE: usize = 8;

pub mod connection;
pub mod server;
mod services;

pub use server::Server;

/// Keeps the catalog up to date with a control plane, forever.
pub(super) async fn run(
    server: Server,
    locality: watch::Sender<Locality>,
    source: SourceId,
    catalog: Arc<Catalog>,
    status: Status,
) {
    let connection = Connection::new(server.address.clone());
    let node = node(&server, &locality.borrow());
    follow(server, node, source, catalog, status, connection, clock::now).await;
}

/// Keeps the catalog up to date with what comes on a connection, forever. `clock`: monotonic.
async fn follow(
    server: Server,
    node: Node,
    source: SourceId,
    catalog: Arc<Catalog>,
    status: Status,
    connection: Connection,
    clock: impl Fn() -> Duration + Send + 'static,
) {
    let name: Arc<str> = server.to_string().into();
    let problems = Problems::new(status.clone(), name.clone());
    let unconfirmed = catalog.unconfirmed(source);
    let services = Services::new(name.clone(), node, server.clusters, unconfirmed);
    let mut follower = Follower {
        server,
        source,
        catalog,
        problems,
        finder: name,
        services,
        connection,
        clock: Box::new(clock),
        forgetting: JoinSet::new(),
        followed: HashMap::new(),
        to_say: false,
        to_follow: true,
        away: None,
        answered: false,
        no_answer_at: None,
        unheard_since: Some(Instant::now()),
    };
    follower.ask_for_unconfirmed();
    follower.run(&status).await;
}

/// What the control plane is told of this node.
fn node(server: &Server, locality: &Locality) -> Node {
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    let own_id = || locality.node.as_deref().map_or_else(host_name, str::to_owned);
    Node {
        id: server.node_id.clone().unwrap_or_else(own_id),
        cluster: server.node_cluster.clone().unwrap_or_else(|| AGENT.to_owned()),
        user_agent_name: AGENT.to_owned(),
        locality: Some(NodeLocality {
            region: text(&locality.region),
            zone: text(&locality.zone),
            ..NodeLocality::default()
        }),
        ..Node::default()
    }
}

struct Follower {
    server: Server,
    source: SourceId,
    catalog: Arc<Catalog>,
    problems: Problems,
    /// The finder of problems of the stream as a whole.
    finder: Arc<str>,
    services: Services,
    connection: Connection,
    clock: Box<dyn Fn() -> Duration + Send>,
    /// A task for each followed service, which ends when nobody asks for it any more.
    forgetting: JoinSet<ServiceName>,
    followed: HashMap<ServiceName, Followed>,
    /// There may be a request to send.
    to_say: bool,
    /// There may be a service to follow, or to follow no longer.
    to_follow: bool,
    /// Why there is no stream.
    away: Option<String>,
    /// Something has come on the stream.
    answered: bool,
    /// When it is a problem that nothing has come on the stream.
    no_answer_at: Option<Instant>,
    /// Since when the control plane has not been heard; None: it answers, or its services are marked as stale.
    unheard_since: Option<Instant>,
}

/// A followed service.
struct Followed {
    interest: Interest,
    forgetting: AbortHandle,
    weight: usize,
}

impl Follower {
    /// Asks for the services of the earlier run. If they exceed the quota, callers will ask for theirs.
    fn ask_for_unconfirmed(&self) {
        for name in self.catalog.unconfirmed(self.source) {
            if self.catalog.interests().ask(None, &name).is_err() {
                break;
            }
        }
    }

    async fn run(&mut self, status: &Status) {
        let mut asked = self.catalog.interests().changes();
        loop {
            if std::mem::take(&mut self.to_follow) {
                self.follow_what_is_asked();
            }
            let silence = self
                .services
                .next_silence()
                .map(|at| Instant::now() + at.saturating_sub((self.clock)()));
            let hold_end = self
                .services
                .next_end_of_hold()
                .map(|at| Instant::now() + at.saturating_sub((self.clock)()));
            let requests = self.connection.requests().filter(|_| self.to_say);
            let stale = self.unheard_since.map(|since| since + STALE_AFTER);
            tokio::select! {
                // A server that takes no answers gets no more attention.
                event = self.connection.next(), if self.services.unanswered() < MOST_UNANSWERED => {
                    self.hear(event);
                }
                room = room(requests) => {
                    match self.services.next_request((self.clock)()) {
                        Some(request) => drop(room.send(request)),
                        None => self.to_say = false,
                    }
                }
                // The catalog owns the sender, so this can't fail.
                _ = asked.changed() => self.to_follow = true,
                Some(ended) = self.forgetting.join_next_with_id() => {
                    if let Ok((id, name)) = ended
                        && self.followed.get(&name).is_some_and(|it| it.forgetting.id() == id)
                    {
                        self.let_go(&name);
                    }
                }
                () = at(silence) => self.silent(),
                () = at(hold_end) => self.end_hold(),
                () = at(self.no_answer_at) => self.no_answer(),
                () = at(stale) => self.stale(),
                () = status.told_to_look() => self.connection.hurry(),
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Opened => {
                self.services.connected();
                self.to_say = true;
                self.answered = false;
                self.no_answer_at = Some(Instant::now() + SILENCE);
                self.excuse(Some(format!("{} has not answered yet", self.server.address)));
            }
            Event::Response(response) => {
                if !std::mem::replace(&mut self.answered, true) {
                    self.no_answer_at = None;
                    info!(control_plane = %self.server.address, "connected");
                    self.unheard_since = None;
                    self.problems.mended(&self.finder);
                    self.excuse(None);
                    let news = self.services.set_stale(false);
                    self.tell(news);
                }
                let news = self.services.response(response, (self.clock)());
                self.tell(news);
                self.to_say = true;
            }
            Event::Closed { why, cause } => {
                self.services.disconnected();
                if cause == Cause::Exhausted {
                    let news = self.services.ask_for_wholes();
                    self.tell(news);
                }
                self.no_answer_at = None;
                self.unheard_since.get_or_insert_with(Instant::now);
                self.problems.found(&self.finder, &why);
                self.excuse(Some(why));
            }
        }
    }

    /// Records why the control plane says nothing, if it does not, for callers that wait.
    fn excuse(&mut self, away: Option<String>) {
        self.catalog.excuse(self.source, away.as_deref().map(Into::into));
        self.away = away;
        self.awaits();
    }

    /// Records what incomplete services wait for.
    fn awaits(&self) {
        for (name, wrong) in self.services.incomplete() {
            let why = self.away.clone().or(wrong).unwrap_or_else(|| {
                format!("waiting for its endpoints from {}", self.server.address)
            });
            self.catalog.interests().awaits(name, why);
        }
    }

    fn tell(&mut self, news: Vec<News>) {
        for news in news {
            match news {
                News::Names(change) => {
                    self.to_follow = true;
                    self.catalog.apply(self.source, change, (self.clock)());
                }
                News::Service(name, change) => {
                    if let Some(Followed { interest, .. }) = self.followed.get(&name) {
                        self.catalog.answer(self.source, interest, change, (self.clock)());
                    }
                }
                News::Synced => {
                    let synced = crate::catalog::Change::Synced;
                    self.catalog.apply(self.source, synced, (self.clock)());
                    self.problems.synced();
                }
                News::FallsBehind => info!(
                    control_plane = %self.server.address,
                    "it has read less than the control plane before it: what it tells is held back for {} s at \
                     most",
                    LONGEST_HOLD.as_secs()
                ),
                News::CaughtUp => {
                    info!(control_plane = %self.server.address, "it has caught up with the control plane before it")
                }
                News::NotCaughtUp => warn!(
                    control_plane = %self.server.address,
                    "it has not caught up with the control plane before it for {} s: what it tells counts now",
                    LONGEST_HOLD.as_secs()
                ),
                News::Wrong { finder, why } => self.problems.found(&finder, &why),
                News::Mended { finder } => self.problems.mended(&finder),
            }
        }
        self.awaits();
    }

    fn follow_what_is_asked(&mut self) {
        self.let_go_what_changed();
        for name in self.catalog.interests().all() {
            if self.followed.contains_key(&name) || !self.services.has(&name) {
                continue;
            }
            let weight = self.weight(&name);
            if let Err(exhausted) = self.catalog.interests().weigh(&name, weight) {
                self.catalog.interests().awaits(&name, exhausted.to_string());
                continue;
            }
            // It may have ended meanwhile.
            let Some(interest) = self.catalog.interest(&name) else { continue };
            debug!(service = %name, "following");
            let (catalog, of) = (self.catalog.clone(), name.clone());
            let forgetting = self.forgetting.spawn(async move {
                until_nobody_asks(&catalog, &of).await;
                of
            });
            self.followed.insert(name.clone(), Followed { interest, forgetting, weight });
            let news = self.services.follow(&name);
            self.tell(news);
            self.to_say = true;
        }
    }

    /// Follows no longer what is gone, or has come to have more ports than its account may follow.
    fn let_go_what_changed(&mut self) {
        let all: Vec<(ServiceName, usize)> =
            self.followed.iter().map(|(name, it)| (name.clone(), it.weight)).collect();
        for (name, before) in all {
            let weight = self.weight(&name);
            if !self.services.follows(&name) {
                // A service that returns is followed by a task of its own.
                if let Some(gone) = self.followed.remove(&name) {
                    gone.forgetting.abort();
                }
            } else if weight != before {
                match self.catalog.interests().weigh(&name, weight) {
                    Ok(()) => {
                        self.followed.entry(name).and_modify(|it| it.weight = weight);
                    }
                    Err(_) => self.let_go(&name),
                }
            }
        }
    }

    /// How many followed services this one counts as.
    fn weight(&self, name: &ServiceName) -> usize {
        self.services.ports_of(name).div_ceil(PORTS_PER_SERVICE).max(1)
    }

    fn let_go(&mut self, name: &ServiceName) {
        debug!(service = %name, "nobody asks for it any more");
        let news = self.services.let_go(name);
        self.tell(news);
        if let Some(Followed { interest, forgetting, .. }) = self.followed.remove(name) {
            forgetting.abort();
            let change = crate::catalog::Change::Withdraw(name.clone());
            self.catalog.answer(self.source, &interest, change, (self.clock)());
        }
        self.to_say = true;
    }

    fn silent(&mut self) {
        let news = self.services.silent((self.clock)());
        self.tell(news);
    }

    fn end_hold(&mut self) {
        let news = self.services.end_hold((self.clock)());
        self.tell(news);
        self.to_say = true;
    }

    /// There is a stream, and nothing comes on it.
    fn no_answer(&mut self) {
        self.no_answer_at = None;
        let hint = match self.server.clusters {
            true => "",
            false => {
                "; if it is no control plane of Pointsman, write \",clusters\" behind its address"
            }
        };
        let why = format!(
            "{} takes connections, and has not answered for {} s{hint}",
            self.server.address,
            SILENCE.as_secs()
        );
        self.problems.found(&self.finder, &why);
        self.excuse(Some(why));
    }

    fn stale(&mut self) {
        self.unheard_since = None;
        let news = self.services.set_stale(true);
        self.tell(news);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
