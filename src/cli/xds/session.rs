//! An observer's stream to a control plane.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::observer::{Change, Observer};
use crate::{
    cli::exit::{Failure, Kind},
    clock,
    source::xds::{
        connection::{self, Cause, Connection, room},
        server::Address,
    },
};

/// A server that does not say where its list ends has sent all of it if it sends no more for this long.
const QUIET: Duration = Duration::from_secs(2);

/// An observer and its connection.
pub(super) struct Session {
    address: Address,
    connection: Connection,
    pub(super) observer: Observer,
    /// There may be a request to send.
    to_say: bool,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The stream is open, and nothing was said on it yet.
    Opened,
    Changed(Vec<Change>),
    /// There is no stream. The next one is tried after a pause.
    Closed {
        why: String,
        cause: Cause,
    },
}

impl Session {
    pub(super) fn new(address: &Address, observer: Observer) -> Self {
        let connection = Connection::new(address.clone());
        Self { address: address.clone(), connection, observer, to_say: false }
    }

    /// Can be cancelled.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let requests = self.connection.requests().filter(|_| self.to_say);
            tokio::select! {
                event = self.connection.next() => match event {
                    connection::Event::Opened => {
                        self.observer.connected();
                        self.to_say = true;
                        return Event::Opened;
                    }
                    connection::Event::Response(response) => {
                        self.to_say = true;
                        return Event::Changed(self.observer.response(response));
                    }
                    connection::Event::Closed { why, cause } => {
                        self.observer.disconnected();
                        return Event::Closed { why, cause };
                    }
                },
                room = room(requests) => match self.observer.next_request(clock::now()) {
                    Some(request) => drop(room.send(request)),
                    None => self.to_say = false,
                },
            }
        }
    }

    /// Waits until the whole answer is there.
    ///
    /// # Errors
    /// The control plane can't be reached, ends the stream, or leaves something unanswered for `patience`.
    pub(super) async fn collect(&mut self, patience: Duration) -> Result<(), Failure> {
        let end = Instant::now() + patience;
        while !self.observer.unanswered().is_empty() {
            let quiet = self.observer.lacks_only_ends().then(|| Instant::now() + QUIET);
            let event = tokio::select! {
                event = timeout_at(end, self.next()) => event,
                () = at(quiet) => break,
            };
            match event {
                Ok(Event::Opened | Event::Changed(_)) => {}
                Ok(Event::Closed { why, cause: _ }) => {
                    return Err(Failure::new(Kind::NoAgent, why));
                }
                Err(_) => return Err(self.late(patience)),
            }
        }
        Ok(())
    }

    fn late(&self, patience: Duration) -> Failure {
        let unanswered = self.observer.unanswered();
        let shown: Vec<&str> = unanswered.iter().take(10).map(String::as_str).collect();
        let more = match unanswered.len() - shown.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let message = format!(
            "{} has not answered for {}. It has said nothing of: {}{more}. A control plane answers nobody \
             until it has read its sources: see /readyz on its admin address",
            self.address,
            humantime::format_duration(patience),
            shown.join(", "),
        );
        Failure::new(Kind::NotAnswered, message)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Runs a command's future.
///
/// # Errors
/// Its own, or the system refuses a runtime.
pub(super) fn run<F: Future<Output = Result<(), Failure>>>(future: F) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("starting: {error}")))?;
    runtime.block_on(future)
}
