//! Charges a caller for the bytes that the agent holds for it, beyond the fixed cost of its connections.
//! All callers share one budget of bytes, and each has a limited share.
//!
//! A request that arrives at once and is answered at once is free. Charged are
//! - the part of an incomplete request that has come, in every protocol;
//! - concurrent requests of one HTTP/2 connection, except the first;
//! - long answers that wait to be read;
//! - buffers that have grown.
//!
//! A charge ends when its bytes are dropped: at the request's end, when its stream is reset, or with its
//! connection.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::time::Instant;

use super::tarpit::Tarpit;
use crate::{
    identity::Identity,
    quota::{Exhausted, Quota},
    serve::{Error, limits},
};

/// The account of one connection.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Quota<Identity>>,
    tarpit: Arc<Tarpit>,
    identity: Identity,
    /// Requests whose answer is not complete.
    open: AtomicUsize,
    /// The number of requests that are charged.
    paid: AtomicUsize,
    /// Requests that were refused for lack of budget.
    refused: AtomicUsize,
    /// Sessions with an answer that the protocol has not sent yet.
    unsent: AtomicUsize,
    /// Why the connection ends, if no answer could say it.
    refusal: OnceLock<Exhausted>,
    /// Until when the connection pauses, since its caller was refused often.
    rests: Mutex<Option<Instant>>,
}

/// A charge of bytes, until it is dropped.
#[derive(Debug)]
pub(in crate::serve) struct Pending {
    account: Arc<Account>,
    bytes: usize,
}

/// A request of an HTTP/2 connection, until its answer has gone out.
#[derive(Debug)]
pub(in crate::serve) struct Stream(Arc<Account>);

impl Account {
    /// Concurrent requests that the fixed cost of a connection covers.
    const FREE: usize = 1;
    /// The factor by which the charged requests grow, so that a caller with many concurrent requests rarely
    /// changes the budget.
    const GROWTH: usize = 4;
    /// Refused requests of a connection that get an error. Later ones are reset.
    const TOLD: usize = 16;

    pub(in crate::serve) fn new(
        budget: Arc<Quota<Identity>>,
        tarpit: Arc<Tarpit>,
        identity: Identity,
    ) -> Arc<Self> {
        let (open, paid) = (AtomicUsize::new(0), AtomicUsize::new(Self::FREE));
        let (refused, unsent) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (refusal, rests) = (OnceLock::new(), Mutex::default());
        Arc::new(Self { budget, tarpit, identity, open, paid, refused, unsent, refusal, rests })
    }

    /// An empty charge.
    pub(in crate::serve) fn pending(self: &Arc<Self>) -> Pending {
        Pending { account: Arc::clone(self), bytes: 0 }
    }

    /// Charges so many bytes.
    ///
    /// # Errors
    /// The caller's share, or the budget, is exhausted.
    pub(in crate::serve) fn hold(self: &Arc<Self>, bytes: usize) -> Result<Pending, Error> {
        let mut pending = self.pending();
        pending.hold(bytes)?;
        Ok(pending)
    }

    /// Charges a request that is longer than its fixed cost covers, which is rare.
    ///
    /// # Errors
    /// As [`Account::hold`].
    pub(in crate::serve) fn hold_long(
        self: &Arc<Self>,
        bytes: usize,
    ) -> Result<Option<Pending>, Error> {
        (bytes > limits::SHORT_REQUEST).then(|| self.hold(bytes)).transpose()
    }

    /// Opens a request. Only the connection's own task calls this.
    ///
    /// # Errors
    /// As [`Account::hold`].
    pub(in crate::serve) fn open(self: &Arc<Self>) -> Result<Stream, Error> {
        let open = self.open.fetch_add(1, SeqCst) + 1;
        let stream = Stream(Arc::clone(self));
        if open > self.paid.load(SeqCst) {
            let most = (open * Self::GROWTH).min(limits::MAX_STREAMS as usize);
            // If that is too much, only what is needed.
            let paid = self.pay(most.max(open)).or_else(|_| self.pay(open));
            paid.inspect_err(|error| {
                self.refused.fetch_add(1, SeqCst);
                self.was_short(error);
            })?;
        }
        Ok(stream)
    }

    /// Whether this connection was refused so often that it gets no more errors.
    pub(in crate::serve) fn is_refused_often(&self) -> bool {
        self.refused.load(SeqCst) > Self::TOLD
    }

    /// Everything that was written is sent. Only the connection's own task calls this. Answered requests
    /// are charged until then, since h2 may still have their answers.
    pub(in crate::serve) fn flushed(&self) {
        let (open, paid) = (self.open.load(SeqCst), self.paid.load(SeqCst));
        if paid > Self::FREE && open * Self::GROWTH <= paid {
            // Reducing a charge never fails.
            self.pay(open.max(Self::FREE)).ok();
        }
    }

    /// A session begins or ends to wait for an answer to be sent. Meanwhile it reads nothing, and h2 keeps
    /// what the caller sends.
    pub(in crate::serve) fn wait_to_send(&self, waits: bool) {
        match waits {
            true => self.unsent.fetch_add(1, SeqCst),
            false => self.unsent.fetch_sub(1, SeqCst),
        };
    }

    /// Whether any session waits so.
    pub(in crate::serve) fn waits_to_send(&self) -> bool {
        self.unsent.load(SeqCst) > 0
    }

    fn pay(&self, requests: usize) -> Result<(), Error> {
        let bytes = |requests| (requests - Self::FREE) * limits::STREAM_BYTES;
        let paid = self.paid.load(SeqCst);
        self.resize(bytes(paid), bytes(requests))?;
        self.paid.store(requests, SeqCst);
        Ok(())
    }

    fn resize(&self, from: usize, to: usize) -> Result<(), Error> {
        let resized = self.budget.resize(self.identity, from, to);
        resized.map_err(|exhausted| Error::Exhausted {
            exhausted,
            right: "send each request whole, and read its answer before sending many more",
        })
    }

    /// Notes a refusal for lack of bytes. A caller that holds few bytes is not to blame.
    fn was_short(&self, error: &Error) {
        if let Error::Exhausted { exhausted, .. } = error {
            self.rest(self.tarpit.short(self.identity, exhausted));
        }
    }

    /// Notes a refusal. After many the caller has to wait.
    pub(in crate::serve) fn was_refused(&self) {
        self.rest(self.tarpit.refused(self.identity));
    }

    fn rest(&self, until: Option<Instant>) {
        if until.is_some() {
            *self.rests.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
    }

    /// Until when the connection has to pause; returned once for each refusal.
    pub(in crate::serve) fn take_rest(&self) -> Option<Instant> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes why the connection ends, for the log: no answer can say it.
    pub(in crate::serve) fn refuse(&self, error: &Error) {
        if let Error::Exhausted { exhausted, .. } = error {
            // The first one is the reason.
            self.refusal.set(exhausted.clone()).ok();
        }
    }

    pub(in crate::serve) fn refusal(&self) -> Option<&Exhausted> {
        self.refusal.get()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.pay(Self::FREE).ok();
    }
}

impl Pending {
    /// Charges grow in steps of so many bytes.
    const STEP: usize = 4 << 10;

    /// Raises the charge to at least so many bytes.
    ///
    /// # Errors
    /// As [`Account::hold`]. The charge stays as it was.
    pub(in crate::serve) fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes > self.bytes {
            let bytes = bytes.next_multiple_of(Self::STEP);
            let held = self.account.resize(self.bytes, bytes);
            held.inspect_err(|error| self.account.was_short(error))?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.resize(self.bytes, 0).ok();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_since_another_has_all_need_not_wait() {
        let budget = Quota::new("bytes", TOTAL);
        let tarpit = Tarpit::new(0);
        let greedy = Account::new(budget.clone(), tarpit.clone(), Identity::Uid(1));
        let modest = Account::new(budget.clone(), tarpit, Identity::Uid(2));
        let _all = greedy.hold(TOTAL * 3 / 4).unwrap();
        for account in [&greedy, &modest] {
            (0..1000).for_each(|_| drop(account.hold(TOTAL / 8).unwrap_err()));
        }
        assert!(greedy.take_rest().is_some());
        assert!(modest.take_rest().is_none());
    }

    fn account(budget: &Arc<Quota<Identity>>) -> Arc<Account> {
        Account::new(budget.clone(), Tarpit::new(0), Identity::Uid(1))
    }

    #[test]
    fn a_request_at_a_time_costs_nothing_and_many_are_given_back_once_they_are_answered() {
        let budget = Quota::new("bytes", TOTAL);
        let account = account(&budget);
        for _ in 0..100 {
            drop(account.open().unwrap());
            assert_eq!(budget.in_use(), 0);
        }
        let open: Vec<_> = (0..100).map(|_| account.open().unwrap()).collect();
        assert!(budget.in_use() >= 99 * limits::STREAM_BYTES, "{}", budget.in_use());
        account.flushed();
        assert!(budget.in_use() >= 99 * limits::STREAM_BYTES, "they are open");
        drop(open);
        assert!(budget.in_use() > 0, "their answers may wait to be written");
        account.flushed();
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn who_is_over_its_share_gets_no_more_until_something_is_given_back() {
        let budget = Quota::new("bytes", TOTAL);
        let (account, another) = (account(&budget), account(&budget));
        let mut pending = account.pending();
        pending.hold(TOTAL * 3 / 4).unwrap();
        let error = another.hold(TOTAL / 4).unwrap_err();
        assert!(error.to_string().contains("are held by this caller"), "{error}");
        let refused: Vec<_> = (0..10).filter_map(|_| another.open().ok()).collect();
        assert_eq!(refused.len(), 1, "the one that a connection has for nothing");
        assert!(!another.is_refused_often());
        (0..10).for_each(|_| drop(another.open()));
        assert!(another.is_refused_often(), "so that words for each cost no time");
        drop(pending);
        assert!(another.open().is_ok());
        drop((another, account));
        drop(refused);
        assert_eq!(budget.in_use(), 0);
    }

    #[test]
    fn what_grows_is_counted_once() {
        let budget = Quota::new("bytes", TOTAL);
        let mut pending = account(&budget).pending();
        for bytes in [1, 100, 5000, 4000] {
            pending.hold(bytes).unwrap();
        }
        assert_eq!(budget.in_use(), 8 << 10);
        drop(pending);
        assert_eq!(budget.in_use(), 0);
    }
}
