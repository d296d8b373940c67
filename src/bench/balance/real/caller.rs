//! A calling process: Poisson arrivals, the real picker over shared memory, one socket.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    net::{Ipv4Addr, UdpSocket},
    os::fd::OwnedFd,
    time::Duration,
};

use pointsman_table::{Counters, Outcome, Picker, Request, Table};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::message::{CallerResult, CallerSetup, Message};
use crate::{
    clock,
    sim::rng::{Purpose, RandomStream},
};

/// How long the process waits for its last requests.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Clients time one request in this many for the agent.
const TIMED_EVERY: u32 = 8;

/// Runs the load of `setup`, after a line arrived on standard input.
pub(super) fn run(setup: &CallerSetup) -> io::Result<()> {
    let mut generator = LoadGenerator::new(setup)?;
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Ok(());
    }
    let result = generator.run(setup)?;
    let mut to = io::stdout().lock();
    serde_json::to_writer(&mut to, &result)?;
    writeln!(to)
}

struct LoadGenerator {
    picker: Picker,
    socket: UdpSocket,
    open_requests: Vec<Option<OpenRequest>>,
    free_ids: Vec<u32>,
    measured_open: u32,
    sent: u32,
    result: CallerResult,
}

#[derive(Clone, Copy)]
struct OpenRequest {
    slot: u32,
    due: Duration,
    timed: bool,
    measured: bool,
}

impl LoadGenerator {
    fn new(setup: &CallerSetup) -> io::Result<Self> {
        let table = OpenOptions::new().read(true).open(&setup.table)?;
        let counters = OpenOptions::new().read(true).write(true).open(&setup.counters)?;
        let table = Table::from_fd(OwnedFd::from(table)).map_err(io::Error::other)?;
        let counters = Counters::from_fd(OwnedFd::from(counters)).map_err(io::Error::other)?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let seed = RandomStream::new(setup.seed, Purpose::Choice).seed();
        Ok(Self {
            picker: Picker::new(table, counters, seed, None),
            socket,
            open_requests: Vec::new(),
            free_ids: Vec::new(),
            measured_open: 0,
            sent: 0,
            result: CallerResult::default(),
        })
    }

    fn run(&mut self, setup: &CallerSetup) -> io::Result<CallerResult> {
        let mut gaps = RandomStream::new(setup.seed, Purpose::Gaps);
        let mut works = RandomStream::new(setup.seed, Purpose::Work);
        let mut gap = || Duration::from_secs_f64(gaps.exponential() / setup.rate);
        let start = clock::now();
        let warm = start + setup.warm_up;
        let over = warm + setup.measured;
        let mut next = start + gap();
        loop {
            let now = clock::now();
            // The load continues until the last measured request has ended, so that it meets the
            // same conditions as the first one.
            if now >= over && (self.measured_open == 0 || now >= over + TIMEOUT) {
                self.result.unanswered = self.measured_open;
                return Ok(std::mem::take(&mut self.result));
            }
            if now >= next {
                let work = setup.work.mul_f64(works.exponential());
                // Open loop: the latency of a late request counts from when it was due.
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
        let id = self.free_ids.pop().unwrap_or_else(|| {
            self.open_requests.push(None);
            self.open_requests.len() as u32 - 1
        });
        let timed = self.sent.is_multiple_of(TIMED_EVERY);
        self.sent = self.sent.wrapping_add(1);
        self.open_requests[id as usize] =
            Some(OpenRequest { slot: pick.slot, due, timed, measured });
        self.measured_open += u32::from(measured);
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
            let place = self.open_requests.get_mut(message.id as usize).and_then(Option::take);
            let Some(OpenRequest { slot, due, timed, measured }) = place else { continue };
            self.free_ids.push(message.id);
            let latency = clock::now().saturating_sub(due).as_micros();
            let latency_us = u32::try_from(latency).unwrap_or(u32::MAX);
            self.picker.end(slot, 1, Outcome::Success, timed.then_some(latency_us));
            if measured {
                self.measured_open -= 1;
                self.result.latencies_us.push(latency_us);
            }
        }
    }
}
