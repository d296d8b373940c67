//! One calling process: Poisson arrivals, the shipped picker over shared memory, one socket.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::{Ipv4Addr, UdpSocket},
    os::fd::OwnedFd,
    time::Duration,
};

use pointsman_table::{Counters, Outcome, Picker, Request, Table};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::message::{Message, Order, Seen};
use crate::{
    clock,
    sim::rng::{Purpose, RandomStream},
};

/// How long the last requests are waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Clients time one request in so many for the agent.
const TIMED_EVERY: u32 = 8;

/// Does what `order` says, once a line comes from standard input.
pub(super) fn run(order: &Order) -> io::Result<()> {
    let mut caller = Caller::new(order)?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Ok(());
    }
    let seen = caller.call(order)?;
    let mut to = io::stdout().lock();
    serde_json::to_writer(&mut to, &seen)?;
    writeln!(to)
}

struct Caller {
    picker: Picker,
    socket: UdpSocket,
    under_way: Vec<Option<UnderWay>>,
    unused: Vec<u32>,
    measured_under_way: u32,
    sent: u32,
    seen: Seen,
}

#[derive(Clone, Copy)]
struct UnderWay {
    slot: u32,
    due: Duration,
    timed: bool,
    measured: bool,
}

impl Caller {
    fn new(order: &Order) -> io::Result<Self> {
        let table = OpenOptions::new().read(true).open(&order.table)?;
        let counters = OpenOptions::new().read(true).write(true).open(&order.counters)?;
        let table = Table::from_fd(OwnedFd::from(table)).map_err(io::Error::other)?;
        let counters = Counters::from_fd(OwnedFd::from(counters)).map_err(io::Error::other)?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let seed = RandomStream::new(order.seed, Purpose::Choice).seed();
        Ok(Self {
            picker: Picker::new(table, counters, seed, None),
            socket,
            under_way: Vec::new(),
            unused: Vec::new(),
            measured_under_way: 0,
            sent: 0,
            seen: Seen::default(),
        })
    }

    fn call(&mut self, order: &Order) -> io::Result<Seen> {
        let mut gaps = RandomStream::new(order.seed, Purpose::Gaps);
        let mut works = RandomStream::new(order.seed, Purpose::Work);
        let mut gap = || Duration::from_secs_f64(gaps.exponential() / order.rate);
        let start = clock::now();
        let warm = start + order.warm_up;
        let over = warm + order.measured;
        let mut next = start + gap();
        loop {
            let now = clock::now();
            // Load goes on until the last measured request is done, so that it meets what the
            // first one met.
            if now >= over && (self.measured_under_way == 0 || now >= over + PATIENCE) {
                self.seen.lost = self.measured_under_way;
                return Ok(std::mem::take(&mut self.seen));
            }
            if now >= next {
                let work = order.work.mul_f64(works.exponential());
                // Open loop: one that is late is counted from when it was due.
                self.send(work, next, (warm..over).contains(&next))?;
                next += gap();
            } else {
                self.wait(next - now)?;
                self.receive()?;
            }
        }
    }

    fn send(&mut self, work: Duration, due: Duration, measured: bool) -> io::Result<()> {
        let no_endpoint = || io::Error::other("no endpoint can be picked");
        let pick = self.picker.pick(&Request::default()).ok_or_else(no_endpoint)?;
        let address = self.picker.endpoint(pick.slot).ok_or_else(no_endpoint)?.address;
        let id = self.unused.pop().unwrap_or_else(|| {
            self.under_way.push(None);
            self.under_way.len() as u32 - 1
        });
        let timed = self.sent.is_multiple_of(TIMED_EVERY);
        self.sent = self.sent.wrapping_add(1);
        self.under_way[id as usize] = Some(UnderWay { slot: pick.slot, due, timed, measured });
        self.measured_under_way += u32::from(measured);
        self.socket.send_to(&Message { id, work }.write(), address)?;
        Ok(())
    }

    fn wait(&self, at_most: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: at_most.as_secs() as i64,
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; Message::BYTES];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let Some(message) = Message::read(&buffer[..length]) else { continue };
            let place = self.under_way.get_mut(message.id as usize).and_then(Option::take);
            let Some(UnderWay { slot, due, timed, measured }) = place else { continue };
            self.unused.push(message.id);
            let latency = clock::now().saturating_sub(due).as_micros();
            let latency_us = u32::try_from(latency).unwrap_or(u32::MAX);
            self.picker.end(slot, 1, Outcome::Success, timed.then_some(latency_us));
            if measured {
                self.measured_under_way -= 1;
                self.seen.latencies_us.push(latency_us);
            }
        }
    }
}
