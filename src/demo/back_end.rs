//! The process with all back-ends of one arm: HTTP/2 servers on loopback ports, each with a few workers.
//! They share a process, so that their requests in flight can be compared at the same instant.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http2, service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    in_flight::{InFlightRecorder, InFlightStats},
    message::{BackEndSetup, ChildMessage, ParentMessage, receive_from_parent, send_to_parent},
    scenario::{BACK_ENDS, Change, SLOW, WORKERS},
};
use crate::clock;

/// The header with the work of a request, in microseconds at speed 1.
pub(crate) const WORK: &str = "work-us";

/// How often the process tells its parent what is in flight.
const GAUGE: Duration = Duration::from_millis(250);

struct BackEndState {
    /// The bits of an f64. It is atomic because a back-end becomes slow while it works.
    speed: AtomicU64,
    failing: AtomicBool,
    workers: Semaphore,
    closed: watch::Sender<bool>,
}

struct BackEnds {
    back_ends: Vec<BackEndState>,
    /// One for the whole run, and one for the time since the last gauge.
    recorders: Mutex<[InFlightRecorder; 2]>,
}

/// Runs until the parent is gone. Requests may still be open when it has sent its measurements.
pub(crate) async fn serve() -> io::Result<()> {
    let (setup, mut orders) = receive_from_parent::<BackEndSetup>()?;
    let back_ends = Arc::new(BackEnds::new());
    let mut addresses = Vec::new();
    for number in 0..BACK_ENDS.len() {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        tokio::spawn(accept(listener, number, back_ends.clone()));
    }
    send_to_parent(&ChildMessage::Listening(addresses))?;

    let mut gauge = interval(GAUGE);
    gauge.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return Ok(()),
                Some(ParentMessage::Begin) => {
                    tokio::spawn(warm_up(back_ends.clone(), setup.run.warm_up()));
                }
                Some(ParentMessage::Members(members)) => {
                    back_ends.each_recorder(|recorder, now| recorder.set_members(&members, now));
                }
                Some(ParentMessage::Change(change)) => back_ends.change(change),
                Some(ParentMessage::Close(number)) => {
                    back_ends.back_ends[number].closed.send_replace(true);
                }
                Some(ParentMessage::Finish) => {
                    let [whole, _] = back_ends.stats();
                    send_to_parent(&ChildMessage::Measured(whole))?;
                }
            },
            _ = gauge.tick() => send_to_parent(&ChildMessage::Gauge(back_ends.stats_since_last()))?,
        }
    }
}

async fn warm_up(back_ends: Arc<BackEnds>, time: Duration) {
    sleep(time).await;
    back_ends.each_recorder(InFlightRecorder::restart);
}

/// Accepts until the back-end closes. Its connections then end after their open requests.
async fn accept(listener: TcpListener, number: usize, back_ends: Arc<BackEnds>) {
    let mut closed = back_ends.back_ends[number].closed.subscribe();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closed.wait_for(|&closed| closed) => return,
        };
        match stream {
            Ok((stream, _)) => _ = tokio::spawn(connection(stream, number, back_ends.clone())),
            // Out of descriptors. Others will be closed soon.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, number: usize, back_ends: Arc<BackEnds>) {
    let mut closed = back_ends.back_ends[number].closed.subscribe();
    _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, number, back_ends.clone()));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closed.wait_for(|&closed| closed) => connection.as_mut().graceful_shutdown(),
    }
    // The caller reports how a connection ended.
    _ = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    number: usize,
    back_ends: Arc<BackEnds>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    // Dropped also when the caller gives up, so that its request is no longer in flight.
    let _in_flight = InFlightGuard::start(&back_ends, number);
    let back_end = &back_ends.back_ends[number];
    let work = request.headers().get(WORK).and_then(|work| work.to_str().ok()?.parse().ok());
    let mut response = Response::new(Empty::new());
    match (work, back_end.failing.load(Relaxed)) {
        (None, _) => *response.status_mut() = StatusCode::BAD_REQUEST,
        (_, true) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        (Some(work), false) => {
            let _worker = back_end.workers.acquire().await;
            let speed = f64::from_bits(back_end.speed.load(Relaxed));
            sleep(Duration::from_micros(work).div_f64(speed)).await;
        }
    }
    Ok(response)
}

struct InFlightGuard<'a>(&'a BackEnds, usize);

impl<'a> InFlightGuard<'a> {
    fn start(back_ends: &'a BackEnds, number: usize) -> Self {
        back_ends.each_recorder(|recorder, now| recorder.start(number, now));
        Self(back_ends, number)
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.each_recorder(|recorder, now| recorder.end(self.1, now));
    }
}

impl BackEnds {
    fn new() -> Self {
        let state = |speed: f64| BackEndState {
            speed: AtomicU64::new(speed.to_bits()),
            failing: AtomicBool::new(false),
            workers: Semaphore::new(WORKERS),
            closed: watch::Sender::new(false),
        };
        Self {
            back_ends: BACK_ENDS.iter().map(|back_end| state(back_end.speed)).collect(),
            recorders: Mutex::new([(); 2].map(|()| InFlightRecorder::new(BACK_ENDS.len()))),
        }
    }

    fn each_recorder(&self, mut f: impl FnMut(&mut InFlightRecorder, Duration)) {
        let now = clock::now();
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        recorders.iter_mut().for_each(|recorder| f(recorder, now));
    }

    fn stats(&self) -> [InFlightStats; 2] {
        let now = clock::now();
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        recorders.each_mut().map(|recorder| recorder.stats(now))
    }

    /// What was measured since the last call.
    fn stats_since_last(&self) -> InFlightStats {
        let [_, last] = self.stats();
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        recorders[1].restart(clock::now());
        last
    }

    fn change(&self, change: Change) {
        match change {
            Change::Slow(it) => {
                self.back_ends[it].speed.store((BACK_ENDS[it].speed * SLOW).to_bits(), Relaxed);
            }
            Change::Fail(it) => self.back_ends[it].failing.store(true, Relaxed),
            Change::Add(_) | Change::Remove(_) => {}
        }
    }
}
