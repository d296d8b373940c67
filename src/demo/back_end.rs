//! The process with all back-ends of one arm: HTTP/2 servers on loopback ports, each with a few
//! workers. One process, so that their requests in flight can be compared at an instant.

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
    balance::{Balance, Spread},
    message::{BackEndSetup, News, Order, from_parent, to_parent},
    scene::{BACK_ENDS, Change, SLOW, WORKERS},
};
use crate::clock;

/// What a request says its work is, in microseconds at speed 1.
pub(crate) const WORK: &str = "work-us";

/// How often the parent hears what is in flight.
const GAUGE: Duration = Duration::from_millis(250);

struct Site {
    /// f64 bits: a back-end turns slow while it works.
    speed: AtomicU64,
    failing: AtomicBool,
    workers: Semaphore,
    closed: watch::Sender<bool>,
}

struct Sites {
    sites: Vec<Site>,
    /// Over the whole run, and over the time since the last gauge.
    balances: Mutex<[Balance; 2]>,
}

/// Runs until the parent is gone: requests may still be open when it has what was measured.
pub(crate) async fn serve() -> io::Result<()> {
    let (setup, mut orders) = from_parent::<BackEndSetup>()?;
    let sites = Arc::new(Sites::new());
    let mut addresses = Vec::new();
    for number in 0..BACK_ENDS.len() {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        tokio::spawn(accept(listener, number, sites.clone()));
    }
    to_parent(&News::Listening(addresses))?;

    let mut gauge = interval(GAUGE);
    gauge.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return Ok(()),
                Some(Order::Begin) => _ = tokio::spawn(warm_up(sites.clone(), setup.run.warm_up())),
                Some(Order::Members(members)) => {
                    sites.each_balance(|balance, now| balance.members(&members, now));
                }
                Some(Order::Change(change)) => sites.change(change),
                Some(Order::Close(number)) => _ = sites.sites[number].closed.send_replace(true),
                Some(Order::Finish) => {
                    let [whole, _] = sites.spreads();
                    to_parent(&News::Measured(whole))?;
                }
            },
            _ = gauge.tick() => to_parent(&News::Gauge(sites.gauge()))?,
        }
    }
}

async fn warm_up(sites: Arc<Sites>, time: Duration) {
    sleep(time).await;
    sites.each_balance(Balance::restart);
}

/// Accepts until the back-end closes; its connections then end with their open requests.
async fn accept(listener: TcpListener, number: usize, sites: Arc<Sites>) {
    let mut closed = sites.sites[number].closed.subscribe();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closed.wait_for(|&closed| closed) => return,
        };
        match stream {
            Ok((stream, _)) => _ = tokio::spawn(connection(stream, number, sites.clone())),
            // Out of descriptors: some are being closed.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, number: usize, sites: Arc<Sites>) {
    let mut closed = sites.sites[number].closed.subscribe();
    _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, number, sites.clone()));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closed.wait_for(|&closed| closed) => connection.as_mut().graceful_shutdown(),
    }
    // How a connection ends is its caller's to tell.
    _ = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    number: usize,
    sites: Arc<Sites>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    // Dropped with the future, too: a caller that gave up is no longer in flight.
    let _in_flight = InFlight::start(&sites, number);
    let site = &sites.sites[number];
    let work = request.headers().get(WORK).and_then(|work| work.to_str().ok()?.parse().ok());
    let mut response = Response::new(Empty::new());
    match (work, site.failing.load(Relaxed)) {
        (None, _) => *response.status_mut() = StatusCode::BAD_REQUEST,
        (_, true) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        (Some(work), false) => {
            let _worker = site.workers.acquire().await;
            let speed = f64::from_bits(site.speed.load(Relaxed));
            sleep(Duration::from_micros(work).div_f64(speed)).await;
        }
    }
    Ok(response)
}

struct InFlight<'a>(&'a Sites, usize);

impl<'a> InFlight<'a> {
    fn start(sites: &'a Sites, number: usize) -> Self {
        sites.each_balance(|balance, now| balance.start(number, now));
        Self(sites, number)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.each_balance(|balance, now| balance.end(self.1, now));
    }
}

impl Sites {
    fn new() -> Self {
        let site = |speed: f64| Site {
            speed: AtomicU64::new(speed.to_bits()),
            failing: AtomicBool::new(false),
            workers: Semaphore::new(WORKERS),
            closed: watch::Sender::new(false),
        };
        Self {
            sites: BACK_ENDS.iter().map(|back_end| site(back_end.speed)).collect(),
            balances: Mutex::new([(); 2].map(|()| Balance::new(BACK_ENDS.len()))),
        }
    }

    fn each_balance(&self, mut f: impl FnMut(&mut Balance, Duration)) {
        let now = clock::now();
        let mut balances = self.balances.lock().unwrap_or_else(PoisonError::into_inner);
        balances.iter_mut().for_each(|balance| f(balance, now));
    }

    fn spreads(&self) -> [Spread; 2] {
        let now = clock::now();
        let mut balances = self.balances.lock().unwrap_or_else(PoisonError::into_inner);
        balances.each_mut().map(|balance| balance.spread(now))
    }

    /// The spread since the last call.
    fn gauge(&self) -> Spread {
        let [_, last] = self.spreads();
        let mut balances = self.balances.lock().unwrap_or_else(PoisonError::into_inner);
        balances[1].restart(clock::now());
        last
    }

    fn change(&self, change: Change) {
        match change {
            Change::Slow(it) => {
                self.sites[it].speed.store((BACK_ENDS[it].speed * SLOW).to_bits(), Relaxed);
            }
            Change::Fail(it) => self.sites[it].failing.store(true, Relaxed),
            Change::Add(_) | Change::Remove(_) => {}
        }
    }
}
