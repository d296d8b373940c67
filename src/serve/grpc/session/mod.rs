//! `Session`: picks and reports on one stream, without a stream and headers for each.
//!
//! The answers are a response body. hyper polls it only while its buffer for the stream has room, and
//! only then are requests read. So a caller that does not read its answers is not read from either,
//! and the agent holds no more than one message each way and the protocol's windows.
//!
//! A call is answered as soon as it is read. Only a pick that has to wait, for a source or for a
//! suggestion, gets a task, and the number of these tasks is limited. Answers that are ready together
//! go out in one message, until there are enough to keep the caller busy.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use prost::Message;
use tokio::task::JoinSet;
use tonic::{Code, Status, codec::Streaming, codegen::tokio_stream::Stream};

use self::{
    answers::{Answer, Answers},
    calls::{Calls, EncodedCall},
};
use super::framing;
use crate::{
    api::v1::{self, session_call},
    identity::Identity,
    leases::{Connection, Holder, Undelivered},
    quota::Permit,
    serve::{
        Agent, Caller, Error, Violation,
        calls::{pick_response::PickResponse, shutdown::ShutdownSignal},
        counters::{Call, Protocol},
        isolation::account::{Account, Pending},
        limits,
    },
};

mod answers;
mod calls;

type PickResult = Result<(PickResponse, Undelivered), Error>;

/// One stream, from its requests to its answers.
pub(super) struct Session {
    agent: Arc<Agent>,
    holder: Holder,
    requests: Streaming<Bytes>,
    /// The rest of the message that was read last.
    calls: Calls,
    waiting: JoinSet<(u64, PickResult)>,
    /// Bytes to reserve for answers: as many as lately went out together.
    room: usize,
    ended: ShutdownSignal,
    /// Set when no more requests are read. The stream ends with this status after the waiting picks.
    last: Option<Status>,
    /// The trailers have been returned.
    over: bool,
    /// hyper has an answer, and has not polled since.
    unsent: bool,
    /// The last message was sent before all calls were read. The connection's task writes it before this one
    /// goes on.
    pause: bool,
    account: Arc<Account>,
    _held: Pending,
    _permit: Permit<Identity>,
}

impl Session {
    /// # Errors
    /// This caller, or all callers together, have too many sessions.
    pub(super) fn new(
        agent: &Arc<Agent>,
        caller: &Caller,
        requests: Streaming<Bytes>,
    ) -> Result<Self, Error> {
        let permit = agent.session_permit(caller.identity)?;
        let held = caller.account.hold(limits::SESSION_BYTES)?;
        // A lease ends with the stream, which may end long before the caller's connection.
        let connection = Arc::<Connection>::default();
        Ok(Self {
            _permit: permit,
            _held: held,
            unsent: false,
            pause: false,
            account: Arc::clone(&caller.account),
            holder: Holder { owner: caller.owner.clone(), connection: Some(connection) },
            requests,
            calls: Calls::default(),
            waiting: JoinSet::new(),
            room: 0,
            ended: agent.shutdown.wait(),
            last: None,
            over: false,
            agent: Arc::clone(agent),
        })
    }

    /// Answers what can be answered now, until the message is full.
    fn answer(&mut self, context: &mut Context<'_>, answers: &mut Answers) {
        self.collect(context, answers);
        loop {
            self.take_calls(answers);
            if answers.enough() || self.last.is_some() {
                break;
            }
            match self.read(context) {
                Poll::Ready(Ok(message)) => self.calls = Calls::of(message),
                Poll::Ready(Err(status)) => self.last = Some(status),
                Poll::Pending => break,
            }
        }
        self.collect(context, answers);
    }

    /// Answers calls of the message read last, until the answers are full or there are no more.
    fn take_calls(&mut self, answers: &mut Answers) {
        let mut calls = std::mem::take(&mut self.calls);
        while !answers.full() && self.last.is_none() {
            match calls.next() {
                Ok(Some(call)) => self.take(&call, answers),
                Ok(None) => break,
                Err(error) => self.last = Some(error.status()),
            }
        }
        self.calls = calls;
    }

    /// The next message, or the status that ends the stream.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        match Pin::new(&mut self.requests).poll_next(context) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Ok(message)),
            Poll::Ready(Some(Err(status))) => Poll::Ready(Err(framing::message_status(status))),
            Poll::Ready(None) => Poll::Ready(Err(Status::ok(""))),
            Poll::Pending => {
                ready!(Pin::new(&mut self.ended).poll(context));
                Poll::Ready(Err(Error::ShuttingDown.status()))
            }
        }
    }

    /// Takes the answers of the picks that waited.
    fn collect(&mut self, context: &mut Context<'_>, answers: &mut Answers) {
        while !answers.full()
            && !self.waiting.is_empty()
            && let Poll::Ready(Some(done)) = self.waiting.poll_join_next(context)
        {
            match done {
                Ok((id, picked)) => self.picked(id, picked, answers),
                // The task panicked, which is in the log.
                Err(error) => self.last = Some(Status::internal(error.to_string())),
            }
        }
    }

    /// Answers one call. The request is used where it was decoded: it is large, and moving it takes a
    /// good part of a call's time.
    fn take(&mut self, call: &EncodedCall<'_>, answers: &mut Answers) {
        match call.read() {
            Ok(v1::SessionCall { id, call: Some(session_call::Call::Pick(ref request)) }) => {
                self.pick(id, request, answers);
            }
            Ok(v1::SessionCall { id, call: Some(session_call::Call::Report(request)) }) => {
                let reported = self.agent.report(self.holder.owner.identity(), request);
                self.count(Call::Report, reported.as_ref().err());
                match reported {
                    Ok(reported) => answers.add(id, &Answer::Report(reported)),
                    Err(error) => answers.refuse(id, &error),
                }
            }
            Ok(v1::SessionCall { id, call: None }) => {
                let wrong = "is missing: a call is a pick or a report";
                answers.refuse(id, &Violation::new("call", wrong).into());
            }
            Err((id, error)) => answers.refuse(id, &error),
        }
    }

    fn pick(&mut self, id: u64, request: &v1::PickRequest, answers: &mut Answers) {
        // Polled once, which is nearly always enough. A pending pick has changed nothing yet, so that a
        // task can start it anew.
        let polled = pin!(self.agent.pick(&self.holder, request, None))
            .poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(picked) => self.picked(id, picked, answers),
            Poll::Pending if self.waiting.len() >= limits::MAX_SESSION_WAITING => {
                let error = Error::TooMany {
                    what: "picks of one session that wait for a source",
                    limit: limits::MAX_SESSION_WAITING,
                };
                self.picked(id, Err(error), answers);
            }
            Poll::Pending => {
                match self.account.hold(limits::STREAM_BYTES + request.encoded_len()) {
                    Ok(held) => {
                        let (agent, holder) = (Arc::clone(&self.agent), self.holder.clone());
                        let request = request.clone();
                        self.waiting.spawn(async move {
                            let _held = held;
                            (id, agent.pick(&holder, &request, None).await)
                        });
                    }
                    Err(error) => self.picked(id, Err(error), answers),
                }
            }
        }
    }

    fn picked(&self, id: u64, picked: PickResult, answers: &mut Answers) {
        self.count(Call::Pick, picked.as_ref().err());
        match picked {
            Ok((picked, leases)) => {
                answers.add(id, &Answer::Pick(picked));
                // Leases whose answer gets lost end with the stream.
                leases.delivered();
            }
            Err(error) => answers.refuse(id, &error),
        }
    }

    fn sends(&mut self, unsent: bool) {
        if unsent != self.unsent {
            self.unsent = unsent;
            self.account.wait_to_send(unsent);
        }
    }

    fn count(&self, call: Call, error: Option<&Error>) {
        let code = error.map_or(Code::Ok, Error::code);
        self.agent.metrics.answered(call, Protocol::Session, code);
    }
}

impl Body for Session {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let session = self.get_mut();
        if session.over {
            return Poll::Ready(None);
        }
        session.sends(false);
        if std::mem::take(&mut session.pause) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut answers = Answers::new(session.room);
        session.answer(context, &mut answers);
        session.pause = answers.enough();
        if let Some(message) = answers.message() {
            session.room = message.len().max(session.room / 2);
            session.sends(true);
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if session.waiting.is_empty()
            && let Some(status) = &session.last
        {
            session.over = true;
            return Poll::Ready(Some(Ok(Frame::trailers(framing::trailers(status)))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sends(false);
        if let Some(connection) = &self.holder.connection {
            self.agent.leases.close(connection);
        }
        let code = match &self.last {
            Some(status) if self.over => status.code(),
            _ => Code::Cancelled,
        };
        self.agent.metrics.answered(Call::Session, Protocol::Grpc, code);
    }
}
