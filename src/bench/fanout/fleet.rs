//! The clients, on a thread of their own, and what they have learnt.

use std::{
    future, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch};

use super::{
    client::{Client, News, Plan},
    receipts::Receipts,
};
use crate::clock;

/// How long the clients may take for what takes a few seconds.
const TIMEOUT: Duration = Duration::from_secs(120);
/// A stream is at rest when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(500);

pub(super) struct Fleet {
    plan: Plan,
    clients: usize,
    server: watch::Sender<SocketAddr>,
    runtime: Handle,
    /// Dropping it ends the thread.
    _end: tokio::sync::oneshot::Sender<()>,
    to: Sender<News>,
    news: Receiver<News>,
    connected: usize,
    complete: usize,
    received: Arc<AtomicU64>,
    pub(super) receipts: Receipts,
}

impl Fleet {
    /// A fleet without clients yet.
    pub(super) fn new(server: SocketAddr, plan: Plan) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ending) = tokio::sync::oneshot::channel::<()>();
        thread::Builder::new().name("fleet".into()).spawn(move || {
            // The clients run as tasks.
            runtime.block_on(async {
                tokio::select! {
                    _ = ending => {}
                    () = future::pending() => {}
                }
            });
        })?;
        let (to, news) = mpsc::channel();
        Ok(Self {
            plan,
            clients: 0,
            server: watch::Sender::new(server),
            runtime: handle,
            _end: end,
            to,
            news,
            connected: 0,
            complete: 0,
            received: Arc::default(),
            receipts: Receipts::default(),
        })
    }

    /// Adds clients, and waits until each has what it follows. Returns the bytes that they received.
    pub(super) fn grow_to(&mut self, clients: usize) -> io::Result<u64> {
        let before = self.received();
        for number in self.clients..clients {
            let (plan, to) = (self.plan.clone(), self.to.clone());
            let client = Client::new(number, plan, to, self.received.clone());
            self.runtime.spawn(client.run(self.server.subscribe()));
        }
        self.clients = clients;
        self.wait("what the clients follow", |fleet| fleet.complete == clients)?;
        self.wait_for_quiet()?;
        Ok(self.received() - before)
    }

    /// Lets all clients connect to another server. Returns the bytes that they received there. A server may
    /// have nothing to say to a client that has everything: only the next change shows that they are heard.
    pub(super) fn move_to(&mut self, server: SocketAddr) -> io::Result<u64> {
        let before = self.received();
        self.connected = 0;
        self.server.send_replace(server);
        self.wait("their connections", |fleet| fleet.connected == fleet.clients)?;
        self.wait_for_quiet()?;
        Ok(self.received() - before)
    }

    /// Waits until all clients have the state after so many steps.
    pub(super) fn wait_for_steps(&mut self, steps: usize) -> io::Result<()> {
        self.wait("a change at each", |fleet| fleet.receipts.with(steps) == fleet.clients)
    }

    /// The bytes that all clients have received so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Takes in what the clients have learnt, for this long.
    pub(super) fn watch_for(&mut self, length: Duration) -> io::Result<()> {
        let end = clock::now() + length;
        loop {
            let left = end.saturating_sub(clock::now());
            match self.news.recv_timeout(left) {
                Ok(news) => self.take(news)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("`self.to` is open"),
            }
        }
    }

    fn wait_for_quiet(&mut self) -> io::Result<()> {
        loop {
            let before = self.received();
            self.watch_for(QUIET)?;
            if self.received() == before {
                return Ok(());
            }
        }
    }

    fn wait(&mut self, for_what: &str, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let end = clock::now() + TIMEOUT;
        while !done(self) {
            let left = end.saturating_sub(clock::now());
            let news = self.news.recv_timeout(left).map_err(|_| {
                let (connected, complete) = (self.connected, self.complete);
                io::Error::other(format!(
                    "{} clients waited for {for_what} for {} s; {connected} connected, {complete} have \
                     what they follow",
                    self.clients,
                    TIMEOUT.as_secs()
                ))
            })?;
            self.take(news)?;
        }
        Ok(())
    }

    fn take(&mut self, news: News) -> io::Result<()> {
        match news {
            News::Connected => self.connected += 1,
            News::Complete => self.complete += 1,
            News::Received { client, version, at } => self.receipts.received(client, version, at),
            News::Decoded { version, steps } => self.receipts.decoded(version, steps),
            News::Failed { client, why } => {
                return Err(io::Error::other(format!("client {client}: {why}")));
            }
        }
        Ok(())
    }
}
