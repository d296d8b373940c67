//! `Session`: picks and reports on one stream, without a stream and headers for each.
//!
//! The answers are a body that hyper asks for more only when what came before has gone out, and only
//! then are requests read: a caller that reads nothing is not listened to either, and all that is
//! held of it is one message each way and what the protocol's windows allow.
//!
//! A call is answered where it is read. Only a pick that waits for a source gets a task; so many
//! of them at a time, and no more. What is ready together goes out in one message.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    vec,
};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use prost::Message;
use tokio::task::JoinSet;
use tonic::{Code, Status, codec::Streaming, codegen::tokio_stream::Stream};
use tonic_types::pb;

use super::{
    Agent, Caller, Error, Violation,
    ending::Ended,
    grpc, limits,
    metrics::{Call, Protocol},
};
use crate::{
    api::v1::{self, session_answer::Answer, session_call::Call as Asked},
    publish::leases::{Connection, Holder, Identity, Undelivered},
    quota::Permit,
};

/// From so many bytes on a message of answers goes out: as many as an HTTP/2 frame has room for.
const FULL: usize = 16 << 10;

/// A `SessionRequest` with its calls as they came: one that can't be read fails by itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Unread {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    calls: Vec<Bytes>,
}

/// As much of a `SessionCall` as its answer needs.
#[derive(Clone, PartialEq, prost::Message)]
struct Numbered {
    #[prost(uint64, tag = "1")]
    id: u64,
}

type Picked = Result<(v1::PickResponse, Undelivered), Error>;

/// One stream, from its requests to its answers.
pub(super) struct Session {
    agent: Arc<Agent>,
    holder: Holder,
    requests: Streaming<Unread>,
    /// Of the message read last.
    unread: vec::IntoIter<Bytes>,
    /// Calls of that message before these.
    taken: usize,
    waiting: JoinSet<(u64, Picked)>,
    ended: Ended,
    /// No request is read any more; the stream ends with this once nothing is waited for.
    last: Option<Status>,
    /// The end has been told.
    over: bool,
    _permit: Permit<Identity>,
}

impl Session {
    /// The answers to these requests.
    ///
    /// # Errors
    /// The caller, or all of them, have too many sessions.
    pub(super) fn new(
        agent: &Arc<Agent>,
        caller: &Caller,
        requests: Streaming<Unread>,
    ) -> Result<Self, Error> {
        let permit = agent.session_permit(caller.identity)?;
        // A connection of its own: the stream may end long before the caller's.
        let connection = Arc::<Connection>::default();
        Ok(Self {
            _permit: permit,
            holder: Holder { identity: caller.identity, connection: Some(connection) },
            requests,
            unread: Vec::new().into_iter(),
            taken: 0,
            waiting: JoinSet::new(),
            ended: agent.ending.wait(),
            last: None,
            over: false,
            agent: Arc::clone(agent),
        })
    }

    /// Answers what can be answered now, until the message is full.
    fn answer(&mut self, context: &mut Context<'_>, answers: &mut Answers) {
        self.collect(context, answers);
        while !answers.full() {
            if let Some(call) = self.unread.next() {
                self.taken += 1;
                self.take(call, answers);
            } else if self.last.is_none() {
                match self.read(context) {
                    Poll::Ready(Ok(message)) => {
                        self.unread = message.calls.into_iter();
                        self.taken = 0;
                    }
                    Poll::Ready(Err(status)) => self.last = Some(status),
                    Poll::Pending => break,
                }
            } else {
                break;
            }
        }
        self.collect(context, answers);
    }

    /// The next message, or how the stream ends.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<Unread, Status>> {
        match Pin::new(&mut self.requests).poll_next(context) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Ok(message)),
            Poll::Ready(Some(Err(status))) => Poll::Ready(Err(grpc::said_of_message(status))),
            Poll::Ready(None) => Poll::Ready(Err(Status::ok(""))),
            Poll::Pending => {
                ready!(self.ended.as_mut().poll(context));
                Poll::Ready(Err(Error::Ending.status()))
            }
        }
    }

    /// Takes the answers that were waited for.
    fn collect(&mut self, context: &mut Context<'_>, answers: &mut Answers) {
        while !answers.full()
            && let Poll::Ready(Some(done)) = self.waiting.poll_join_next(context)
        {
            match done {
                Ok((id, picked)) => self.picked(id, picked, answers),
                // A panic, which the log has.
                Err(error) => self.last = Some(Status::internal(error.to_string())),
            }
        }
    }

    fn take(&mut self, call: Bytes, answers: &mut Answers) {
        if self.taken > limits::MAX_SESSION_CALLS {
            let error =
                Error::TooMany { what: "calls of one message", limit: limits::MAX_SESSION_CALLS };
            return answers.refuse(id(call), &error);
        }
        let v1::SessionCall { id, call } = match v1::SessionCall::decode(call.clone()) {
            Ok(call) => call,
            Err(error) => return answers.refuse(id(call), &grpc::malformed(&error)),
        };
        match call {
            Some(Asked::Pick(request)) => self.pick(id, request, answers),
            Some(Asked::Report(request)) => {
                let reported = self.agent.report(self.holder.identity, request);
                self.count(Call::Report, reported.as_ref().err());
                match reported {
                    Ok(reported) => answers.add(id, Answer::Report(reported)),
                    Err(error) => answers.refuse(id, &error),
                }
            }
            None => {
                let wrong = "is missing: a call is a pick or a report";
                answers.refuse(id, &Violation::new("call", wrong).into());
            }
        }
    }

    fn pick(&mut self, id: u64, request: v1::PickRequest, answers: &mut Answers) {
        // Asked once: nearly always that is enough. Nothing has happened yet where it is not, so
        // that a task may ask anew.
        let asked = pin!(self.agent.pick(&self.holder, &request, None))
            .poll(&mut Context::from_waker(Waker::noop()));
        match asked {
            Poll::Ready(picked) => self.picked(id, picked, answers),
            Poll::Pending if self.waiting.len() >= limits::MAX_SESSION_WAITING => {
                let error = Error::TooMany {
                    what: "picks of one session that wait for a source",
                    limit: limits::MAX_SESSION_WAITING,
                };
                self.picked(id, Err(error), answers);
            }
            Poll::Pending => {
                let (agent, holder) = (Arc::clone(&self.agent), self.holder.clone());
                self.waiting.spawn(async move { (id, agent.pick(&holder, &request, None).await) });
            }
        }
    }

    fn picked(&self, id: u64, picked: Picked, answers: &mut Answers) {
        self.count(Call::Pick, picked.as_ref().err());
        match picked {
            Ok((picked, leases)) => {
                answers.add(id, Answer::Pick(picked));
                // What does not arrive ends with the stream.
                leases.delivered();
            }
            Err(error) => answers.refuse(id, &error),
        }
    }

    fn count(&self, call: Call, error: Option<&Error>) {
        let code = error.map_or(Code::Ok, Error::code);
        self.agent.metrics.answered(call, Protocol::Session, code);
    }
}

/// The number of a call that is not read otherwise; 0 where it comes after what can't be read.
fn id(mut call: Bytes) -> u64 {
    let mut numbered = Numbered::default();
    // What was read before the mistake stays.
    numbered.merge(&mut call).ok();
    numbered.id
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
        let mut answers = Answers::default();
        session.answer(context, &mut answers);
        if let Some(message) = answers.message() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if session.waiting.is_empty()
            && let Some(status) = &session.last
        {
            session.over = true;
            return Poll::Ready(Some(Ok(Frame::trailers(grpc::trailers(status)))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }
}

impl Drop for Session {
    fn drop(&mut self) {
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

/// One message of answers, written as they come.
#[derive(Default)]
struct Answers {
    frame: BytesMut,
}

impl Answers {
    fn full(&self) -> bool {
        self.frame.len() >= FULL
    }

    fn refuse(&mut self, id: u64, error: &Error) {
        // The details of a status hold the whole of it once more.
        let status = error.status();
        let status = pb::Status::decode(status.details()).unwrap_or_default();
        self.add(id, Answer::Error(status));
    }

    fn add(&mut self, id: u64, answer: Answer) {
        if self.frame.is_empty() {
            self.frame.put_bytes(0, grpc::PREFIX);
        }
        let answer = v1::SessionAnswer { id, answer: Some(answer) };
        // Messages written one after the other read as one with all of their answers.
        let message = v1::SessionResponse { answers: vec![answer] };
        message.encode(&mut self.frame).expect("a buffer that grows has room for everything");
    }

    fn message(mut self) -> Option<Bytes> {
        if self.frame.is_empty() {
            return None;
        }
        grpc::complete(&mut self.frame);
        Some(self.frame.freeze())
    }
}
