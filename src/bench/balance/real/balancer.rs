//! The table that calling processes pick from, and the thread that publishes it.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use pointsman_table::{Counters, TableWriter};

use crate::{
    catalog::{EndpointRef, Locality},
    clock,
    policy::Policy,
    publish::{Memory, ServicePublisher, Setup},
    sim::{own_counts::write_without_load, pointsman::endpoint},
};

/// A way to choose endpoints that real processes can use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Chooser {
    Table,
    OwnCounts,
    Random,
}

/// The table that the callers use.
pub(super) enum Balancer {
    /// A table without load: two choices by own counts, or one choice.
    WithoutLoad(TableWriter),
    Published(Box<ServicePublisher>),
}

impl Balancer {
    pub(super) fn new(chooser: Chooser, addresses: &[SocketAddr]) -> io::Result<Self> {
        let choices = match chooser {
            Chooser::Table => {
                let endpoints: Arc<[_]> = addresses.iter().map(|at| endpoint(*at, 1)).collect();
                let publisher = ServicePublisher::new(Setup {
                    name: "bench".into(),
                    policy: Arc::new(Policy::default()),
                    locality: Locality::default(),
                    memory: Memory::Shared,
                    endpoints: EndpointRef::all(&endpoints).collect(),
                    virtual_port: None,
                    now: clock::now(),
                })?;
                return Ok(Self::Published(Box::new(publisher)));
            }
            Chooser::OwnCounts => 2,
            Chooser::Random => 1,
        };
        let capacity = pointsman_table::Capacity::for_endpoints(addresses.len() as u32);
        let mut writer = TableWriter::create(capacity, "bench")?;
        let endpoints: Vec<_> = addresses.iter().map(|at| (*at, 1)).collect();
        write_without_load(&mut writer, &endpoints, choices);
        Ok(Self::WithoutLoad(writer))
    }

    pub(super) fn table_fd(&mut self) -> io::Result<OwnedFd> {
        match self {
            Self::WithoutLoad(writer) => writer.reader_fd(),
            Self::Published(publisher) => publisher.table_fd(),
        }
    }

    pub(super) fn counters(&mut self) -> io::Result<Arc<Counters>> {
        match self {
            Self::WithoutLoad(writer) => {
                Counters::create(writer.table().capacity().slots, 1, "bench")
            }
            Self::Published(publisher) => {
                let counters = publisher.new_counters(1)?;
                publisher.attach(counters.clone());
                Ok(counters)
            }
        }
    }

    pub(super) fn start(self) -> PublishThread {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = thread::spawn(move || match self {
            Self::WithoutLoad(writer) => drop(writer),
            Self::Published(mut publisher) => {
                let mut next = clock::now();
                while !stop.load(Ordering::Relaxed) {
                    let period = publisher.wanted_period();
                    publisher.pass(clock::now(), period);
                    let now = clock::now();
                    next = (next + period).max(now);
                    thread::sleep(next - now);
                }
            }
        });
        PublishThread { stopping, thread }
    }
}

/// The publishing thread.
pub(super) struct PublishThread {
    stopping: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl PublishThread {
    pub(super) fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().expect("the publisher does not panic");
    }
}
